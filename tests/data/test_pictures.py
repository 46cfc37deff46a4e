import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picturebook.data.pictures import load_pictures
from picturebook.data.tables import DataOptions
from picturebook.errors import DataError
from toys import noise_png, write_apes_and_bats


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_apes_and_bats(tmp_path / "data")


def options(root: Path, **settings: object) -> DataOptions:
    return DataOptions.model_validate({"root": str(root), "canvas_size": 8, **settings})


def test_pictures_are_the_decoded_rows_and_their_splits(root: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    loaded = load_pictures(options(root), cache=tmp_path / "cache", progress=lambda done, total: seen.append((done, total)))
    assert len(loaded) == 20
    assert loaded.canvases.shape == (20, 8, 8, 3)
    assert isinstance(loaded.canvases, np.memmap)
    assert not loaded.canvases.flags.writeable
    expected = Image.open(io.BytesIO(noise_png(103))).resize((8, 8), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(loaded.canvases[loaded.names.index("bat/3.png")], np.asarray(expected))
    assert loaded.sizes.tolist() == [[12, 10]] * 20
    assert {name: len(rows) for name, rows in loaded.rows.items()} == {"train": 14, "val": 2, "test": 4}
    assert loaded.read(13) == noise_png(103)
    assert seen[-1] == (20, 20)


def test_broken_files_are_skipped_and_listed(root: Path, tmp_path: Path) -> None:
    (root / "ape" / "0.png").write_bytes(noise_png(0)[:200])
    (root / "bat" / "5.png").write_bytes(b"")
    Image.new("L", (8, 8), 9).save(root / "bat" / "6.png")
    loaded = load_pictures(options(root), cache=tmp_path / "cache")
    assert len(loaded) == 18
    assert "ape/0.png" not in loaded.names
    assert loaded.read(loaded.names.index("bat/7.png")) == noise_png(107)
    found = {(finding.level, finding.kind): finding.names for finding in loaded.findings}
    assert found == {
        ("skipped", "truncated file"): ("ape/0.png",),
        ("skipped", "zero-byte file"): ("bat/5.png",),
        ("converted", "grey"): ("bat/6.png",),
    }
    again = load_pictures(options(root), cache=tmp_path / "cache")
    assert again.findings == loaded.findings


def test_too_many_broken_files_are_refused(root: Path, tmp_path: Path) -> None:
    for index in range(4):
        (root / "ape" / f"{index}.png").write_bytes(b"words")
    with pytest.raises(
        DataError, match=r"4 files of 20 \(20.0%\) give no picture.*max_broken_share = 0.1.*ape/0.png \(not an image\)"
    ):
        load_pictures(options(root), cache=tmp_path / "cache")
    assert len(load_pictures(options(root, max_broken_share=0.2), cache=tmp_path / "cache")) == 16


def test_nothing_but_broken_files_is_refused_at_any_bound(root: Path, tmp_path: Path) -> None:
    for path in root.rglob("*.png"):
        path.write_bytes(b"words")
    with pytest.raises(DataError, match=r"20 files of 20 \(100.0%\) give no picture"):
        load_pictures(options(root, max_broken_share=1.0), cache=tmp_path / "cache")


def test_a_class_that_is_broken_as_a_whole_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "cow").mkdir()
    (root / "cow" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"All pictures of 1 class \(cow\) are broken: cow/1.png \(zero-byte file\)"):
        load_pictures(options(root), cache=tmp_path / "cache")


def test_a_test_that_is_broken_as_a_whole_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "metadata.csv").write_text(
        "file_name,split\n"
        + "".join(f"{name}/{i}.png,{'test' if i == 0 else 'train'}\n" for name in ("ape", "bat") for i in range(10))
    )
    for name in ("ape", "bat"):
        (root / name / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"All pictures of the split test are broken: ape/0.png \(zero-byte file\)"):
        load_pictures(options(root), cache=tmp_path / "cache")


def test_duplicates_stay_together_when_we_split_and_are_listed_when_the_data_do(root: Path, tmp_path: Path) -> None:
    for index in range(10):
        (root / "ape" / f"copy of {index}.png").write_bytes(noise_png(index))
    loaded = load_pictures(options(root), cache=tmp_path / "cache")
    where = {loaded.names[row]: split for split, rows in loaded.rows.items() for row in rows}
    assert all(where[f"ape/{index}.png"] == where[f"ape/copy of {index}.png"] for index in range(10))
    assert loaded.findings == ()
    rows = [f"{name},{'test' if name.startswith('ape/copy of 1') or name == 'bat/1.png' else 'train'}\n" for name in loaded.names]
    (root / "metadata.csv").write_text("file_name,split\n" + "".join(rows))
    given = load_pictures(options(root, split={"val": 0.0}), cache=tmp_path / "cache")
    assert [finding.names for finding in given.findings] == [("ape/copy of 1.png",)]
    assert given.findings[0].kind == "in test, with a near duplicate in train"


def test_duplicates_with_different_labels_are_listed(root: Path, tmp_path: Path) -> None:
    (root / "bat" / "same.png").write_bytes(noise_png(3))
    (finding,) = load_pictures(options(root), cache=tmp_path / "cache").findings
    assert (finding.kind, finding.names) == ("near duplicates with different labels", ("ape/3.png", "bat/same.png"))


