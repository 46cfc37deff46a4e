"""Class names and probabilities for pictures that nobody labelled, from a run, a student folder or an ONNX file."""

from picturebook.predict.answering import Answerer, Prediction, open_answerer, predict_files, student_answerer
from picturebook.predict.writing import FORMATS, as_utf8, choose_format, write_predictions

__all__ = [
    "FORMATS",
    "Answerer",
    "Prediction",
    "as_utf8",
    "choose_format",
    "open_answerer",
    "predict_files",
    "student_answerer",
    "write_predictions",
]
