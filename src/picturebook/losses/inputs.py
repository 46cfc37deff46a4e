"""What losses ask of their inputs: types, and the sentences in which a wrong one is refused."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Logits = Float[Tensor, "batch classes"]
Labels = Int64[Tensor, " batch"]
Weights = Float[Tensor, " batch"]
Features = Float[Tensor, "batch width"]
Scalar = Float[Tensor, ""]


def widened(tensor: Tensor) -> Tensor:
    """The tensor in float32, or in its own type where that is wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def precise(tensor: Tensor) -> Tensor:
    """The tensor in float64, where the device has it: for differences of nearly equal numbers, and for what T² multiplies."""
    return widened(tensor) if tensor.device.type == "mps" else tensor.double()


def exact_log_softmax(logits: Tensor) -> Tensor:
    """log softmax over the last dimension in the logits' own type; on CPU torch's adds thousands of terms one by one."""
    shifted = logits - logits.detach().amax(dim=-1, keepdim=True)
    adding = torch.float64 if logits.device.type == "cpu" else None
    return shifted - shifted.exp().sum(dim=-1, keepdim=True, dtype=adding).log().to(logits.dtype)


def check_matrix(tensor: Tensor, name: str) -> None:
    """Refuse what is no matrix or an empty one."""
    if tensor.ndim != 2 or 0 in tensor.shape:
        raise ValueError(f"{name}: expected shape [batch, classes or width], both at least 1, got {_shape(tensor)}")


def check_classes(logits: Tensor, name: str) -> None:
    """Refuse logits of one class where the true class is set against the others."""
    check_matrix(logits, name)
    if logits.shape[1] < 2:
        raise ValueError(f"{name}: expected at least 2 classes, got {_shape(logits)}")


def check_pair(student: Tensor, teacher: Tensor, names: tuple[str, str]) -> None:
    """Refuse two that are no matrices of one shape."""
    check_matrix(student, names[0])
    if student.shape != teacher.shape:
        raise ValueError(
            f"{names[1]}: expected the shape of {names[0]}, {_shape(student)}, got {_shape(teacher)}: "
            "map both to the same classes or width first"
        )


def check_labels(labels: Tensor, logits: Tensor) -> None:
    """Refuse labels that are not one a row."""
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"labels: expected one a row of the logits, shape [{len(logits)}], got {_shape(labels)}")


def check_weights(weights: Tensor | None, logits: Tensor) -> None:
    """Refuse weights that are not one a row."""
    if weights is not None and weights.shape != logits.shape[:1]:
        raise ValueError(f"weights: expected one a row of the logits, shape [{len(logits)}], got {_shape(weights)}")


def check_temperature(temperature: float) -> None:
    """Refuse what is no positive number."""
    if not 0.0 < temperature < float("inf"):
        raise ValueError(f"temperature: expected a positive number, got {temperature}")


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
