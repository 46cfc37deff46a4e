from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from toy_study import NUM_PICTURES, Pretending, plan, study

from picturebook.errors import RunError
from picturebook.report.study_content import ContrastRow
from picturebook.statistics import Interval, holm, p_of_interval
from picturebook.study.analysis import contrast_rows, gather, reading
from picturebook.study.answers import worst_verdict
from picturebook.study.cells import Cell, Plan
from picturebook.study.running import NOT_RUN
from picturebook.writing import npz, write_json

ARMS = {name: {"recipe": "supervised"} for name in ("a", "b", "c")}


def accuracy(cell: Cell) -> float:
    """Arms a, b, c of rising accuracy, seeds that differ, and an arm's own noise."""
    noise = np.random.default_rng((cell.seed, ord(cell.arm))).normal(scale=0.03)
    return float(0.3 + 0.1 * "abc".index(cell.arm) + 0.01 * cell.seed + noise)


def finished(out: Path, *, seeds: int = 9, runner: Pretending | None = None, **changes: Any) -> Plan:
    ours = plan(study(out, arms=ARMS, seeds=list(range(seeds)), **changes))
    for cell in ours.cells():
        (runner or Pretending(accuracy)).finish(cell)
    return ours


def shares(ours: Plan, arm: str) -> np.ndarray:
    """What the arm's runs were made with, in points."""
    made = [accuracy(ours.cell(arm, seed)) for seed in ours.options.seeds]
    return np.array([100 * round(value * NUM_PICTURES) / NUM_PICTURES for value in made])


def test_an_arm_is_its_mean_spread_and_t_interval_over_seeds_in_points(tmp_path: Path) -> None:
    ours = finished(tmp_path)
    row = gather(ours, {})["b"].row
    values = shares(ours, "b")
    assert [value for _, value in row.runs] == pytest.approx(values)
    assert (row.n, row.mean, row.sd) == (9, pytest.approx(values.mean()), pytest.approx(values.std(ddof=1)))
    assert (row.low, row.high) == pytest.approx(stats.t.interval(0.95, 8, values.mean(), stats.sem(values)))
    assert (row.nll, row.ece, row.seconds, row.teacher_seconds) == (1.0, pytest.approx(10.0), 14.0, 2.0)
    assert row.marks == ()


def test_a_contrast_is_scipys_paired_test_with_holm_over_the_contrasts(tmp_path: Path) -> None:
    ours = finished(tmp_path, contrasts=["b - a", "c - b", "c - a"])
    rows = contrast_rows(ours, gather(ours, {}))
    for row in rows:
        first, second = shares(ours, row.a), shares(ours, row.b)
        expected = stats.ttest_rel(first, second)
        assert row.mean == pytest.approx((first - second).mean())
        assert row.p_seeds == pytest.approx(expected.pvalue)
        assert row.p == pytest.approx(
            max(expected.pvalue, p_of_interval(Interval(row.mean or 0.0, *row.pictures_interval or (0, 0))))
        )
        assert row.seeds_interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
        assert row.correlation == pytest.approx(np.corrcoef(first, second)[0, 1])
        larger = [stats.ttest_rel(first - second + sign * 0.3, np.zeros(9), alternative=side).pvalue for sign, side in TWO_SIDES]
        assert row.p_equivalence == pytest.approx(max(larger))
    assert [row.p_holm for row in rows] == pytest.approx(holm([row.p or 0.0 for row in rows]))


TWO_SIDES = ((1, "greater"), (-1, "less"))


def slow_group_bootstrap(difference: np.ndarray, groups: np.ndarray, num: int = 4000) -> tuple[float, float]:
    """The definition: draw groups with replacement, average the mean-over-seeds difference of their pictures."""
    rng = np.random.default_rng(5)
    members = [difference[groups == name] for name in np.unique(groups)]
    draws = [np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))]).mean() for _ in range(num)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.parametrize("with_groups", [True, False])
