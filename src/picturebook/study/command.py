"""`picturebook compare STUDY.toml`: run what is not there yet, then the table, results.json and the report.

OUT/
    study.toml              the settings, defaults written out
    runs/ARM/seed-N/        a run folder a cell; its settings and its process's words beside it (seed-N.toml, seed-N.log)
    tune/ARM/trial-N/       the same of each trial
    ledger.jsonl            one line a try: cell, commit, seconds, error
    kept/                   a small record of each finished cell: with these the study goes on where run folders are gone
    results.json            contrasts, arms, trials: every number, every run
    report.html
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from rich.console import RenderableType

from picturebook.errors import OptionError, RunError
from picturebook.interruption import sigterm_raises
from picturebook.locking import LOCK, folder_held
from picturebook.report import render_study
from picturebook.report.study_content import ContrastRow
from picturebook.study.analysis import Arm, contrast_rows, gather
from picturebook.study.cells import Cell, Plan, check_arms
from picturebook.study.chosen import Chosen, SomeArms
from picturebook.study.details import study_details
from picturebook.study.inputs import check_inputs
from picturebook.study.ledger import Ledger
from picturebook.study.page import study_report
from picturebook.study.records import refuse_other_settings
from picturebook.study.results import results
from picturebook.study.running import NOT_RUN, Cells, Runner, RunsCells, TrainProcesses, WhatIsThere
from picturebook.study.settings import known_arm, load_study
from picturebook.study.table import plan_table, planned, study_tables, study_warnings
from picturebook.study.tuning import Trial, plan_trials, tune
from picturebook.types import Reporter
from picturebook.writing import disk_errors_told, holds_something, remove_leftovers, write_atomically, write_json


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a study has to show, and what failed in it."""

    shown: RenderableType
    record: dict[str, Any]
    """The same for machines: what results.json has, or the runs of a dry run."""
    failure: str | None = None
    """A sentence where cells failed: to be told after the tables, with exit code 2."""


