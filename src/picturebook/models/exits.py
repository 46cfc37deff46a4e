"""Exits of an image encoder: a classifier after each stage but the last, and each of them as an encoder of its own."""

from collections.abc import Sequence
from math import ceil

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from picturebook.models.early_exit import ShallowClassifier
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder
from picturebook.models.stages import stage_indices


def build_exits(encoder: ImageEncoder, *, blocks: Sequence[int] = (), seed: int) -> list[ShallowClassifier]:
    """A newly initialised classifier after each stage of an encoder but the last, from the shallowest.

    Args:
        encoder: whose stages they read, see `ImageEncoder.stages`.
        blocks: for a ViT, the numbers (from 1) of the blocks that end a stage; at each quarter of the depth by default.
        seed: of the initialisation; the global generator is neither read nor moved.

    Raises:
        ModelError: the encoder has no stages that are known, or no such blocks.
    """
    side = encoder.image_size
    was_training = encoder.training
    with torch.no_grad():
        maps = encoder.eval().stages(torch.zeros(1, 3, side, side, device=encoder.mean.device), blocks=blocks)
    encoder.train(was_training)
    has_batch_statistics = any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return [
            ShallowClassifier(
                shallow.shape[1],
                maps[-1].shape[1],
                kernel=ceil(shallow.shape[2] / maps[-1].shape[2]),
                num_classes=encoder.num_classes,
                norm="batch" if has_batch_statistics else "layer",
                rectified=not isinstance(encoder.model, VisionTransformer),
            )
            for shallow in maps[:-1]
        ]


def exit_encoders(encoder: ImageEncoder, exits: Sequence[ShallowClassifier], *, blocks: Sequence[int] = ()) -> list[ImageEncoder]:
    """Each exit as an image encoder: a copy of the stages up to it, under its classifier; in eval mode.

    Saved with `save_student`, it is a model that timm loads after `import picturebook.models`.

    Args:
        encoder: the network that the exits belong to.
        exits: of `build_exits`, trained or not.
        blocks: as in `build_exits`.
    """
    return [
        _exit_encoder(encoder, leaving, stage)
        for leaving, stage in zip(exits, stage_indices(encoder.model, encoder.name, blocks), strict=True)
    ]


def _exit_encoder(encoder: ImageEncoder, leaving: ShallowClassifier, stage: int) -> ImageEncoder:
    arguments = {
        "backbone": encoder.architecture,
        "backbone_args": encoder.model_args,
        "stage": stage,
        "width": encoder.token_width,
        "kernel": leaving.kernel,
        "norm": leaving.norm,
        "rectified": leaving.rectified,
    }
    early = create_image_encoder(
        "early_exit", num_classes=encoder.num_classes, image_size=encoder.image_size, model_args=arguments
    ).to(encoder.mean.device)
    whole = encoder.model.state_dict()
    early.model.backbone.load_state_dict({name: whole[name] for name in early.model.backbone.state_dict()})
    early.model.exit.load_state_dict(leaving.state_dict())
    early.mean.copy_(encoder.mean)
    early.std.copy_(encoder.std)
    return early.eval()
