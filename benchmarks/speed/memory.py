"""Peak private memory of a run's work on N pictures, in a process of its own: python benchmarks/speed/memory.py N

Private is what no file stands for (RssAnon of /proc/self/status): mapped pages of stores belong to the page cache, which gives
them back when they are needed.
"""

import io
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

_PIXELS = 8
"""Side of the pictures; their number is what counts here."""
_STEPS = 6
_ROWS_A_FILE = 5000


def growth(work: Path, few: int, many: int) -> tuple[list[float], dict[str, Any]]:
    """Peak private memory with many pictures over that with few."""
    peaks = [_peak(work, num) for num in (few, many)]
    return [peaks[1] / peaks[0]], {"pictures": [few, many], "peak MB": [round(peak / 1e6) for peak in peaks]}


def _peak(work: Path, num: int) -> int:
    command = [sys.executable, __file__, str(num), str(work)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1])


class _Watch(threading.Thread):
    """Looks at this process's private memory 50 times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.over = 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.02):
            lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
            self.peak = max(self.peak, next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")))


def _write(folder: Path, num: int) -> None:
    """Parquet files of small pictures, each of its own noise, in ten classes."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for start in range(0, num, _ROWS_A_FILE):
        rows = range(start, min(start + _ROWS_A_FILE, num))
        pictures = []
        for _ in rows:
            file = io.BytesIO()
            Image.fromarray(generator.integers(0, 256, (_PIXELS, _PIXELS, 3), dtype=np.uint8)).save(file, "png", compress_level=1)
            pictures.append({"bytes": file.getvalue(), "path": None})
        labels = [f"class {index % 10}" for index in rows]
        pq.write_table(pa.table({"image": pictures, "label": labels}), folder / f"{start:07d}.parquet")


def _work(num: int, work: Path) -> int:
    """Decode, label and train a few steps; the most private memory on the way."""
    os.environ["HF_DATASETS_CACHE"] = str(work / "datasets")
    import torch
    from cases import Parts
    from work import any_targets

    from picturebook.objectives.soft_targets import SoftTargetOptions, SoftTargets

    watch = _Watch()
    watch.start()
    data = {"root": str(work / f"data-{num}"), "canvas_size": 64}
    parts = Parts(work / str(num), "resnet18", data=data, text_column=None)
    objective = SoftTargets(parts.stages.new_student(), any_targets(parts), SoftTargetOptions(), projector=None)
    step = parts.stepping(objective)
    for _ in range(_STEPS):
        step()
    watch.over.set()
    watch.join()
    assert torch.is_grad_enabled()
    return watch.peak


if __name__ == "__main__":
    number, place = int(sys.argv[1]), Path(sys.argv[2])
    if not (place / f"data-{number}").is_dir():
        child = os.fork()  # so that what writing the pictures took is not in the peak
        if child == 0:
            _write(place / f"data-{number}", number)
            os._exit(0)
        os.waitpid(child, 0)
    with tempfile.TemporaryDirectory(dir=place) as own:
        (Path(own) / f"data-{number}").symlink_to(place / f"data-{number}")
        print(_work(number, Path(own)))
