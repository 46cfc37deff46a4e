"""What a study's page shows behind the means."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_study import CLASSES, NUM_PICTURES, Pretending, plan, study

from picturebook.calibration import fit_temperature
from picturebook.report.study_content import StudyDetails
from picturebook.study.analysis import gather
from picturebook.study.cells import Cell, Plan
from picturebook.study.details import study_details
from picturebook.writing import npz, read_json, read_npz, write_json

ARMS = {name: {"recipe": "supervised"} for name in ("a", "b")}


def accuracy(cell: Cell) -> float:
    return 0.4 + 0.2 * "ab".index(cell.arm) + 0.1 * cell.seed


def finished(out: Path, **changes: Any) -> Plan:
    ours = plan(study(out, arms=ARMS, **changes))
    for cell in ours.cells():
        Pretending(accuracy).finish(cell)
    return ours


def details(ours: Plan) -> StudyDetails:
    return study_details(ours, gather(ours, {}))


def predicted(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions by ascending id."""
    stored = read_npz(cell.run.predictions)
    order = np.argsort(stored["test_ids"])
    return stored["test_labels"][order], stored["test_logits"][order].argmax(axis=1)


def test_curves_are_means_over_seeds_by_epoch(tmp_path: Path) -> None:
    curves = {curve.name: curve.points for curve in details(finished(tmp_path)).curves}
    assert curves["a"] == ((0.5, pytest.approx(0.225)), (1.0, pytest.approx(0.45)))
    assert curves["b"] == ((0.5, pytest.approx(0.325)), (1.0, pytest.approx(0.65)))


def test_an_epoch_at_which_one_seed_was_not_validated_is_left_out(tmp_path: Path) -> None:
    ours = finished(tmp_path)
    ours.cell("a", 0).run.log({"stage": "student", "step": 40, "epoch": 2.0, "val_accuracy": 0.9})
    assert [epoch for epoch, _ in details(ours).curves[0].points] == [0.5, 1.0]


def test_folds_of_other_sizes_share_a_curve(tmp_path: Path) -> None:
    ours = finished(tmp_path)
    log = ours.cell("a", 1).run.metrics
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps(line | {"epoch": line["epoch"] * 1.002}) + "\n" for line in lines))
    assert [epoch for epoch, _ in details(ours).curves[0].points] == pytest.approx([0.5005, 1.001])
    log.write_text("".join(json.dumps(line | {"epoch": line["epoch"] * 2}) + "\n" for line in lines))
    assert [curve.name for curve in details(ours).curves] == ["b"], "means over half of a training and all of another"


def test_the_arm_that_is_asked_for_first_stands_beside_the_baseline(tmp_path: Path) -> None:
    ours = plan(study(tmp_path, arms=dict.fromkeys("abcd", ARMS["a"]), contrasts=["c - a", "d - b"]))
    for cell in ours.cells():
        Pretending().finish(cell)
    assert details(ours).compared == ("c", "d", "b")


def test_class_gains_are_paired_means_over_seeds_in_points(tmp_path: Path) -> None:
    ours = finished(tmp_path)
    found = details(ours)
    assert (found.baseline, found.compared) == ("a", ("b",))
    for number, row in enumerate(found.classes):
        reached: dict[str, list[float]] = {"a": [], "b": []}
        for arm in ARMS:
            for seed in (0, 1):
                labels, said = predicted(ours.cell(arm, seed))
                reached[arm].append(100 * float((said == labels)[labels == number].mean()))
        (gain,) = row.gains
        assert gain is not None
        assert (row.name, row.num) == (CLASSES[number], NUM_PICTURES // 3)
        assert row.baseline == pytest.approx(np.mean(reached["a"]))
        assert gain.mean == pytest.approx(np.mean(reached["b"]) - np.mean(reached["a"]))
        assert gain.low is None or gain.low <= gain.mean <= gain.high


def test_an_arm_that_shares_no_pictures_with_the_baseline_has_no_gains(tmp_path: Path) -> None:
    ours = finished(tmp_path)
    run = ours.cell("b", 0).run
    stored = read_npz(run.predictions)
    run.predictions.write_bytes(npz(stored | {"test_ids": stored["test_ids"] + 1000}))
    assert [row.gains for row in details(ours).classes] == [(None,)] * 3


def test_mistakes_are_counted_by_run(tmp_path: Path) -> None:
    ours = finished(tmp_path)
    found = details(ours)
    first = found.mistakes[0]
    label, prediction = CLASSES.index(first.label), CLASSES.index(first.prediction)
    for place, arm in enumerate(found.measured):
        counts = []
        for seed in (0, 1):
            labels, said = predicted(ours.cell(arm, seed))
            counts.append(int(((labels == label) & (said == prediction)).sum()))
        assert first.counts[place] == pytest.approx(np.mean(counts))
    totals = [sum(one.counts) for one in found.mistakes]
    assert totals == sorted(totals, reverse=True)


def test_certainty_is_shown_before_and_after_each_runs_temperature(tmp_path: Path) -> None:
    ours = finished(tmp_path)
    arm = details(ours).calibrations[1]
    stored = [read_npz(ours.cell("b", seed).run.predictions) for seed in (0, 1)]
    assert arm.temperatures == pytest.approx([fit_temperature(one["val_logits"], one["val_labels"]) for one in stored])
    assert arm.after is not None
    right = np.mean([accuracy(ours.cell("b", seed)) for seed in (0, 1)])
    certain = float(np.exp(1) / (np.exp(1) + 2))  # of every answer: the logits are 1 and two zeros
    assert arm.before.ece == pytest.approx(abs(certain - right), abs=0.02)


def test_audits_and_pages_are_named(tmp_path: Path) -> None:
    ours = finished(tmp_path)
    write_json(ours.cell("b", 0).run.audit, {"verdict": "PASS", "reasons": ["the words do not tell"]})
    write_json(ours.cell("b", 1).run.audit, {"verdict": "WARN", "reasons": ["too few pictures"]})
    (ours.cell("b", 1).folder / "report.html").write_text("a page")
    found = details(ours)
    assert [(audit.name, audit.verdict, audit.reasons) for audit in found.audits] == [("b", "WARN", ("too few pictures",))]
    assert [(page.name, page.link) for page in found.pages] == [
        ("a, seed 0", ""),
        ("b, seed 0", ""),
        ("b, seed 1", "runs/b/seed-1/report.html"),
    ]
    assert found.pages[1].command.endswith(f"runs/b/seed-0 --baseline {tmp_path}/runs/a/seed-0")
    assert "--baseline" not in found.pages[0].command


def test_without_a_finished_run_there_is_nothing(tmp_path: Path) -> None:
    ours = plan(study(tmp_path, arms=ARMS))
    failed = {cell.folder: "it broke" for cell in ours.cells()}
    assert study_details(ours, gather(ours, failed)) == StudyDetails()


def test_teachers_are_means_over_seeds_and_arms_without_one_have_no_row(tmp_path: Path) -> None:
    ours = finished(tmp_path)
    for seed in (0, 1):
        results = ours.cell("b", seed).run.results
        stored = read_json(results)
        stored["models"]["teacher"] = {"test": {"accuracy": 0.5 + 0.2 * seed, "agreement": 0.8 - 0.1 * seed}}
        write_json(results, stored)
    (row,) = details(ours).teachers
    assert (row.arm, row.name) == ("b", "teacher")
    assert (row.accuracy, row.agreement) == (pytest.approx(60), pytest.approx(75))
