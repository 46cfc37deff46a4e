"""The bookkeeping of benchmarks/peers, with peers that only sleep: no environments, no networks, no data."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
FAKE = Path(__file__).with_name("fake_peer.py")


@pytest.fixture(autouse=True)
def _benchmark_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The benchmark's modules by the names under which its scripts import each other, and forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(PEERS))
    monkeypatch.syspath_prepend(str(PEERS / "shared"))
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(PEERS)):
            del sys.modules[name]


def fake(tmp_path: Path, name: str, **spec: Any) -> Any:
    from workers import start

    whole = {"free": False, "fails": False, "epochs": 1_000, "sleep": 0.002, "bytes": 1} | spec
    environment = os.environ | {"PYTHONPATH": str(PEERS / "shared")}
    return start(name, [sys.executable, str(FAKE), json.dumps(whole)], environment=environment, log=tmp_path / f"{name}.log")


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_slower_peer_has_the_lower_rate_and_stands_still_between_its_turns(tmp_path: Path) -> None:
    from rounds import Length, take_rounds
    from workers import all_ready

    ready = all_ready([lambda: fake(tmp_path, "fast"), lambda: fake(tmp_path, "slow", sleep=0.02)], at_once=2)
    workers = dict(zip(("fast", "slow"), ready, strict=True))
    try:
        rates = take_rounds(workers, rounds=2, length=Length(seconds=0.05, least=2, warm=1), batch=10)
        time.sleep(0.05)
        assert {state_of(worker.process.pid) for worker in ready} == {"T"}
    finally:
        for worker in ready:
            worker.end()
    assert len(rates.by_name["fast"]) == 2
    assert rates.median("slow") < 10 / 0.02
    assert min(rates.ratios("fast", "slow")) > 1.5
    assert all(worker.process.returncode == -signal.SIGKILL for worker in ready)


def test_warm_steps_are_not_counted_and_both_bounds_of_a_turn_hold(tmp_path: Path) -> None:
    worker = fake(tmp_path, "peer", sleep=0.01)
    try:
        worker.wait_until_ready()
        steps, seconds = worker.run(0.0, warm=3, least=4)
        assert steps == 4
        assert seconds >= 0.04
        steps, seconds = worker.run(0.1, warm=0, least=1)
        assert seconds >= 0.1
        assert steps <= 10
    finally:
        worker.end()


def test_memory_of_a_worker_is_what_it_holds(tmp_path: Path) -> None:
    held = 64 * 2**20
    workers = [fake(tmp_path, "small"), fake(tmp_path, "large", bytes=held)]
    peaks = []
    try:
        for worker in workers:
            worker.wait_until_ready()
            with worker.memory_watched() as peak:
                worker.run(0.3, warm=0, least=1)
            peaks.append(peak[0])
    finally:
        for worker in workers:
            worker.end()
    assert 0.9 * held < peaks[1].private - peaks[0].private < 1.2 * held
    assert peaks[1].unique - peaks[0].unique > 0.9 * held


def test_a_worker_that_ends_early_is_told_with_its_log(tmp_path: Path) -> None:
    from workers import WorkerError, all_ready

    others = []

    def begin() -> Any:
        others.append(fake(tmp_path, "good"))
        return others[0]

    with pytest.raises(WorkerError, match=r"(?s)broken ended early.*no such teacher"):
        all_ready([begin, lambda: fake(tmp_path, "broken", fails=True)], at_once=1)
    assert others[0].process.returncode == -signal.SIGKILL


def test_a_free_worker_tells_each_epoch(tmp_path: Path) -> None:
    worker = fake(tmp_path, "peer", free=True, epochs=3)
    accuracies = [line["accuracy"] for line in worker.answers()]
    worker.end()
    assert accuracies == pytest.approx([0.1, 0.2, 0.3])


def test_rows_hold_the_median_and_the_range_of_the_rounds(tmp_path: Path) -> None:
    from cases import CASES, CONTESTANTS, OURS
    from measuring import Measured
    from rounds import Rates
    from tables import raw, write_records
    from workers import Memory

    peer = next(c for c in CONTESTANTS if c.peer == "torchdistill" and c.setting == "defaults")
    rates = Rates(64)
    for ours, theirs in ((8, 4), (9, 3), (10, 2)):
        rates.add(OURS.name, ours, 1.0)
        rates.add(peer.name, theirs, 1.0)
    measured = {CASES[1].name: Measured(rates, {OURS.name: Memory(1, 2)}, 900.0)}
    write_records(tmp_path / "results", [OURS, peer], measured, device="CPU")
    (file,) = (tmp_path / "results").iterdir()
    row = json.loads(file.read_text(encoding="utf-8"))
    assert set(row) == {"what", "ratio", "target", "low", "high", "runs", "device", "commit"}
    assert (row["ratio"], row["low"], row["high"], row["runs"]) == (3.0, 2.0, 5.0, 3)
    assert row["target"] == "≥ 3.5"
    raw(tmp_path / "rates.json", measured, {}, device="CPU")
    whole = json.loads((tmp_path / "rates.json").read_text(encoding="utf-8"))
    assert whole["cases"]["resnet18"]["images_per_second"][OURS.name] == [512.0, 576.0, 640.0]


def test_the_page_has_the_rates_between_its_marks_and_the_rest_as_it_was(tmp_path: Path) -> None:
    from page import PAGE, rewrite

    page = tmp_path / "peers.md"
    page.write_text(f"{PAGE.read_text(encoding='utf-8')}After.\n", encoding="utf-8")
    speeds = {"picturebook defaults": [300.0, 400.0, 500.0], "plain best": [100.0, 100.0, 250.0]}
    case = {"images_per_second": speeds, "memory": {name: {"private": 2**30} for name in speeds}, "labelling": 400.0}
    seconds = {"plain best": {"seconds": None, "whole": 12.0, "last": 0.2}}
    rates = {"commit": "abc", "device": "CPU", "cases": {"vit_tiny": case}, "seconds_to_accuracy": seconds, "accuracy": 0.25}
    for _ in range(2):
        rewrite(page, rates)
        text = page.read_text(encoding="utf-8")
        assert text.count("| plain PyTorch, best | 100 | 1024 | 3.00 (2.00 to 4.00) |") == 1
        assert "is 320 with a view for every four epochs and 200 with a view an epoch" in text
        assert "| plain PyTorch, best | not reached | 12 | 20.0% |" in text
        assert "Not measured yet" not in text
        assert text.startswith("# Peers, side by side\n")
        assert text.endswith("After.\n")


def test_every_target_of_the_table_is_a_row() -> None:
    from cases import CASES, CONTESTANTS, target_of

    targets = {(case.name, c.peer, c.setting): target_of(case, c) for case in CASES for c in CONTESTANTS}
    rows = [value for value in targets.values() if value is not None]
    assert len(rows) == 3 * 8  # lightly-train learns from a teacher alone
    assert {targets[name, "plain", "defaults"] for name in ("resnet8", "resnet18", "vit_tiny")} == {6.0, 3.5, 1.9}


def test_the_order_moves_on_by_one_a_round() -> None:
    from rounds import turned

    assert [turned(["a", "b", "c"], number) for number in (0, 1, 3)] == [["a", "b", "c"], ["b", "c", "a"], ["a", "b", "c"]]


def test_the_peers_resnet8_is_ours() -> None:
    import timm
    import torch
    from networks import ResNet8

    import picturebook.models  # noqa: F401 - registers our architectures

    ours = timm.create_model("cifar_resnet20", depth=1, num_classes=5).eval()
    theirs = ResNet8(5).eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(theirs(images), ours(images))


def test_every_peer_has_pins() -> None:
    from cases import CONTESTANTS
    from environments import PEERS as WITH_PINS

    assert {contestant.peer for contestant in CONTESTANTS} == {"picturebook", *WITH_PINS}
    for peer in WITH_PINS:
        lines = (PEERS / peer / "requirements.txt").read_text(encoding="utf-8").split()
        assert all("==" in line for line in lines)


def test_without_environments_it_says_what_to_run(tmp_path: Path) -> None:
    from cases import CONTESTANTS
    from machine import Machine

    machine = Machine(tmp_path, tmp_path, 1)
    with pytest.raises(SystemExit, match=r"no environment for lightly_train, plain, torchdistill: run python .*environments\.py"):
        machine.refuse_missing_environments(CONTESTANTS)
