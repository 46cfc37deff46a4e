"""picturebook's own architectures, and those of timm for small pictures."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from picturebook.errors import ModelError
from picturebook.models.architectures import REQUIREMENT, list_own_architectures, needed_import
from picturebook.models.artefact import load_student, save_student, timm_model_and_transform
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder
from picturebook.models.small_resnets import PaddedShortcut, PreActivationBlock
from picturebook.models.sources import list_image_encoders, note_on

NARROW = {"channels": [8, 8, 8, 8]}
PATCHES = {"patch_size": 4, "depth": 1}
IN_TIMM = {
    "resnet10t": NARROW,
    "resnet18": NARROW,
    "resnet50": NARROW,
    "vit_tiny_patch16_224": PATCHES,
    "vit_small_patch16_224": PATCHES,
}
OWN = {
    "cifar_resnet20": {"widths": [4, 8, 16]},
    "cifar_resnet56": {"widths": [4, 8, 16], "shortcut": "projection"},
    "wide_resnet28_2": {"width": 1, "depth": 1, "dropout": 0.3},
    "wide_resnet28_4": {"width": 1, "depth": 1},
    "wide_resnet28_10": {"width": 1, "depth": 1},
    "resnet18_small_input": NARROW,
    "resnet34_small_input": NARROW,
    "resnet50_small_input": NARROW,
}
# Million parameters with 10 classes as published: arXiv:1512.03385, table 6; arXiv:1605.07146 (WRN-40-4, WRN-16-8, WRN-28-10).
PUBLISHED = [
    ("cifar_resnet20", {}, 0.27),
    ("cifar_resnet56", {}, 0.85),
    ("wide_resnet28_4", {"depth": 6}, 8.9),
    ("wide_resnet28_2", {"depth": 2, "width": 8}, 11.0),
    ("wide_resnet28_10", {}, 36.5),
]


def small(name: str, arguments: dict[str, Any]) -> ImageEncoder:
    return create_image_encoder(name, num_classes=3, image_size=16, model_args=arguments).eval()


def images() -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


# ---- what they are ------------------------------------------------------------------------------------------------------


def test_every_own_architecture_is_tested_and_listed() -> None:
    assert sorted(OWN) == sorted(list_own_architectures())
    assert list_image_encoders("*small_input") == [name for name in OWN if name.endswith("small_input")]
    assert "import picturebook.models" in note_on("wide_resnet28_2")
    assert note_on("wide_resnet50_2") == ""
    assert len(list_image_encoders()) == len(set(list_image_encoders()))


@pytest.mark.parametrize(("name", "arguments", "millions"), PUBLISHED)
def test_they_have_as_many_parameters_as_published(name: str, arguments: dict[str, Any], millions: float) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=10, **arguments)
    found = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert found == pytest.approx(millions, abs=0.005 if millions < 1 else 0.06)


@pytest.mark.parametrize(("depth", "name"), [(20, "cifar_resnet20"), (56, "cifar_resnet56"), (28, "wide_resnet28_2")])
def test_they_are_as_deep_as_their_names_say(depth: int, name: str) -> None:
    model = timm.create_model(name)
    layers = [m for m in model.modules() if isinstance(m, nn.Linear) or (isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3))]
    assert len(layers) == depth - (name.startswith("wide") * 2)  # a WRN's name counts the shortcuts of two of its stages


def test_a_padded_shortcut_takes_every_other_pixel_between_channels_of_zeros() -> None:
    x = torch.randn(2, 3, 5, 4)
    found = PaddedShortcut(4, 2)(x)
    assert found.shape == (2, 7, 3, 2)
    for channel in range(7):
        expected = x[:, channel - 2, ::2, ::2] if 2 <= channel < 5 else torch.zeros(2, 3, 2)
        assert torch.equal(found[:, channel], expected)


def test_the_papers_shortcut_has_no_parameters_and_a_projection_has() -> None:
    padded, projected = (timm.create_model("cifar_resnet20", shortcut=kind) for kind in ("pad", "projection"))
    assert not [name for name, _ in padded.named_parameters() if "downsample" in name]
    assert [name for name, _ in projected.named_parameters() if "downsample" in name]


def test_a_pre_activation_block_adds_to_what_came_in() -> None:
    block = PreActivationBlock(4, 4, 1, dropout=0.0, drop_path=None).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 3, 3)
    assert torch.equal(block(x), x)
    wider = PreActivationBlock(4, 8, 2, dropout=0.0, drop_path=None).eval()
    nn.init.zeros_(wider.conv2.weight)
    assert wider.shortcut is not None
    torch.testing.assert_close(wider(x), wider.shortcut(torch.relu(wider.bn1(x))))


@pytest.mark.parametrize(
    ("name", "argument"),
    [("wide_resnet28_2", "dropout"), ("wide_resnet28_2", "drop_path_rate"), ("cifar_resnet20", "drop_path_rate")],
)
def test_dropout_acts_in_training_alone(name: str, argument: str) -> None:
    arguments = {**OWN[name], argument: 0.5}
    encoder = small(name, arguments)
    assert torch.equal(encoder(images()), encoder(images()))
    for module in encoder.modules():
        if not isinstance(module, nn.BatchNorm2d):
            module.train()
    assert not torch.equal(encoder(images()), encoder(images()))


def test_a_small_input_stem_keeps_the_pictures_size() -> None:
    encoder = small("resnet18_small_input", NARROW)
    assert encoder.grid == (2, 2)
    assert small("resnet18", NARROW).grid == (1, 1)
    assert [stage["reduction"] for stage in encoder.model.feature_info] == [1, 1, 2, 4, 8]
    stem = encoder.model.conv1(images())
    assert encoder.model.maxpool(stem).shape[-2:] == (16, 16)


# ---- as timm's models behave --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OWN)
def test_they_have_the_methods_of_timms_models(name: str) -> None:
    model = small(name, OWN[name]).model
    x = images()
    features, maps = model.forward_intermediates(x)
    assert torch.equal(features, model.forward_features(x))
    assert torch.equal(model.forward_head(features), model(x))
    assert [(m.shape[1], 16 // m.shape[2]) for m in maps] == [(i["num_chs"], i["reduction"]) for i in model.feature_info]
    early = model.forward_intermediates(x, indices=[1], stop_early=True, intermediates_only=True)
    assert torch.equal(early[0], maps[1])
    assert model.forward_head(features, pre_logits=True).shape == (2, model.num_features)
    assert model.get_classifier().out_features == 3
    model.reset_classifier(5)
    assert model(x).shape == (2, 5)
    model.reset_classifier(0, "")
    assert torch.equal(model(x), features)


@pytest.mark.parametrize("name", OWN)
def test_features_only_and_pruning_give_the_same_maps(name: str) -> None:
    model = small(name, OWN[name]).model
    maps = model.forward_intermediates(images(), intermediates_only=True)
    getter = timm.create_model(name, features_only=True, out_indices=(0, 2), **OWN[name])
    assert [m.shape for m in getter(images())] == [maps[0].shape, maps[2].shape]
    before = sum(parameter.numel() for parameter in model.parameters())
    model.prune_intermediate_layers([1], prune_norm=True)
    assert sum(parameter.numel() for parameter in model.parameters()) < before
    assert torch.equal(model.forward_intermediates(images(), indices=[1], intermediates_only=True)[0], maps[1])


@pytest.mark.parametrize("name", OWN)
def test_an_own_architecture_reloads_and_says_what_it_needs(tmp_path: Path, name: str) -> None:
    encoder = small(name, OWN[name])
    save_student(encoder, tmp_path / "student", label_names=["a", "b", "c"])
    config = json.loads((tmp_path / "student" / "config.json").read_text())
    assert config["requires"] == needed_import(name) == "import picturebook.models"
    reloaded, _ = load_student(tmp_path / "student")
    assert torch.equal(reloaded(images()), encoder(images()))
    model, _ = timm_model_and_transform(tmp_path / "student")
    assert torch.equal(model(encoder.prepare(images())), encoder(images()))
    other = create_image_encoder(f"local-dir:{tmp_path / 'student'}", num_classes=5, image_size=16, pretrained=True)
    torch.testing.assert_close(other.eval().tokens(images()), encoder.tokens(images()))
    assert torch.equal(other(images()), torch.zeros(len(images()), 5))


RELOAD = """
import sys, timm, torch
from pathlib import Path
root = Path(sys.argv[1])
for folder in sorted(path for path in root.glob("timm-*") if path.is_dir()):
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    torch.testing.assert_close(model(torch.load(root / "input.pt")), torch.load(root / f"{folder.name}.pt"))
    print(folder.name)
