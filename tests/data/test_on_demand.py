"""Pictures past the budget of canvases: decoded whenever they are shown, and the same everywhere else."""

from pathlib import Path

import numpy as np
import pytest
import torch

from picturebook.data.loaders import TrainingBatches, ViewMaker
from picturebook.data.on_demand import DecodedOnDemand
from picturebook.data.pictures import Pictures, load_pictures
from picturebook.data.tables import DataOptions
from picturebook.data.views import ViewOptions
from picturebook.errors import DataError
from toys import CLASSES, toy_picture


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for label, name in enumerate(CLASSES):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(8):
            toy_picture(label, index).save(tmp_path / "data" / name / f"{index}.png")
    (tmp_path / "data" / CLASSES[0] / "copy.png").write_bytes((tmp_path / "data" / CLASSES[0] / "0.png").read_bytes())
    (tmp_path / "data" / CLASSES[1] / "broken.png").write_bytes(b"no picture")
    return tmp_path / "data"


def load(root: Path, budget: float) -> Pictures:
    options = DataOptions(root=str(root), canvas_size=32, canvas_budget_gb=budget, max_broken_share=0.5)
    return load_pictures(options, cache=root.parent / "cache")


def batches(pictures: Pictures) -> TrainingBatches:
    maker = ViewMaker(pictures, ViewOptions(), 16, 0, torch.device("cpu"))
    return TrainingBatches(maker, pictures.rows["train"], batch_size=8, epochs=2, num_views=2, seed=0)


def test_views_duplicates_and_splits_are_those_of_kept_canvases(root: Path) -> None:
    kept, shown = load(root, 1.0), load(root, 1e-6)
    assert isinstance(kept.canvases, np.ndarray)
    assert isinstance(shown.canvases, DecodedOnDemand)
    assert shown.canvases.shape == kept.canvases.shape
    np.testing.assert_array_equal(np.stack(list(shown.canvases)), kept.canvases)
    np.testing.assert_array_equal(shown.clusters, kept.clusters)
    assert shown.findings == kept.findings
    ours, theirs = batches(shown), batches(kept)
    for step in range(ours.num_steps):
        assert ours.at(step).images.equal(theirs.at(step).images)


def test_places_are_taken_as_of_an_array(root: Path) -> None:
    kept, shown = load(root, 1.0).canvases, load(root, 1e-6).canvases
    for places in (3, slice(2, 5), np.array([4, 1, 4]), np.array([], np.int64), kept.reshape(len(kept), -1).sum(axis=1) % 2 == 0):
        np.testing.assert_array_equal(shown[places], kept[places])


def test_nothing_is_kept_but_thumbnails(root: Path) -> None:
    shown = load(root, 1e-6)
    (file,) = (root.parent / "cache").rglob("canvases.bin")
    assert file.stat().st_size == len(shown) * 16 * 16 * 3
    assert shown.canvases[0].shape == (32, 32, 3)


def test_what_comes_next_is_decoded_once_and_before_it_is_asked_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = load(root, 1e-6)
    decoded: list[int] = []
    decode = DecodedOnDemand._decode

    def counting(self: DecodedOnDemand, place: int) -> np.ndarray:
        decoded.append(place)
        return decode(self, place)

    monkeypatch.setattr(DecodedOnDemand, "_decode", counting)
    source = batches(pictures)
    shown = [set(source.at(step).ids.tolist()) for step in range(source.num_steps)]
    assert len(decoded) == sum(len(ids) for ids in shown)


def test_a_picture_that_is_gone_is_named(root: Path) -> None:
    pictures = load(root, 1e-6)
    place = next(place for place, name in enumerate(pictures.names) if name.endswith("3.png"))
    (root / pictures.names[place]).write_bytes(b"")
    with pytest.raises(DataError, match=f"{pictures.names[place]} gave a picture when the data were first read"):
        pictures.canvases[np.array([place])]