def test_the_interval_over_pictures_is_a_bootstrap_of_the_mean_over_seeds_by_group(tmp_path: Path, with_groups: bool) -> None:
    runner = Pretending(accuracy)
    runner.groups = with_groups
    ours = finished(tmp_path, seeds=3, runner=runner, contrasts=["b - a"])
    arms = gather(ours, {})
    row = contrast_rows(ours, arms)[0]
    pairs = [(arms["b"].answers[seed], arms["a"].answers[seed]) for seed in range(3)]
    difference = 100.0 * np.mean([first.right.astype(float) - second.right for first, second in pairs], axis=0)
    asked = pairs[0][0].asked
    groups = asked.groups if with_groups else asked.ids
    low, high = slow_group_bootstrap(difference, np.asarray(groups))
    assert difference.mean() == pytest.approx(row.mean)
    assert row.pictures_interval == pytest.approx((low, high), abs=0.12 * (high - low))


def test_the_wider_interval_is_the_interval(tmp_path: Path) -> None:
    ours = finished(tmp_path, seeds=3, contrasts=["b - a", "c - a"])
    for row in contrast_rows(ours, gather(ours, {})):
        assert row.seeds_interval is not None
        assert row.pictures_interval is not None
        widths = {"seeds": np.ptp(row.seeds_interval), "groups": np.ptp(row.pictures_interval)}
        assert row.interval == max(widths, key=lambda name: widths[name])
        assert row.high - row.low == pytest.approx(max(widths.values()))


def test_pictures_are_paired_by_id_so_their_order_does_not_matter(tmp_path: Path) -> None:
    ours = finished(tmp_path, seeds=2)
    first = ours.cell("a", 0).run.predictions
    arrays = dict(np.load(first))
    before = contrast_rows(ours, gather(ours, {}))
    first.write_bytes(npz({name: values[::-1] for name, values in arrays.items()}))
    assert contrast_rows(ours, gather(ours, {})) == before


def test_pictures_without_a_label_count_for_nothing(tmp_path: Path) -> None:
    ours = finished(tmp_path, seeds=1)
    path = ours.cell("a", 0).run.predictions
    arrays = dict(np.load(path))
    right = arrays["test_logits"].argmax(1) == arrays["test_labels"]
    arrays["test_labels"][right] = -1
    path.write_bytes(npz(arrays))
    assert gather(ours, {})["a"].row.mean == 0.0


def test_one_seed_has_an_interval_over_pictures_alone_and_no_p(tmp_path: Path) -> None:
    ours = finished(tmp_path, seeds=1, contrasts=["c - a"])
    arms = gather(ours, {})
    row = contrast_rows(ours, arms)[0]
    assert (row.seeds_interval, row.p, row.p_holm, row.p_equivalence, row.sd) == (None,) * 5
    assert (row.low, row.high) == row.pictures_interval
    assert (row.interval, row.reading) == ("groups", "one seed: no claim, and no interval over seeds")
    assert (arms["a"].row.sd, arms["a"].row.low) == (None, None)


def test_mcnemar_is_told_for_every_seed(tmp_path: Path) -> None:
    ours = finished(tmp_path, seeds=3, contrasts=["c - a"])
    arms = gather(ours, {})
    row = contrast_rows(ours, arms)[0]
    for test, seed in zip(row.mcnemar, range(3), strict=True):
        c, a = arms["c"].answers[seed].right, arms["a"].answers[seed].right
        assert (test.seed, test.only_a, test.only_b) == (seed, int((c & ~a).sum()), int((a & ~c).sum()))
        assert test.p == pytest.approx(stats.binomtest(test.only_a, test.only_a + test.only_b).pvalue)


def test_arms_that_were_asked_other_pictures_have_no_interval_over_pictures_and_say_so(tmp_path: Path) -> None:
    ours = finished(tmp_path, seeds=2, contrasts=["b - a"])
    path = ours.cell("b", 1).run.predictions
    arrays = dict(np.load(path))
    path.write_bytes(npz(arrays | {"test_ids": arrays["test_ids"] + 1}))
    row = contrast_rows(ours, gather(ours, {}))[0]
    assert (row.pictures_interval, row.interval, row.mcnemar) == (None, "seeds", ())
    assert any("tested on different pictures" in mark for mark in row.marks)


