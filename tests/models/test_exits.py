"""Stages of a backbone, and what leaves it early."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from picturebook.errors import ModelError
from picturebook.models.artefact import load_student, save_student, timm_model_and_transform
from picturebook.models.early_exit import ShallowClassifier
from picturebook.models.exits import build_exits, exit_encoders
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder, weights_fingerprint

NARROW = {"channels": [8, 8, 8, 8]}
VIT = {"patch_size": 4, "embed_dim": 32, "depth": 4, "num_heads": 2}
# Sides that strides do not divide, so that the last window is filled.
BACKBONES: dict[str, tuple[str, dict[str, Any], int, list[tuple[int, ...]]]] = {
    "resnet": ("resnet10t", NARROW, 33, [(8, 9, 9), (8, 5, 5), (8, 3, 3), (8, 2, 2)]),
    "small input": ("resnet18_small_input", NARROW, 16, [(8, 16, 16), (8, 8, 8), (8, 4, 4), (8, 2, 2)]),
    "cifar": ("cifar_resnet20", {"widths": [4, 8, 16]}, 17, [(4, 17, 17), (8, 9, 9), (16, 5, 5)]),
    "wide": ("wide_resnet28_2", {"width": 1, "depth": 1}, 15, [(16, 15, 15), (32, 8, 8), (64, 4, 4)]),
    "vit": ("vit_tiny_patch16_224", VIT, 16, [(32, 4, 4)] * 4),
    "vit without class token": (
        "vit_tiny_patch16_224",
        {**VIT, "class_token": False, "global_pool": "avg"},
        16,
        [(32, 4, 4)] * 4,
    ),
}


def encoder_of(kind: str) -> ImageEncoder:
    name, arguments, side, _ = BACKBONES[kind]
    return create_image_encoder(name, num_classes=3, image_size=side, model_args=arguments)


def images(encoder: ImageEncoder) -> Tensor:
    return torch.rand(4, 3, encoder.image_size, encoder.image_size, generator=torch.Generator().manual_seed(0))


# ---- stages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BACKBONES)
def test_stages_end_in_what_the_classifier_sees(kind: str) -> None:
    encoder = encoder_of(kind).eval()
    logits, maps = encoder.forward_stages(images(encoder))
    assert [tuple(stage.shape[1:]) for stage in maps] == BACKBONES[kind][3]
    assert torch.equal(logits, encoder(images(encoder)))
    assert torch.equal(maps[-1].flatten(2).transpose(1, 2), encoder.tokens(images(encoder)))


def test_a_resnets_stages_are_its_layers() -> None:
    encoder = encoder_of("resnet").eval()
    model, x = encoder.model, encoder.prepare(images(encoder))
    x = model.maxpool(model.act1(model.bn1(model.conv1(x))))
    for layer, stage in zip(
        (model.layer1, model.layer2, model.layer3, model.layer4), encoder.stages(images(encoder)), strict=True
    ):
        x = layer(x)
        assert torch.equal(stage, x)


def test_a_vits_stages_are_the_patch_tokens_after_the_blocks_that_are_named() -> None:
    encoder = encoder_of("vit").eval()
    found: list[Tensor] = []
    encoder.model.blocks[2].register_forward_hook(lambda module, inputs, output: found.append(output))
    stage, last = encoder.stages(images(encoder), blocks=[3])
    tokens = found[0][:, 1:]
    assert torch.equal(stage[:, :, 2, 1], tokens[:, 2 * 4 + 1])
    assert torch.equal(last, encoder.stages(images(encoder))[-1])


@pytest.mark.parametrize(("depth", "exits"), [(2, 1), (3, 2), (4, 3), (12, 3)])
def test_a_vits_exits_are_at_the_quarters_of_its_depth(depth: int, exits: int) -> None:
    encoder = create_image_encoder("vit_tiny_patch16_224", num_classes=3, image_size=8, model_args={**VIT, "depth": depth})
    assert len(encoder.stages(images(encoder))) == exits + 1


@pytest.mark.parametrize(
    ("name", "arguments", "blocks", "sentence"),
    [
        ("convnext_atto", {}, [], "'convnext_atto' has no stages that are known: expected a ResNet of timm, a ViT"),
        ("resnet10t", NARROW, [1], "'resnet10t' has stages of its own: leave blocks out"),
        ("vit_tiny_patch16_224", VIT, [4], r"has 4 blocks: expected different numbers from 1 to 3 .* got \[4\]"),
        ("vit_tiny_patch16_224", VIT, [0, 2], r"from 1 to 3 .* got \[0, 2\]"),
        ("vit_tiny_patch16_224", VIT, [2, 2], r"different numbers .* got \[2, 2\]"),
        ("vit_tiny_patch16_224", {**VIT, "depth": 1}, [], "has one block alone"),
    ],
)
def test_a_backbone_without_such_stages_is_refused(
    name: str, arguments: dict[str, Any], blocks: list[int], sentence: str
) -> None:
    encoder = create_image_encoder(name, num_classes=3, image_size=32, model_args=arguments)
    with pytest.raises(ModelError, match=sentence):
        encoder.stages(images(encoder), blocks=blocks)
    with pytest.raises(ModelError, match=sentence):
        build_exits(encoder, blocks=blocks, seed=0)


# ---- exits --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BACKBONES)
def test_an_exits_map_is_as_large_as_the_deepest(kind: str) -> None:
    encoder = encoder_of(kind)
    maps = encoder.stages(images(encoder))
    exits = build_exits(encoder, seed=0)
    assert len(exits) == len(maps) - 1
    for leaving, shallow in zip(exits, maps[:-1], strict=True):
        logits, deep = leaving(shallow)
        assert logits.shape == (4, 3)
        assert deep.shape == maps[-1].shape
        torch.testing.assert_close(logits, leaving.fc(deep.flatten(2).mean(2)))


@pytest.mark.parametrize("kind", BACKBONES)
def test_exits_have_batch_statistics_where_their_backbone_has(kind: str) -> None:
    is_vit = kind.startswith("vit")
    for leaving in build_exits(encoder_of(kind), seed=0):
        assert any(isinstance(module, nn.BatchNorm2d) for module in leaving.modules()) == (not is_vit)
        assert isinstance(leaving.bottleneck[-1], nn.ReLU) == (not is_vit)


def test_exits_depend_on_their_seed_alone_and_leave_the_encoder_as_it_was() -> None:
    encoder = encoder_of("resnet").train()
    before = weights_fingerprint(encoder)
    torch.manual_seed(1)
    first = build_exits(encoder, seed=0)
    state = torch.get_rng_state()
    second, other = build_exits(encoder, seed=0), build_exits(encoder, seed=1)
    assert [weights_fingerprint(leaving) for leaving in first] == [weights_fingerprint(leaving) for leaving in second]
    assert weights_fingerprint(first[0]) != weights_fingerprint(other[0])
    assert torch.equal(torch.get_rng_state(), state)
    assert weights_fingerprint(encoder) == before
    assert all(module.training for module in encoder.modules())


def test_a_bottleneck_shrinks_by_the_ratio_of_the_maps() -> None:
    leaving = ShallowClassifier(4, 64, kernel=3, num_classes=2, norm="batch", rectified=True)
    convolutions = [module for module in leaving.modules() if isinstance(module, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in convolutions] == [
        (4, 16, 1, 1),
        (16, 16, 3, 3),
        (16, 64, 1, 1),
    ]
    assert leaving(torch.rand(2, 4, 7, 9))[1].shape == (2, 64, 3, 3)


# ---- an exit as a model of its own ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BACKBONES)
def test_an_exit_alone_answers_as_it_does_in_the_whole_network(kind: str, tmp_path: Path) -> None:
    encoder = encoder_of(kind)
    encoder.mean.fill_(0.3)
    exits = build_exits(encoder, seed=0)
    encoder.stages(images(encoder))  # moves batch statistics
    maps = encoder.eval().stages(images(encoder))
    for number, (alone, leaving) in enumerate(zip(exit_encoders(encoder, exits), exits, strict=True)):
        expected = leaving.eval()(maps[number])[0]
        torch.testing.assert_close(alone(images(encoder)), expected)
        last_of_all = sum(parameter.numel() for parameter in [*encoder.parameters(), *leaving.parameters()])
        assert sum(parameter.numel() for parameter in alone.parameters()) < last_of_all
        folder = tmp_path / str(number)
        save_student(alone, folder, label_names=["a", "b", "c"])
        reloaded, names = load_student(folder)
        assert names == ("a", "b", "c")
        assert torch.equal(reloaded(images(encoder)), alone(images(encoder)))
        model, _ = timm_model_and_transform(folder)
        assert torch.equal(model(alone.prepare(images(encoder))), alone(images(encoder)))


def test_an_exits_folder_says_what_it_is(tmp_path: Path) -> None:
    encoder = encoder_of("cifar")
    save_student(exit_encoders(encoder, build_exits(encoder, seed=0))[1], tmp_path / "exit", label_names=["a", "b", "c"])
    config = json.loads((tmp_path / "exit" / "config.json").read_text())
    assert (config["architecture"], config["requires"]) == ("early_exit", "import picturebook.models")
    assert config["model_args"]["backbone"] == "cifar_resnet20"
    assert config["model_args"]["stage"] == 1
    other = create_image_encoder(f"local-dir:{tmp_path / 'exit'}", num_classes=5, image_size=17, pretrained=True)
    assert other(images(encoder)).shape == (4, 5)