def compare(
    path: Path,
    *,
    overrides: Sequence[str] = (),
    reporter: Reporter,
    dry_run: bool = False,
    so_far: bool = False,
    arms: Sequence[str] = (),
    runner: Runner | None = None,
) -> Outcome:
    """Run a study and tell what came out; what an earlier call finished is not run again.

    Args:
        path: STUDY.toml.
        overrides: settings of it, "seeds=[0, 1]" and the like.
        reporter: told of every cell.
        dry_run: only list the cells, in their order.
        so_far: run nothing: tell what came out of the cells that are finished.
        arms: run these alone, with their trials and what they learn from; all, where none is named. The tables have every arm.
        runner: trains a cell; by default `picturebook train` in a process of its own.

    Raises:
        OptionError: a setting of the study or of any of its cells is impossible; nothing was run.
        DataError, TextError: pictures or words of a cell that is to run cannot be read; nothing was run.
        RunError: the folder holds other things, another process works in it, or a cell was run with other settings.
        InterruptionError: SIGTERM came; the same command goes on.
    """
    options = load_study(path, overrides)
    plan = Plan(options, str(path), overrides=tuple(overrides))
    if arms and so_far:
        raise OptionError("--arm says what is to run, and --so-far runs nothing: leave one of them out.")
    for arm in arms:
        known_arm(arm, options.arms, "--arm")
    cells, trials = plan.cells(), plan_trials(plan)  # every cell's settings are read here, before anything is run
    check_arms(cells, str(path))
    chosen = Chosen.of(arms or options.arms, cells, options.tune.inherit)
    if dry_run:
        settled = _settled(plan, trials)
        tried = [trial for of_arm in trials.values() for trial in of_arm]
        return _list(plan, chosen(settled.ordered([*tried, *settled.cells()])))
    out = Path(options.out)
    _refuse_others(out)
    with sigterm_raises(), folder_held(out), disk_errors_told(out):
        remove_leftovers(out)
        write_atomically(out / "study.toml", tomlkit.dumps(options.model_dump(mode="json", exclude_none=True)).encode())
        if so_far:
            return _look(plan, trials)
        if runner is None:  # a caller's own knows what it reads
            with reporter.stage("reading tables"):
                check_inputs(chosen(_settled(plan, trials).cells()), str(path))
        threads = options.threads or max(1, (os.cpu_count() or 1) // options.processes)
        machine = Cells(runner or TrainProcesses(threads=threads), options.processes, reporter, Ledger(out))
        return _compare(plan, cells, trials, SomeArms(machine, chosen))


def _list(plan: Plan, cells: Sequence[Cell]) -> Outcome:
    out = plan.options.out
    return Outcome(plan_table(cells, out, _without_seeds(plan)), {"out": out, "runs": [planned(cell) for cell in cells]})


def _settled(plan: Plan, trials: Mapping[str, list[Cell]]) -> Plan:
    """The plan with the values of the trials that are there."""
    return tune(plan, WhatIsThere())[0] if trials else plan


def _look(plan: Plan, trials: Mapping[str, list[Cell]]) -> Outcome:
    nothing_runs = WhatIsThere()
    plan, tried, _ = tune(plan, nothing_runs) if trials else (plan, [], {})
    return _tell(plan, plan.cells(), nothing_runs.run(plan.cells()), tried)


def _compare(plan: Plan, cells: list[Cell], trials: Mapping[str, list[Cell]], machine: RunsCells) -> Outcome:
    for cell in cells:
        if cell.arm not in (*plan.options.tune.arms, *plan.options.tune.inherit):  # theirs are not known yet
            refuse_other_settings(cell)
    plan, tried, lost = tune(plan, machine) if trials else (plan, [], {})
    cells = plan.cells()
    failed = machine.run(cells, given_up={cell.folder: lost[cell.arm] for cell in cells if cell.arm in lost})
    return _tell(plan, cells, failed, tried)


def _refuse_others(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file: `out` must name a folder.")
    if out.is_dir() and not (out / "study.toml").is_file() and holds_something(out, but=LOCK):
        raise RunError(f"{out} holds files but no study.toml: it is no study's folder; take another `out`.")


def _tell(plan: Plan, cells: Sequence[Cell], failed: Mapping[Path, str], tried: Sequence[Trial]) -> Outcome:
    arms = gather(plan, failed)
    contrasts = contrast_rows(plan, arms)
    rows = [arm.row for arm in arms.values()]
    missing = [cell for cell in cells if failed.get(cell.folder) == NOT_RUN]
    warnings = study_warnings(rows, contrasts, len(missing)) + _without_seeds(plan)
    record = _write(plan, arms, contrasts, tried, warnings)
    shown = study_tables(rows, contrasts, warnings, margin=plan.options.equivalence_margin)
    return Outcome(shown, record, _failure(cells, failed))


def _without_seeds(plan: Plan) -> list[str]:
    idle = [arm for arm in plan.options.arms if not plan.options.seeds_of(arm)]
    return [f"{arm}: seeds_by_arm has none of the study's seeds, so it has no runs." for arm in idle]


def _write(
    plan: Plan,
    arms: Mapping[str, Arm],
    contrasts: Sequence[ContrastRow],
    tried: Sequence[Trial],
    warnings: Sequence[str],
) -> dict[str, Any]:
    """Write results.json and the page, and give what results.json has."""
    out = Path(plan.options.out)
    record = results(plan, arms, contrasts, tried)
    write_json(out / "results.json", record)
    rows = [arm.row for arm in arms.values()]
    report = study_report(plan, rows, contrasts, tried, warnings, study_details(plan, arms))
    write_atomically(out / "report.html", render_study(report).encode())
    return record


def _failure(cells: Sequence[Cell], failed: Mapping[Path, str]) -> str | None:
    lost = [cell for cell in cells if failed.get(cell.folder, NOT_RUN) != NOT_RUN]
    if not lost:
        return None
    listed = "".join(f"\n  {cell.name}: {failed[cell.folder]}" for cell in lost)
    return f"{len(lost)} of {len(cells)} runs failed; the same command tries these again.{listed}"