def test_an_interval_that_says_less_than_it_seems_to_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(ours: Plan) -> str:
        return " ".join(contrast_rows(ours, gather(ours, {}))[0].marks)

    assert said(finished(tmp_path / "two", seeds=2, contrasts=["b - a"])) == ""
    cut = finished(tmp_path / "cut", seeds=2, seeds_by_arm={"b": [1]}, contrasts=["b - a"])
    assert contrast_rows(cut, gather(cut, {}))[0].reading.startswith("one seed: no claim")
    monkeypatch.setattr("toy_study.NUM_PICTURES", 40)
    ours = finished(tmp_path / "folds", seeds=3, contrasts=["b - a"])
    for cell in ours.cells():  # other pictures in each fold
        arrays = dict(np.load(cell.run.predictions))
        groups = np.char.add(arrays["test_groups"].astype(str), f" of fold {cell.seed}")
        cell.run.predictions.write_bytes(npz(arrays | {"test_groups": groups, "test_ids": arrays["test_ids"] + 1000 * cell.seed}))
    assert said(ours) == "", "30 groups in all"
    assert "10 groups of test pictures" in said(finished(tmp_path / "few", seeds=2, contrasts=["b - a"]))


def test_arms_that_are_one_are_not_called_equal(tmp_path: Path) -> None:
    ours = finished(tmp_path, seeds=8, runner=Pretending(), contrasts=["b - a"])
    row = contrast_rows(ours, gather(ours, {}))[0]
    assert (row.mean, row.low, row.high, row.reading) == (0.0, 0.0, 0.0, "undecided")
    assert "right on the same pictures" in " ".join(row.marks)


def test_failed_runs_are_left_out_of_both_arms_and_counted(tmp_path: Path) -> None:
    ours = plan(study(tmp_path, arms=ARMS, seeds=[0, 1, 2], contrasts=["b - a", "c - a"]))
    lost = {ours.cell("a", 1).folder: "no memory", **{ours.cell("c", seed).folder: "the loss is nan" for seed in range(3)}}
    for cell in ours.cells():
        if cell.folder not in lost:
            Pretending(accuracy).finish(cell)
    arms = gather(ours, lost)
    b, c = contrast_rows(ours, arms)
    assert [seed for seed, _ in b.runs] == [0, 2]
    assert (arms["a"].row.n, arms["a"].row.marks) == (2, ("1 of 3 runs failed",))
    assert (arms["c"].row.n, arms["c"].row.mean, c.mean, c.reading) == (0, None, None, "not measured")


def test_an_arm_of_fewer_seeds_is_compared_on_those_and_lacks_none(tmp_path: Path) -> None:
    ours = finished(tmp_path, seeds=4, seeds_by_arm={"b": [1, 3]}, contrasts=["b - a", "c - a"])
    arms = gather(ours, {})
    b, c = contrast_rows(ours, arms)
    assert ([seed for seed, _ in b.runs], [seed for seed, _ in c.runs]) == ([1, 3], [0, 1, 2, 3])
    assert (arms["b"].row.n, arms["b"].row.failed, arms["b"].row.marks) == (2, (), ())


def test_contrasts_that_nobody_may_claim_cost_the_others_no_power(tmp_path: Path) -> None:
    ours = finished(tmp_path, seeds=8, seeds_by_arm={"c": [0, 1, 2]}, contrasts=["b - a", "c - a", "c - b"])
    b, *rest = contrast_rows(ours, gather(ours, {}))
    assert b.p_holm == b.p
    assert [(row.p_holm, row.reading) for row in rest] == [(None, "no claim under 8 seeds")] * 2
    begun = plan(study(tmp_path / "begun", arms=ARMS, seeds=list(range(8)), contrasts=["b - a", "c - a"]))
    for cell in begun.cells():
        if cell.arm != "c":
            Pretending(accuracy).finish(cell)
    missing = {cell.folder: NOT_RUN for cell in begun.cells() if cell.arm == "c"}
    first, second = contrast_rows(begun, gather(begun, missing))
    assert first.p is not None
    assert first.p_holm == pytest.approx(min(1.0, 2 * first.p)), "what is still to be measured counts"
    assert (second.p_holm, second.reading) == (None, "not measured")
    few = finished(tmp_path / "few", seeds=3, contrasts=["b - a", "c - a"])
    rows = contrast_rows(few, gather(few, {}))
    p_values = [row.p for row in rows if row.p is not None]
    assert [row.p_holm for row in rows] == pytest.approx(holm(p_values))


