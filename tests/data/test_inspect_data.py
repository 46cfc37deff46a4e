from pathlib import Path

import pytest

from picturebook.data.tables import DataOptions
from picturebook.inspection import inspect_data
from toys import noise_png, write_apes_and_bats


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_apes_and_bats(tmp_path / "data")


def test_an_inspection_counts_what_there_is(root: Path, tmp_path: Path) -> None:
    (root / "ape" / "wide.png").write_bytes(noise_png(500, 8, 40))
    (root / "bat" / "copy.png").write_bytes(noise_png(104))
    (root / "bat" / "broken.png").write_bytes(b"")
    (root / "metadata.csv").write_text("file_name,text\nape/0.png,a small ape\nape/1.png,a small ape\nbat/1.png,bat\n")
    options = DataOptions(root=str(root), canvas_size=8, max_broken_share=0.0)
    inspection = inspect_data(options, cache=tmp_path / "cache").to_dict()
    assert inspection["num_rows"] == 22
    assert [sum(row[split] for split in ("train", "val", "test")) for row in inspection["classes"]] == [11, 11]
    assert inspection["heights"] == {"minimum": 8, "median": 12.0, "maximum": 12}
    assert inspection["widths"] == {"minimum": 10, "median": 10.0, "maximum": 40}
    assert inspection["texts"] == {"num_rows": 3, "num_distinct": 2, "mean_words": pytest.approx(7 / 3)}
    assert inspection["duplicates"] == {"num_clusters": 1, "num_pictures": 2}
    assert {finding["kind"] for finding in inspection["findings"]} >= {"zero-byte file", "no text"}


def test_an_inspection_shows_what_training_may_know_and_where_pictures_come_from(root: Path, tmp_path: Path) -> None:
    rows = [f"{name}/{index}.png,{'ab'[index % 2]}\n" for name in ("ape", "bat") for index in range(10)]
    (root / "metadata.csv").write_text("file_name,domain\n" + "".join(rows))
    plain = inspect_data(DataOptions(root=str(root), canvas_size=8), cache=tmp_path / "cache").to_dict()
    assert plain["domains"] == {"a": 10, "b": 10}
    assert plain["training"] == {"num_rows": 14, "num_labelled": 14, "num_unlabelled": 0}
    few = DataOptions.model_validate({"root": str(root), "canvas_size": 8, "supervision": {"labelled_share": 0.3}})
    inspection = inspect_data(few, cache=tmp_path / "cache").to_dict()
    assert inspection["training"] == {"num_rows": 14, "num_labelled": 4, "num_unlabelled": 10}
    assert inspection["num_unlabelled"] == 10
    assert [row["train"] for row in inspection["classes"]] == [2, 2]
    (finding,) = inspection["findings"]
    assert finding["kind"] == "training label withheld (data.supervision.labelled_share = 0.3)"
