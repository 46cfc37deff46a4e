"""A smaller, faster and less exact file: weights and activations as 8-bit integers.

Static quantisation (arXiv:1712.05877): the ranges of activations come from training pictures, once. Quantising them while the
model runs, "dynamic" quantisation, suits layers of matrices alone: onnxruntime has no fast convolution for it.
"""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from picturebook.metrics import Evaluation, evaluate_logits
from picturebook.predict.onnx_model import INPUT, LOGITS, OnnxMetadata, OnnxModel

CALIBRATION_PICTURES = 256
"""Training pictures, at most, whose activations set the ranges."""
LAYERS = ("Conv", "Gemm", "MatMul")
"""Operations with weights; what is between them, and attention's products of activations, stays in float32."""


def write_int8(exported: Path, out: Path, images: Iterable[Float[Tensor, "batch 3 size size"]], *, about: OnnxMetadata) -> None:
    """Quantise an exported file.

    Args:
        exported: the float32 file.
        out: where to write; files of its name with other endings are used on the way.
        images: what training pictures look like to the model.
        about: the metadata, which quantisation does not keep.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = out.with_suffix(".prepared.onnx")
    silenced = logging.root.manager.disable
    logging.disable(logging.WARNING)  # advice to people who quantise by hand
    try:
        quant_pre_process(exported, prepared)
        quantize_static(
            prepared,
            out,
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(LAYERS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    finally:
        logging.disable(silenced)
        prepared.unlink(missing_ok=True)
    model = onnx.load(out)
    onnx.helper.set_model_props(model, about.to_properties())
    onnx.save(model, out)


def evaluate_onnx(
    model: OnnxModel, images: Iterable[Float[Tensor, "batch 3 size size"]], labels: np.ndarray, groups: np.ndarray | None
) -> Evaluation:
    """Numbers of a file's calibrated answers."""
    logits = np.concatenate([model.run([LOGITS], {INPUT: batch.numpy()})[0] for batch in images])
    return evaluate_logits(logits.astype(np.float64) / model.about.temperature, labels, groups=groups)


class _Reader:
    """Batches as onnxruntime's calibration asks for them."""

    def __init__(self, images: Iterable[Float[Tensor, "batch 3 size size"]]) -> None:
        self._batches: Iterator[dict[str, Any]] = ({INPUT: batch.numpy()} for batch in images)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)
