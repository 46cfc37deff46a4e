"""Where a step goes, of plain PyTorch at its defaults and of picturebook: python benchmarks/speed/where.py

Both train in turns in this process, with all its threads, on pictures of waves. Plain PyTorch's step is cut into loading, the
teacher, the student's forward and backward pass and the update; picturebook's has the bare student's step beside it, which
nothing can save. Medians go into benchmarks/peers/where.json, and from there into docs/peers.md.
"""

import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import cases
import timing
import torch
import work

PEERS = timing.ROOT / "benchmarks" / "peers"
sys.path += [str(PEERS / "shared"), str(PEERS / "plain")]

import networks  # noqa: E402 - the plain peer's own modules, in folders that are no packages
import pictures  # noqa: E402
import train as plain  # noqa: E402

CASES = {
    "resnet8": {"model": "cifar_resnet20", "model_args": {"depth": 1}, "image_size": 32},
    **cases.STUDENTS,
}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet8": ("resnet8", {}),
    "resnet18": ("resnet18", {}),
    "vit_tiny": ("vit_tiny_patch16_224", {"img_size": 64, "patch_size": 8}),
}
"""What the peers' shared/networks.py calls them."""
PARTS = ("loading", "teacher", "student", "update")
RESULTS = PEERS / "where.json"
_SECONDS, _LEAST = 40.0, 12
"""A case's, and its least turns."""


def plain_step(spec: dict[str, Any]) -> Callable[[], list[float]]:
    """A step of plain/train.py at its defaults: seconds of each part."""
    student, teacher = networks.build(spec).train(), networks.build(spec).eval().requires_grad_(requires_grad=False)
    loader = pictures.training_loader(spec)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3, weight_decay=0.05)

    def step() -> list[float]:
        clock = [time.perf_counter()]
        images, labels = next(batches)
        clock.append(time.perf_counter())
        with torch.no_grad():
            answers = teacher(images)
        clock.append(time.perf_counter())
        optimizer.zero_grad()
        plain.distillation_loss(spec, student(images), answers, labels).backward()
        clock.append(time.perf_counter())
        optimizer.step()
        clock.append(time.perf_counter())
        return [end - start for start, end in itertools.pairwise(clock)]

    return step


def timed(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def turns(name: str) -> Iterator[dict[str, float]]:
    """Milliseconds of each part, turn by turn; the first two are warm-up and not told."""
    cases.SIDE, cases.STUDENTS[name] = CASES[name]["image_size"], CASES[name]
    with tempfile.TemporaryDirectory() as place:
        ours, bare = work.stored_step(Path(place), name)
        (Path(place) / "plain").mkdir()
        (Path(place) / "plain" / "train").symlink_to(Path(place) / "data", target_is_directory=True)
        known = dict(zip(("network", "network_args"), NETWORKS[name], strict=True)) | {"image_size": cases.SIDE}
        spec = {"case": known, "num_classes": cases.NUM_CLASSES, "batch": cases.BATCH, "workers": 0, "flags": {"fast": False}}
        spec |= {
            "data": str(Path(place) / "plain"),
            "mean": [0.5] * 3,
            "std": [0.25] * 3,
            "temperature": 2.0,
            "label_weight": 0.1,
        }
        theirs = plain_step(spec)
        end = float("inf")
        for turn in itertools.count():
            found = dict(zip(PARTS, theirs(), strict=True)) | {"ours": timed(ours), "bare": timed(bare)}
            if turn == 1:
                end = time.monotonic() + _SECONDS
            if turn > 1:
                yield {name: 1e3 * seconds for name, seconds in found.items()}
            if turn > _LEAST and time.monotonic() > end:
                return


def main() -> None:
    timing.refuse_busy(anyway="--busy" in sys.argv)
    found = {}
    for name in CASES:
        told = list(turns(name))
        found[name] = {part: round(median(one[part] for one in told), 2) for part in told[0]} | {"turns": len(told)}
        print(name, found[name], flush=True)
    device = f"CPU, {torch.get_num_threads()} threads"
    RESULTS.write_text(
        json.dumps({"commit": timing.commit(), "device": device, "cases": found}, indent=1) + "\n", encoding="utf-8"
    )
    subprocess.run([sys.executable, str(PEERS / "page.py")], check=True)


if __name__ == "__main__":
    main()