try:
    timm.create_model(f"local-dir:{root / 'own'}", pretrained=True)
except RuntimeError as error:
    assert "Unknown model" in str(error), error
else:
    raise AssertionError("timm knew it before")
assert "picturebook" not in sys.modules
exec(sys.argv[2])
model = timm.create_model(f"local-dir:{root / 'own'}", pretrained=True).eval()
torch.testing.assert_close(model(torch.load(root / "input.pt")), torch.load(root / "own.pt"))
"""


def test_timms_models_reload_without_picturebook_and_its_own_after_the_import(tmp_path: Path) -> None:
    x = small("resnet10t", NARROW).prepare(images())
    torch.save(x, tmp_path / "input.pt")
    for name, arguments in {**IN_TIMM, "wide_resnet28_2": OWN["wide_resnet28_2"]}.items():
        folder = tmp_path / ("own" if name in OWN else f"timm-{name}")
        encoder = small(name, arguments)
        save_student(encoder, folder, label_names=["a", "b", "c"])
        assert ("requires" in json.loads((folder / "config.json").read_text())) == (name in OWN)
        torch.save(encoder.model(x).detach(), tmp_path / f"{folder.name}.pt")
    done = subprocess.run([sys.executable, "-c", RELOAD, str(tmp_path), REQUIREMENT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == sorted(f"timm-{name}" for name in IN_TIMM)


# ---- what is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("wide_resnet28_2", {"drop_out": 0.3}, "takes no argument 'drop_out' .* Did you mean 'dropout'"),
        ("cifar_resnet20", {"shortcut": "none"}, "expected 'pad' or 'projection', got 'none'"),
        ("resnet18_small_input", {"stem_type": "deep"}, "stem_type takes no effect"),
        ("resnet18_small_input", {"chanels": [8]}, "Did you mean 'channels'"),
    ],
)
def test_an_impossible_argument_is_refused(name: str, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        small(name, arguments)


def test_weights_that_nobody_has_are_refused() -> None:
    with pytest.raises(ModelError, match="knows no weights for 'cifar_resnet20'"):
        create_image_encoder("cifar_resnet20", num_classes=3, image_size=32, pretrained=True)
