"""Where a backbone can be left early: after each stage of a ResNet, after some blocks of a ViT."""

from collections.abc import Sequence
from typing import Any

from timm.models.resnet import ResNet
from timm.models.vision_transformer import VisionTransformer

from picturebook.errors import ModelError
from picturebook.models.small_resnets import StagedResNet


def stage_indices(model: Any, name: str, blocks: Sequence[int] = ()) -> tuple[int, ...]:
    """Which of timm's `forward_intermediates` end the stages of a backbone, but for the last, which is the whole of it.

    Args:
        model: a timm model.
        name: what the user asked for.
        blocks: for a ViT, the numbers (from 1) of the blocks that end a stage; at each quarter of the depth by default.

    Raises:
        ModelError: the backbone has no stages that are known, or no such blocks.
    """
    if isinstance(model, VisionTransformer):
        return _block_indices(len(model.blocks), name, blocks)
    if not isinstance(model, ResNet | StagedResNet):
        raise ModelError(
            f"{name!r} has no stages that are known: expected a ResNet of timm, a ViT, or one of picturebook's own "
            "(`picturebook list models`)."
        )
    if blocks:
        raise ModelError(f"{name!r} has stages of its own: leave blocks out, which are for ViTs.")
    return (1, 2, 3) if isinstance(model, ResNet) else tuple(range(len(model.stages) - 1))  # 0 of a timm ResNet is the stem


def _block_indices(depth: int, name: str, blocks: Sequence[int]) -> tuple[int, ...]:
    numbers = sorted(blocks) or sorted({depth * quarter // 4 for quarter in (1, 2, 3)} - {0})
    if not numbers:
        raise ModelError(f"{name!r} has one block alone, so that there is no stage before the last: raise depth.")
    if len(set(numbers)) != len(numbers) or numbers[0] < 1 or numbers[-1] >= depth:
        raise ModelError(
            f"{name!r} has {depth} blocks: expected different numbers from 1 to {depth - 1} for the stages before the last, "
            f"got {list(blocks)}."
        )
    return tuple(number - 1 for number in numbers)
