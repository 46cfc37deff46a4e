import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from picturebook.errors import ModelError
from picturebook.models.artefact import load_student, save_student, timm_model_and_transform
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder, weights_fingerprint

NAMES = ("ant", "bee", "cat")
VIT = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
STUDENTS = {
    "resnet": ("resnet10t", {"channels": [16, 32, 64, 128]}),
    "vit": ("vit_tiny_patch16_224", VIT),
    "vit_avg": ("vit_tiny_patch16_224", VIT | {"class_token": False, "global_pool": "avg"}),
}


def trained_student(kind: str) -> ImageEncoder:
    name, model_args = STUDENTS[kind]
    encoder = create_image_encoder(name, num_classes=3, image_size=32, model_args=model_args, seed=5)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # logits that differ, and batch statistics that are not those of a new model
        for tensor in encoder.model.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.1 * (torch.rand(tensor.shape, generator=generator) - 0.5)
    return encoder.eval()


def pictures() -> torch.Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def students(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("students")
    for kind in STUDENTS:
        save_student(trained_student(kind), root / kind, label_names=NAMES)
    return root


def test_timm_alone_gives_the_same_logits(students: Path) -> None:
    np.save(students / "images.npy", pictures().numpy())
    program = """
import sys
sys.modules["picturebook"] = None  # where it is installed, it cannot be imported from here
import numpy as np, timm, timm.data, torch
for kind in sys.argv[1:]:
    model = timm.create_model(f"local-dir:{kind}", pretrained=True).eval()
    data = timm.data.resolve_model_data_config(model)
    assert list(data["input_size"]) == [3, 32, 32] and data["crop_pct"] == 1, data
    mean, std = (torch.tensor(data[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        np.save(f"{kind}.npy", model((torch.from_numpy(np.load("images.npy")) - mean) / std).numpy())
"""
    command = [sys.executable, "-I", "-c", program, *STUDENTS]
    subprocess.run(command, cwd=students, check=True, timeout=120)
    for kind in STUDENTS:
        with torch.no_grad():
            expected = trained_student(kind)(pictures()).numpy()
        assert np.abs(np.load(students / f"{kind}.npy") - expected).max() <= 1e-5


@pytest.mark.parametrize("kind", STUDENTS)
def test_a_student_comes_back_as_it_was(students: Path, kind: str) -> None:
    encoder, names = load_student(students / kind)
    assert names == NAMES
    assert not encoder.training
    assert weights_fingerprint(encoder) == weights_fingerprint(trained_student(kind))
    assert encoder.image_size == 32


def test_without_pretrained_timm_gives_random_weights(students: Path) -> None:
    folder = f"local-dir:{students / 'resnet'}"
    loaded, random = (timm.create_model(folder, pretrained=pretrained).eval() for pretrained in (True, False))
    assert loaded.num_classes == random.num_classes == 3
    with torch.no_grad():
        assert (loaded(pictures()) - random(pictures())).abs().max() > 0.01


def test_a_student_of_other_statistics_writes_its_own(tmp_path: Path) -> None:
    encoder = trained_student("resnet")
    encoder.mean.fill_(0.25)
    save_student(encoder, tmp_path / "student", label_names=NAMES)
    assert load_student(tmp_path / "student")[0].mean.flatten().tolist() == [0.25] * 3


def test_timms_transform_feeds_the_model_what_the_encoder_would_see(students: Path) -> None:
    model, transform = timm_model_and_transform(students / "vit")
    picture = Image.fromarray((pictures()[0] * 255).byte().permute(1, 2, 0).numpy())
    rgb = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        torch.testing.assert_close(model(transform(picture)[None]), trained_student("vit")(rgb), atol=1e-5, rtol=1e-5)


def test_a_run_folder_gives_architecture_or_weights(students: Path, tmp_path: Path) -> None:
    save_student(trained_student("vit_avg"), tmp_path / "student", label_names=NAMES)
    settings = {"num_classes": 3, "image_size": 32, "seed": 9}
    loaded = create_image_encoder(str(tmp_path), pretrained=True, **settings)
    fresh = create_image_encoder(str(tmp_path), **settings)
    assert loaded.model_args == fresh.model_args == trained_student("vit_avg").model_args
    assert weights_fingerprint(loaded) == weights_fingerprint(trained_student("vit_avg"))
    assert weights_fingerprint(fresh) != weights_fingerprint(loaded)


def test_an_older_student_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    folder = tmp_path / "student"
    save_student(trained_student("resnet"), folder, label_names=NAMES)
    save_student(trained_student("vit"), folder, label_names=NAMES)
    assert load_student(folder)[0].architecture == "vit_tiny_patch16_224"
    assert [path.name for path in tmp_path.iterdir()] == ["student"]
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"holds 'notes.txt'"):
        save_student(trained_student("resnet"), folder, label_names=NAMES)
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("names", [("ant", "bee"), ("ant", "bee", "bee")])
def test_label_names_fit_the_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(ModelError, match="Expected 3 different label names"):
        save_student(trained_student("resnet"), tmp_path / "student", label_names=names)
    assert not list(tmp_path.iterdir())


def test_a_damaged_student_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "student"
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        load_student(folder)
    save_student(trained_student("resnet"), folder, label_names=NAMES)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="is no whole safetensors file"):
        load_student(folder)
    (folder / "model.safetensors").write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"label_names": ["ant"]}))
    with pytest.raises(ModelError, match="1 label_names for 3 classes"):
        load_student(folder)
    config["model_args"]["channels"] = [16, 32, 64, 64]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"cannot be built or loaded with model_args channels=\[16, 32, 64, 64\]"):
        load_student(folder)
