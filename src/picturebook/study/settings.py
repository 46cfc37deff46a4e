"""STUDY.toml: which arms, which seeds, what is compared, what is tuned; checked before anything runs."""

import copy
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from picturebook.errors import OptionError, unknown_name
from picturebook.options import Options, apply_override, read_toml, validate

_WHOLE = ("model_args",)
"""Tables that are one value: an arm with another model does not want the arguments of the shared one."""


class TuneOptions(Options):
    """Settings that are chosen on validation pictures before the study runs; test numbers are not looked at."""

    arms: list[str] = Field(default_factory=list)
    """Arms that get trials of their own; none by default."""
    trials: int = Field(8, ge=1)
    """Trials an arm: so many points drawn from the space without repetition, the same for every arm; all, where it has fewer."""
    seed: int | None = Field(None, ge=0)
    """Seed of the trials' runs and of the draw; by default the study's first."""
    space: dict[str, list[Any]] = Field(default_factory=dict)
    """Setting's path → values to try, as "train.learning_rate" = [1e-3, 3e-3]."""
    inherit: dict[str, str] = Field(default_factory=dict)
    """Arm → the tuned arm whose winning values it takes. A list of arms will do where one arm is tuned."""


class LabelOptions(Options):
    """What the study is called in results.json."""

    study: str | None = None
    """By default the file's name without its ending."""
    data: str | None = None
    """By default the last part of run.data.root."""
    family: str | None = None
    """Family of the student's architecture; by default the letters that the model's name begins with, such as resnet or vit."""
    setting: str | None = None
    """Where the teacher's image encoder comes from, such as paper or pretrained."""


class StudyOptions(Options):
    """Arms × seeds of runs. A seed fixes initialisation, order, views and fold in every arm, so arms are paired by it."""

    out: str
    """Folder of the runs, the table and the report."""
    keep: str | None = None
    """Folder of the finished cells' records, small enough to be committed: with them the study goes on where the run folders are
    gone. By default OUT/kept."""
    seeds: list[int] = Field(min_length=1)
    """One run an arm each. At least 5 for an estimate, 8 for a claim; no default, since each costs a run of every arm."""
    seeds_by_arm: dict[str, list[int]] = Field(default_factory=dict)
    """Arm → those of the study's seeds that it runs for, where these are not all: an arm of no claim costs less."""
    baseline: str | None = None
    """Arm that the others are compared with; by default the first."""
    contrasts: list[str] = Field(default_factory=list)
    """Pairs "a - b", or tables with a and b; by default every arm against the baseline."""
    run: dict[str, Any] = Field(default_factory=dict)
    """Settings that all arms share: a RUN.toml without out and seed."""
    arms: dict[str, dict[str, Any]] = Field(min_length=1)
    """Name → recipe and other settings, laid over the shared ones table by table (model_args as a whole); like = "NAME" lays them
    over that arm's first."""
    tune: TuneOptions = TuneOptions()
    """What is chosen on validation pictures first."""
    equivalence_margin: float = Field(0.3, gt=0.0)
    """Points of accuracy within which two arms count as equal."""
    processes: int = Field(1, ge=1)
    """Runs at a time, each a process of its own."""
    threads: int = Field(0, ge=0)
    """Threads a process; 0 shares the machine's cores out."""
    labels: LabelOptions = LabelOptions()
    """What the study is called in results.json."""

    @field_validator("seeds")
    @classmethod
    def _seeds_are_different(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError("need different seeds from 0")
        return seeds

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The contrasts as (a, b): a's accuracy minus b's."""
        return [(first, second) for first, _, second in (contrast.partition(" - ") for contrast in self.contrasts)]

    def seeds_of(self, arm: str) -> list[int]:
        """Seeds that an arm runs for, in the study's order."""
        own = self.seeds_by_arm.get(arm, self.seeds)
        return [seed for seed in self.seeds if seed in own]

    def num_shared(self, a: str, b: str) -> int:
        """Seeds that two arms have in common."""
        return len(set(self.seeds_of(a)) & set(self.seeds_of(b)))

    def next_seed(self, seed: int, folds: int = 1) -> int:
        """The seed after this one, the first after the last: a run of it teaches without sharing weights or order.

        With folds, the next of those with the same fold: another's run has been taught this one's test pictures.
        """
        alike = [other for other in self.seeds if other % folds == seed % folds]
        if seed in alike and len(alike) > 1:
            return alike[(alike.index(seed) + 1) % len(alike)]
        return seed + folds


def load_study(path: Path, overrides: Sequence[str] = ()) -> StudyOptions:
    """Read a study's settings, and lay "seeds=[0, 1]" and the like over them.

    Raises:
        OptionError: the file cannot be read, or a setting or an arm's name is unknown, misspelt or impossible.
    """
    try:
        settings = read_toml(path)
    except FileNotFoundError:
        raise OptionError(f"There is no file {path}: docs/compare.md shows how to write one.") from None
    except OSError as error:
        raise OptionError(f"{path} is no TOML that can be read: {error}.") from None
    for override in overrides:
        apply_override(settings, override)
    return parse_study(settings, source=str(path))


def parse_study(settings: dict[str, Any], *, source: str) -> StudyOptions:
    """Check a study's settings, as they come from TOML, and write out what was left to defaults.

    Raises:
        OptionError: a setting or an arm's name is unknown, misspelt or impossible.
    """
    options = validate(StudyOptions, _normal(settings, source), source=source)
    for name in options.arms:
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name, flags=re.ASCII):
            raise OptionError(f"{source}: an arm's name is a folder's too: need letters, digits and _ . + -, got {name!r}.")
    _check_own_settings(options, source)
    _check_seeds(options, source)
    baseline = options.baseline or next(iter(options.arms))
    known_arm(baseline, options.arms, f"{source}: baseline")
    contrasts = options.contrasts or [f"{name} - {baseline}" for name in options.arms if name != baseline]
    options = options.model_copy(update={"baseline": baseline, "contrasts": contrasts})
    _check_contrasts(options, source)
    _check_tuning(options, source)
    return options


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, table by table; model_args is one value."""
    result = copy.deepcopy(base)
    for name, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(name), dict) and name not in _WHOLE
        result[name] = merged(result[name], value) if nested else copy.deepcopy(value)
    return result


def nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Keys with dots as the tables that they stand for: {"a.b": 1} is {"a": {"b": 1}}."""
    result: dict[str, Any] = {}
    for path, value in settings.items():
        table = value
        for part in reversed(path.split(".")):
            table = {part: table}
        result = merged(result, table)
    return result