def test_an_arm_that_inherits_its_settings_is_marked(tmp_path: Path) -> None:
    tune = {"arms": ["a"], "space": {"train.learning_rate": [0.1, 0.2]}, "inherit": {"b": "a"}}
    ours = finished(tmp_path, seeds=2, tune=tune, contrasts=["b - a"])
    arms = gather(ours, {})
    assert (arms["a"].row.marks, arms["b"].row.marks) == ((), ("settings were tuned for a",))
    assert contrast_rows(ours, arms)[0].marks == ("b: settings were tuned for a",)


@pytest.mark.parametrize(
    ("verdicts", "mark"),
    [
        (["PASS", "PASS"], None),
        (["PASS", "WARN"], "teacher's audit says WARN"),
        (["FAIL", "WARN"], "label-privileged: teacher's audit says FAIL"),
        (["NO VERDICT", "PASS"], "teacher's audit says NO VERDICT"),
    ],
)
def test_an_arm_is_marked_by_its_worst_audit(tmp_path: Path, verdicts: list[str], mark: str | None) -> None:
    ours = finished(tmp_path, seeds=2, contrasts=["b - a"])
    for seed, verdict in enumerate(verdicts):
        write_json(ours.cell("b", seed).run.audit, {"verdict": verdict})
    arms = gather(ours, {})
    row = contrast_rows(ours, arms)[0]
    assert arms["b"].row.marks == (() if mark is None else (mark,))
    assert (arms["a"].row.audit, row.audit) == (None, worst_verdict(verdicts))
    assert any("audit" in each for each in row.marks) == (mark is not None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "a is better"),
        ({"low": -3.0, "high": -1.0}, "b is better"),
        ({"p_holm": 0.06}, "undecided"),
        ({"low": -0.1}, "undecided"),
        ({"low": -0.1, "high": 0.2, "p_holm": 0.4, "p_equivalence": 0.001}, "equal within 0.3 points"),
        ({"low": -0.1, "high": 0.4, "p_holm": 0.4, "p_equivalence": 0.001}, "undecided"),
        ({"runs": ((0, 2.0),) * 7}, "no claim under 8 seeds"),
        ({"runs": ()}, "not measured"),
    ],
)
def test_a_contrast_is_read_by_its_interval_and_its_tests(changes: dict[str, Any], said: str) -> None:
    clear = {"runs": ((0, 2.0),) * 8, "mean": 2.0, "low": 1.0, "high": 3.0, "p_holm": 0.01, "p_equivalence": 1.0}
    assert reading(ContrastRow("a", "b", **{**clear, **changes}), 0.3) == said


def remove_predictions(cell: Cell) -> None:
    cell.run.predictions.unlink()


def break_predictions(cell: Cell) -> None:
    cell.run.predictions.write_bytes(b"PK broken")


def remove_test(cell: Cell) -> None:
    cell.run.predictions.write_bytes(npz({"val_ids": np.arange(3)}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (remove_predictions, "predictions.npz is missing, so pictures cannot be paired: remove "),
        (break_predictions, "predictions.npz is not whole"),
        (remove_test, "has no labelled test pictures, and arms are compared on these: raise data.split.test"),
    ],
)
def test_a_run_that_cannot_be_compared_is_named(tmp_path: Path, harm: Callable[[Cell], None], message: str) -> None:
    ours = finished(tmp_path, seeds=2)
    harm(ours.cell("b", 1))
    with pytest.raises(RunError, match=message):
        gather(ours, {})
