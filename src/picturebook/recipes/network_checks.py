"""Networks that do not fit the run, refused before anything is trained."""

from pathlib import Path

from accelerate import Accelerator

from picturebook.errors import ModelError
from picturebook.models.artefact import load_student
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder
from picturebook.models.packaged import PACKAGE_PREFIX
from picturebook.recipes.options import StudentOptions


def refuse_other_start(student: ImageEncoder, options: StudentOptions, classes: tuple[str, ...]) -> None:
    """Refuse weights to start from that are another model's or know other classes.

    Raises:
        ModelError: student.init and student.model disagree, or the run that init names knows other classes.
    """
    if options.init in ("scratch", "pretrained"):
        return
    wanted = create_image_encoder(
        options.model, num_classes=2, image_size=options.image_size, model_args=dict(options.model_args)
    )
    if (wanted.architecture, wanted.model_args) != (student.architecture, student.model_args):
        raise ModelError(
            f"student.init = {options.init!r} holds {student.architecture} {student.model_args}, student.model asks for "
            f"{wanted.architecture} {wanted.model_args}: make the two agree."
        )
    if not options.init.startswith(PACKAGE_PREFIX):
        refuse_other_classes(options.init, load_student(Path(options.init) / "student")[1], classes)


def refuse_other_classes(path: str, theirs: tuple[str, ...], ours: tuple[str, ...]) -> None:
    """Refuse a run whose classes are not the data's, in the same order.

    Raises:
        ModelError: it names some that differ.
    """
    if theirs != ours:
        differing = sorted(set(theirs) ^ set(ours)) or ["the same names in another order"]
        raise ModelError(f"{path} knows other classes than these data ({', '.join(differing[:5])}): its answers do not fit.")


def note_larger_teacher(teacher: ImageEncoder, student: ImageEncoder) -> list[str]:
    """Say, of a method whose students are as large as their teachers or larger, that this one is not."""
    theirs, ours = (sum(weight.numel() for weight in network.parameters()) for network in (teacher, student))
    if theirs <= ours:
        return []
    return [
        f"The first teacher has {theirs:,} weights and the student {ours:,}: in the source students are as large as their "
        "teachers or larger."
    ]


def refuse_wrong_gradients(network: ImageEncoder, accelerator: Accelerator) -> None:
    """Refuse a network that this machine's precision would train wrongly.

    Raises:
        ModelError: it names the layer.
    """
    on_cpu = accelerator.device.type == "cpu" and accelerator.mixed_precision == "bf16"
    if on_cpu and (layer := network.layer_on_one_pixel()):
        raise ModelError(
            f"In {network.architecture} at student.image_size = {network.image_size}, layer {layer} steps over a map of one "
            "pixel, for which processors compute wrong bf16 gradients: raise image_size, or say precision = 'fp32'."
        )
