import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picturebook.data.tables import DataOptions
from picturebook.inspection import inspect_data


def picture(seed: int, height: int = 12, width: int = 10) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for label, name in enumerate(("ape", "bat")):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for index in range(10):
            (folder / f"{index}.png").write_bytes(picture(100 * label + index))
    return tmp_path / "data"


def test_an_inspection_counts_what_there_is(root: Path, tmp_path: Path) -> None:
    (root / "ape" / "wide.png").write_bytes(picture(500, 8, 40))
    (root / "bat" / "copy.png").write_bytes(picture(104))
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