def known_arm(name: str, arms: Iterable[str], source: str) -> None:
    """Raise an OptionError with the nearest name where there is no such arm."""
    if name not in arms:
        raise OptionError(f"{source}: {unknown_name('arm', name, arms)}")


def _normal(settings: dict[str, Any], source: str) -> dict[str, Any]:
    """One way to write what may be written in two."""
    settings = copy.deepcopy(settings)
    if isinstance(settings.get("run"), dict):
        settings["run"] = nested(settings["run"])
    if isinstance(arms := settings.get("arms"), dict):
        arms = {name: nested(arm) if isinstance(arm, dict) else arm for name, arm in arms.items()}
        settings["arms"] = {name: _unlike(name, arms, source, ()) for name in arms}
    if isinstance(contrasts := settings.get("contrasts"), list):
        settings["contrasts"] = [_contrast(each, source) for each in contrasts]
    if isinstance(tune := settings.get("tune"), dict):
        if isinstance(tune.get("space"), dict):
            tune["space"] = _flat(tune["space"])
        if isinstance(heirs := tune.get("inherit"), list):
            if len(tuned := tune.get("arms", [])) != 1:
                raise OptionError(
                    f"{source}: tune.inherit: with {len(tuned)} tuned arms say from which: inherit = {{ arm = 'tuned' }}."
                )
            tune["inherit"] = dict.fromkeys(heirs, tuned[0])
    return settings


def _unlike(name: str, arms: dict[str, Any], source: str, path: tuple[str, ...]) -> Any:
    """An arm's settings written out, where it is said to be like another but for what it says."""
    arm = arms[name]
    if not isinstance(arm, dict) or "like" not in arm:
        return arm
    other = str(arm["like"])
    known_arm(other, arms, f"{source}: arms.{name}.like")
    if other in (*path, name):
        raise OptionError(f"{source}: arms.{name}.like: {' → '.join((*path, name, other))} is a circle.")
    base = _unlike(other, arms, source, (*path, name))
    return merged(base if isinstance(base, dict) else {}, {key: value for key, value in arm.items() if key != "like"})


def _contrast(value: Any, source: str) -> str:
    if isinstance(value, dict) and value.keys() == {"a", "b"}:
        value = f"{value['a']} - {value['b']}"
    if not isinstance(value, str) or not all(value.partition(" - ")):
        raise OptionError(f"{source}: contrasts: need 'a - b', or a table with a and b, got {value!r}.")
    return value


def _flat(space: dict[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in space.items():
        flat |= _flat(value, f"{path}{name}.") if isinstance(value, dict) else {f"{path}{name}": value}
    return flat


def _check_own_settings(options: StudyOptions, source: str) -> None:
    """A study gives each cell its folder and its seed."""
    for place, settings in [("run", options.run), *((f"arms.{name}", arm) for name, arm in options.arms.items())]:
        for name, ours in (("out", "out"), ("seed", "seeds")):
            if name in settings:
                raise OptionError(f"{source}: {place}.{name}: each cell's comes from the study's {ours}; remove it here.")


def _check_seeds(options: StudyOptions, source: str) -> None:
    for name, seeds in options.seeds_by_arm.items():
        known_arm(name, options.arms, f"{source}: seeds_by_arm")
        if not seeds:
            raise OptionError(f"{source}: seeds_by_arm.{name}: there is none; give it some of {options.seeds}.")


def _check_contrasts(options: StudyOptions, source: str) -> None:
    for first, second in options.pairs:
        for name in (first, second):
            known_arm(name, options.arms, f"{source}: contrasts")
        if first == second:
            raise OptionError(f"{source}: contrasts: need two arms, got {first!r} twice.")
    if len(set(options.contrasts)) < len(options.contrasts):
        raise OptionError(f"{source}: contrasts: one stands there twice, which would cost the others power.")


def _check_tuning(options: StudyOptions, source: str) -> None:
    tune = options.tune
    for name in (*tune.arms, *tune.inherit, *tune.inherit.values()):
        known_arm(name, options.arms, f"{source}: tune")
    for heir, source_arm in tune.inherit.items():
        if source_arm not in tune.arms or heir in tune.arms:
            raise OptionError(
                f"{source}: tune.inherit: {heir} = {source_arm!r}: need an arm without trials, from one in tune.arms."
            )
    if tune.arms and not (tune.space and all(tune.space.values())):
        raise OptionError(
            f"{source}: tune.space: need at least one setting with values to try, as 'train.learning_rate' = [1e-3, 3e-3]."
        )
    if not tune.arms and (tune.space or tune.inherit):
        raise OptionError(f"{source}: tune.arms: name the arms that get trials, or remove [tune].")
