from pathlib import Path

import pytest

from picturebook.errors import ModelError
from picturebook.models.sources import find_image_source, list_image_encoders


def test_prefix_and_tag_are_understood() -> None:
    source = find_image_source("timm/resnet10t.c3_in1k")
    assert (source.timm_name, source.architecture, source.has_fixed_size) == ("resnet10t.c3_in1k", "resnet10t", False)
    assert find_image_source("vit_tiny_patch16_224").has_fixed_size


def test_packaged_weights_build_the_model_with_tensorflow_padding() -> None:
    assert find_image_source("package:efficientnet-lite0").architecture == "tf_efficientnet_lite0"


def test_names_are_listed_by_pattern() -> None:
    assert list_image_encoders("package:*") == ["package:efficientnet-lite0"]
    assert "resnet10t" in list_image_encoders("resnet1*")
    assert "package:efficientnet-lite0" in list_image_encoders()


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, r"config.json is missing"),
        ({"config.json": "{}"}, r"model.safetensors is missing"),
        ({"config.json": "{", "model.safetensors": ""}, r"is not the JSON that timm writes"),
        ({"config.json": "[]", "model.safetensors": ""}, r"is not the JSON that timm writes"),
        ({"config.json": '{"num_classes": 2}', "model.safetensors": ""}, r"lacks architecture, pretrained_cfg"),
        (
            {"config.json": '{"architecture": "resnet10", "num_classes": 2, "pretrained_cfg": {}}', "model.safetensors": ""},
            r"Did you mean 'resnet10t'",
        ),
    ],
)
def test_a_half_written_folder_is_one_sentence(tmp_path: Path, files: dict[str, str], sentence: str) -> None:
    folder = tmp_path / "student"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(ModelError, match=sentence):
        find_image_source(f"local-dir:{folder}")
    with pytest.raises(ModelError, match=sentence):
        find_image_source(str(tmp_path))