def test_unlabelled_copies_of_test_pictures_are_in_no_split(root: Path, tmp_path: Path) -> None:
    names = [f"{name}/{index}.png" for name in ("ape", "bat") for index in range(10)]
    for index in range(10):
        (root / f"unlabelled{index}.png").write_bytes(noise_png(index))
    rows = [f"{name},{name[:3]}\n" for name in names] + [f"unlabelled{index}.png,\n" for index in range(10)]
    (root / "metadata.csv").write_text("file_name,label\n" + "".join(rows))
    loaded = load_pictures(options(root), cache=tmp_path / "cache")
    (finding,) = (finding for finding in loaded.findings if finding.level == "skipped")
    assert finding.kind == "no label, and together with val or test pictures"
    assert finding.count == sum(loaded.names[row].startswith("ape") for split in ("val", "test") for row in loaded.rows[split])
    assert sum(map(len, loaded.rows.values())) == 30 - finding.count


def test_supervision_changes_training_labels_and_the_fingerprint_and_nothing_else(root: Path, tmp_path: Path) -> None:
    plain = load_pictures(options(root), cache=tmp_path / "cache")
    truth, train, outside = plain.labels, plain.rows["train"], np.concatenate([plain.rows["val"], plain.rows["test"]])
    fingerprints = {plain.fingerprint}
    settings: tuple[dict[str, object], ...] = (
        {"labelled_share": 0.5},
        {"labelled_share": 0.5, "unlabelled": "drop"},
        {"labelled_share": 0.5, "seed": 1},
        {"label_noise": 0.4},
        {"label_noise": 0.6},
    )
    for setting in settings:
        known = load_pictures(options(root, supervision=setting), cache=tmp_path / "cache")
        np.testing.assert_array_equal(known.labels[outside], truth[outside])
        for split in ("val", "test"):
            np.testing.assert_array_equal(known.rows[split], plain.rows[split])
        changed = train[known.labels[train] != truth[train]]
        assert len(changed)
        assert len(known.findings) == 1
        assert known.findings[0].names == tuple(known.names[row] for row in changed)
        dropped = "unlabelled" in setting
        assert set(known.rows["train"]) == set(train) - (set(changed) if dropped else set())
        fingerprints.add(known.fingerprint)
    assert len(fingerprints) == 6
    whole = load_pictures(options(root, supervision={"labelled_share": 1, "seed": 5}), cache=tmp_path / "cache")
    assert whole.fingerprint == plain.fingerprint, "what changes nothing leaves stored targets valid"


def test_training_settings_do_not_touch_pictures_that_are_only_judged(root: Path, tmp_path: Path) -> None:
    settings = {"supervision": {"labelled_share": 0.2, "label_noise": 0.5}, "split": {"held_out": ["x"], "folds": 3}}
    judged = load_pictures(options(root, **settings), cache=tmp_path / "cache", to_train=False)
    plain = load_pictures(options(root), cache=tmp_path / "cache", to_train=False)
    np.testing.assert_array_equal(judged.labels, plain.labels)
    assert judged.findings == plain.findings == ()


def test_labels_are_withheld_by_whole_groups_and_near_duplicates(root: Path, tmp_path: Path) -> None:
    for index in range(10):
        (root / "ape" / f"copy of {index}.png").write_bytes(noise_png(index))
    names = [str(path.relative_to(root)) for path in sorted(root.rglob("*.png"))]
    rows = [f"{name},{name.split('/')[0]}{int(name[-5]) // 2}\n" for name in names]
    (root / "metadata.csv").write_text("file_name,scene\n" + "".join(rows))
    settings = {"columns": {"group": "scene"}, "split": {"test": 0.0, "val": 0.0}, "supervision": {"labelled_share": 0.4}}
    known = load_pictures(options(root, **settings), cache=tmp_path / "cache")
    labelled: dict[str, set[bool]] = {}
    for name, label in zip(known.names, known.labels.tolist(), strict=True):
        labelled.setdefault(f"{name.split('/')[0]}{int(name[-5]) // 2}", set()).add(label >= 0)
    assert sorted(map(len, labelled.values())) == [1] * 10
    assert sum(True in values for values in labelled.values()) == 4


def test_what_a_held_out_domain_leaves_out_is_found(root: Path, tmp_path: Path) -> None:
    rows = [f"{name}/{index}.png,{'ab'[index % 2]}\n" for name in ("ape", "bat") for index in range(10)]
    (root / "metadata.csv").write_text("file_name,maker\n" + "".join(rows))
    settings = {"columns": {"domain": "maker"}, "split": {"held_out": ["b"], "test": 0.4}}
    known = load_pictures(options(root, **settings), cache=tmp_path / "cache")
    assert {known.domains[row] for row in known.rows["test"]} == {"b"}
    assert {known.domains[row] for part in ("train", "val") for row in known.rows[part]} == {"a"}
    (finding,) = known.findings
    assert (finding.level, finding.count) == ("skipped", 20 - sum(map(len, known.rows.values())))
    assert finding.kind == "of b outside of the test, or of another domain in it (data.split.held_out)"
