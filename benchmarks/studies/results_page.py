"""docs/results.md as text, from the rows that collect.py found."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from picturebook.report.study_content import CLAIM
from picturebook.study.table import WARNING, points, probability, span

Row = dict[str, Any]
INTRODUCTION = f"""# Results

Made by `python benchmarks/studies/collect.py` from the runs' stored results. Accuracies are in points, of the last epoch, on
test pictures. Under {CLAIM} seeds nothing is claimed."""
NOTES = f"""## How to read it

- *Interval*: the widest of Student's t over seeds, the same over the means of folds where seeds share these (they share training
  and test pictures then), and a paired bootstrap over test pictures by group; the ground study, whose runs kept no predictions,
  has the first alone. How often such intervals hold the truth: [reliability.md](reliability.md#intervals).
- *p*: the largest of the paired t tests' over seeds and over folds and that bootstrap's (in the ground study the first alone);
  *Holm*: the same, adjusted for the number of the study's contrasts (not in the ground study).
- *Tuned* are two numbers of the loss, on the validation pictures of one seed: the luck of that choice is in no interval. Some of
  these pictures are test pictures in other folds, and so are some of those on which the form of learning was searched (search
  studies, `teachers.py`, and a first look at class texts, which asked training pictures of one fold too). Arms that were not
  tuned have the settings of one that was, and are marked.
- The classes' descriptions were written before any study that reads them had run, but an hour after the ground study's first
  test results, which are of heads that read names and captions.
- The arm `captions` of labels_25 got its last five seeds after three had been read, since random words were a weak rival.
- The teacher of noise_40's `image_text` was made shorter (on validation pictures) after four seeds of a longer one had been read,
  whose students were .8 below the image-only arm's.
- *Reading*: what may be said of a contrast. Two arms are equal within a margin where both one-sided tests reject and the interval
  lies inside it.
- *Audit*: the worse verdict of the two arms' teachers ([audit.md](audit.md)). PASS where neither arm reads words: there is
  nothing to leak. WARN at least where an arm reads words that no audit looked at: pairs of picture and text, words beside the
  student, the teachers of the ground study.
- *NLL*: the mean negative log likelihood of the true class, in nats; *ECE*: the expected calibration error over 15 bins of equal
  width, in points. Both are means over seeds of the student as it is, without a fitted temperature.
- *Seconds*: of a run, its own teacher included; what a cache held already took none. *Teacher's*: of all that taught the student,
  the other runs that it learnt from included, and image tokens that a cache held with the seconds that they once took.
- *Setting*: where the teacher's image encoder comes from. *paper*: the student's architecture, trained on the same rows;
  *pretrained*: ImageNet weights; *none*: no teacher, or an earlier training of the student.
- {WARNING}: what must be known before comparing; an arm's budget is compared with that of the study's baseline."""


@dataclass(slots=True)
class Collected:
    """Rows of every study, each with at least study, data and family."""

    arms: list[Row] = field(default_factory=list)
    contrasts: list[Row] = field(default_factory=list)
    levels: list[Row] = field(default_factory=list)
    """Sanity levels of the field studies."""
    beside: list[Row] = field(default_factory=list)
    """Accuracies of exits, ensembles, probes and teachers of the field studies."""


def page(found: Collected, plot: Callable[[str, str], str]) -> str:
    """docs/results.md.

    Args:
        found: the rows.
        plot: (study, family) → the plot of its contrasts, as a path from docs/.
    """
    lines = [INTRODUCTION, *_claims(found.contrasts), "", NOTES]
    for study, family in dict.fromkeys((one["study"], one["family"]) for one in found.arms):
        arms, contrasts, levels, beside = (
            _of(rows, study, family) for rows in (found.arms, found.contrasts, found.levels, found.beside)
        )
        title = f"{study}, {family}"
        heads = ("setting", "arm", "n:", "accuracy (sd):", "NLL:", "ECE:", "seconds:", "teacher's:", "marks", "commit")
        lines += ["", f"## {title}", "", *_budget(arms), *table(heads, map(_arm, arms))]
        if contrasts:
            heads = ("setting", "contrast", "n:", "difference:", "95 % interval:", "p:", "Holm:", "audit", "reading")
            lines += ["", *table(heads, map(_contrast, contrasts)), "", f"Command: `{contrasts[0]['command']}`."]
            lines += ["", f"![{title}: differences with intervals]({plot(study, family)})"]
        if levels:
            lines += ["", "Levels that were fixed before anything ran, a check that each system works at all:"]
            lines += ["", *table(("level", "found", "n:", "met"), map(_level, levels))]
        if beside:
            lines += ["", "What was measured beside the students:"]
            lines += ["", *table(("arm", "model", "n:", "accuracy (sd):"), map(_beside, beside))]
    return "\n".join(lines) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; a head that ends in a colon is that of numbers."""
    ruler = ["--:" if head.endswith(":") else "---" for head in heads]
    return [f"| {' | '.join(cells)} |" for cells in ([head.removesuffix(":") for head in heads], ruler, *rows)]


def _claims(contrasts: list[Row]) -> list[str]:
    """What the studies say, before the studies: the contrasts of which something may be claimed."""
    claims = [one for one in contrasts if one["n"] >= CLAIM]
    if not claims:
        return []
    heads = ("study", "setting", "contrast", "n:", "difference:", "95 % interval:", "p:", "Holm:", "audit", "reading")
    rows = ((f"{one['study']}, {one['family']}", *_contrast(one)) for one in claims)
    return ["", "## All that may be claimed", "", *table(heads, rows)]


def _of(rows: list[Row], study: str, family: str) -> list[Row]:
    return [row for row in rows if (row["study"], row["family"]) == (study, family)]


def _arm(one: Row) -> tuple[str, ...]:
    numbers = (points(one["nll"], 2), points(one["ece"]), points(one["seconds"], 0), points(one["teacher_seconds"], 0))
    return one["setting"], one["arm"], str(one["n"]), _accuracy(one), *numbers, _marks(one["marks"]), one["commit"]


def _contrast(one: Row) -> tuple[str, ...]:
    interval = span((one["low"], one["high"]), sign=True)
    numbers = (str(one["n"]), points(one["mean"], 2, sign=True), interval, probability(one["p"]), probability(one["p_holm"]))
    said = "; ".join(filter(None, (one["reading"], _marks(one["marks"]))))
    return one["setting"], one["contrast"], *numbers, one["audit"], said


def _budget(arms: list[Row]) -> list[str]:
    """What arms without a mark of their own were given: the first arm's whose budget differs from nothing."""
    given = next((one["budget"] for one in arms if one["budget"] and not one["budget_differences"]), None)
    if given is None:
        return []
    said = (
        f"{given['steps']:,} steps of {given['batch_size']} pictures in {given['epochs']} epochs, {given['views']} views of a "
        f"picture, {given['image_size']} px, {given['parameters']:,} parameters, {given['optimizer']}"
    )
    return [f"The budget of a student, where no mark says another: {said}.", ""]


def _level(one: Row) -> tuple[str, ...]:
    return one["level"], one["found"], str(one["n"]), "met" if one["met"] else "**not met**" if one["n"] else "–"


def _beside(one: Row) -> tuple[str, ...]:
    return one["arm"], one["model"], str(one["n"]), _accuracy(one)


def _accuracy(one: Row) -> str:
    return points(one["mean"]) + ("" if one["sd"] is None else f" ({points(one['sd'])})")


def _marks(marks: Iterable[str]) -> str:
    return "; ".join(f"{WARNING} {mark}" for mark in marks)
