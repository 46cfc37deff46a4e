"""The student as one ONNX file: RGB in [0, 1] in, calibrated probabilities out."""

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from picturebook import __version__
from picturebook.errors import ModelError, OptionError
from picturebook.export.source import Source
from picturebook.models.image_encoders import ImageEncoder
from picturebook.predict.onnx_model import INPUT, LOGITS, PROBABILITIES, OnnxMetadata

OPSET = 18
"""The oldest that torch's exporter writes without a conversion, so that older runtimes read it."""
_MAX_BYTES = 2**31 - 2**20
"""Of a protobuf message, less what the graph takes."""


def require_onnx() -> None:
    """Refuse before any work where the packages are missing.

    Raises:
        OptionError: one is not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            import_module(package)
        except ImportError as error:
            raise OptionError(
                f"An ONNX file needs {package}, which is not installed: pip install 'picturebook[export]'"
            ) from error


def metadata_of(source: Source) -> OnnxMetadata:
    """What the file says of itself."""
    classifier = source.classifier
    return OnnxMetadata(
        class_names=classifier.classes,
        image_size=classifier.encoder.image_size,
        canvas_size=classifier.canvas_size,
        temperature=source.temperature,
        is_calibrated=source.is_calibrated,
        picturebook_version=__version__,
    )


def write_onnx(source: Source, path: Path) -> None:
    """Write the student's network with any batch size, its normalisation and its temperature inside, and its metadata.

    Raises:
        ModelError: the network is too large for one file, or has an operation that ONNX lacks.
    """
    encoder = source.classifier.encoder
    num_bytes = sum(value.numel() * value.element_size() for value in encoder.state_dict().values())
    if num_bytes > _MAX_BYTES:
        raise ModelError(f"{encoder.name} has {num_bytes / 1e9:.1f} GB of weights, and an ONNX file holds 2 GB: take --to timm.")
    example = torch.zeros(2, 3, encoder.image_size, encoder.image_size)
    try:
        program = torch.onnx.export(
            _Calibrated(encoder, source.temperature).eval(),
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[PROBABILITIES, LOGITS],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{encoder.name} cannot be written as ONNX ({reason}): take --to timm or --to hub.") from error
    assert program is not None
    _forget_traces(program.model)
    program.model.metadata_props.update(metadata_of(source).to_properties())
    program.save(path, external_data=False)


class _Calibrated(nn.Module):
    """(probabilities, logits) of RGB images in [0, 1]; the logits are the student's own, before the temperature."""

    temperature: Tensor

    def __init__(self, encoder: ImageEncoder, temperature: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("temperature", torch.tensor(temperature))

    def forward(
        self, images: Float[Tensor, "batch 3 size size"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch classes"]]:
        logits: Tensor = self.encoder(images)
        return (logits / self.temperature).softmax(dim=1), logits


def _forget_traces(model: Any) -> None:
    """Drop what torch notes of each node: lines and paths of the machine that exports are nobody's business."""
    graphs = (model.graph, *model.functions.values())
    for graph in graphs:
        for node in graph.all_nodes():
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
        for value in (*graph.inputs, *graph.outputs):
            value.metadata_props.clear()
    for value in model.graph.initializers.values():
        value.metadata_props.clear()
