"""picturebook from Python: one call from data to a classifier, scikit-learn's conventions, an objective of one's own."""

from picturebook.api.classifier import Classifier
from picturebook.api.training import distil, train

__all__ = ["Classifier", "distil", "train"]
