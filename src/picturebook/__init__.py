"""Train image classifiers from the words beside their pictures; at inference there are only pictures.

What stands in `__all__` is imported when it is first asked for, so that `import picturebook` costs nothing.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from picturebook.api import Classifier, distil, train
    from picturebook.errors import PicturebookError
    from picturebook.models.image_encoders import ImageEncoder
    from picturebook.objective import Loss, Objective
    from picturebook.types import Batch

_PLACES = {
    "Batch": "types",
    "Classifier": "api",
    "ImageEncoder": "models.image_encoders",
    "Loss": "objective",
    "Objective": "objective",
    "PicturebookError": "errors",
    "distil": "api",
    "train": "api",
}

__version__ = version("picturebook")
__all__ = ["Batch", "Classifier", "ImageEncoder", "Loss", "Objective", "PicturebookError", "__version__", "distil", "train"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'picturebook' has no attribute {name!r}")
    value = getattr(import_module(f"picturebook.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
