"""Class names and probabilities for pictures that nobody labelled, from a run, a student folder or an ONNX file."""

from picturebook.predict.answering import Prediction, predict_files
from picturebook.predict.writing import FORMATS, as_utf8, choose_format, write_predictions

__all__ = ["FORMATS", "Prediction", "as_utf8", "choose_format", "predict_files", "write_predictions"]
