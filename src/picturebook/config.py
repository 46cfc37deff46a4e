"""Settings: a TOML file and --set overrides, checked as a whole, and written back as they were resolved.

A new recipe is one file in `recipes/` and one line in RECIPES.
"""

import tomllib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import tomlkit

from picturebook.audit import Audit, read_audit
from picturebook.caching import cache_folder
from picturebook.data.texts import TextOptions
from picturebook.engine import build_accelerator, check_trackers, finish_tracking, on_first_process
from picturebook.errors import InterruptionError, OptionError, PicturebookError, RunError, unknown_name
from picturebook.interruption import sigterm_raises
from picturebook.locking import folder_held
from picturebook.models.heads import HeadOptions
from picturebook.options import apply_override, read_toml, validate
from picturebook.recipes import (
    align,
    be_your_own_teacher,
    born_again,
    clip,
    coca,
    dino,
    distil,
    image_text,
    noisy_student,
    own,
    siglip,
    supervised,
)
from picturebook.recipes.audit_run import audit_finished, control_interval
from picturebook.recipes.options import RecipeOptions
from picturebook.recipes.stages import Stages
from picturebook.recipes.words import Words
from picturebook.runs import RunFolder
from picturebook.types import Reporter, Silence
from picturebook.writing import disk_errors_told


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe's settings and its function."""

    options: type[RecipeOptions]
    run: Callable[[Stages, Any], None]
    check: Callable[[Any], str | None] = lambda options: None
    """Refuses settings that cannot go together before anything is done, and names the table's column of words that is read."""


RECIPES = {
    "align": Recipe(align.AlignRecipe, align.run, align.check),
    "be_your_own_teacher": Recipe(be_your_own_teacher.OwnTeacherRecipe, be_your_own_teacher.run),
    "born_again": Recipe(born_again.BornAgainRecipe, born_again.run, born_again.check),
    "clip": Recipe(clip.ClipRecipe, clip.run, clip.check),
    "coca": Recipe(coca.CocaRecipe, coca.run, coca.check),
    "dino": Recipe(dino.DinoRecipe, dino.run),
    "distil": Recipe(distil.DistilRecipe, distil.run, distil.check),
    "image_text": Recipe(image_text.ImageTextRecipe, image_text.run, image_text.check),
    "noisy_student": Recipe(noisy_student.NoisyStudentRecipe, noisy_student.run, noisy_student.check),
    "siglip": Recipe(siglip.SiglipRecipe, siglip.run, siglip.check),
    "supervised": Recipe(supervised.SupervisedRecipe, supervised.run, supervised.check),
}


def load_options(path: Path, overrides: Sequence[str] = ()) -> RecipeOptions:
    """Read a run's settings.

    Args:
        path: the TOML file.
        overrides: "a.b=value" each, the value as in TOML; a bare word is taken as text.

    Raises:
        OptionError: the file cannot be read, or a setting is unknown, misspelt or impossible.
    """
    try:
        settings = read_toml(path)
    except FileNotFoundError:
        raise OptionError(f"There is no file {path}: write one with `picturebook init DATA`.") from None
    except IsADirectoryError:
        raise OptionError(f"{path} is a folder: `picturebook init {path}` writes the file to train with.") from None
    for override in overrides:
        apply_override(settings, override)
    return parse_options(settings, source=f"{path} with --set" if overrides else str(path))


def parse_options(settings: dict[str, Any], *, source: str) -> RecipeOptions:
    """Check a run's settings, as they come from TOML.

    Raises:
        OptionError: a setting is unknown, misspelt or impossible; the message gives the path, `source` and the nearest name.
    """
    name = settings.get("recipe")
    if not isinstance(name, str):
        raise OptionError(f"{source}: need recipe = one of {', '.join(sorted(RECIPES))}, got {name!r}.")
    if name == own.NAME:
        raise OptionError(f"{source}: the objective of this run was written in Python: train with picturebook.train(…) again.")
    if name not in RECIPES:
        raise OptionError(f"{source}: {unknown_name('recipe', name, RECIPES)}")
    return validate(RECIPES[name].options, settings, source=source)


def dump_options(options: RecipeOptions) -> str:
    """The resolved settings as TOML; settings that are None are left out, since TOML has no word for nothing."""
    return tomlkit.dumps(_without_none(options.model_dump(mode="json")))


def completed(options: RecipeOptions) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Gives settings that a run of the same kind wrote the defaults of those that came later; others stay as they are."""

    def complete(settings: dict[str, Any]) -> dict[str, Any]:
        try:
            return tomllib.loads(dump_options(validate(type(options), settings, source="run.toml")))
        except OptionError:
            return settings

    return complete


def run_recipe(
    options: RecipeOptions, *, resume: bool = False, reporter: Reporter | None = None, recipe: Recipe | None = None
) -> RunFolder:
    """Run a recipe into its folder; a finished run that is resumed is left as it is.

    `recipe` is one that no settings name, for an objective of the caller's own; by default it is the settings'.

    Raises:
        InterruptionError: SIGTERM came; the run can be resumed.
        PicturebookError: settings, data or models do not allow it.
    """
    recipe = recipe or RECIPES[options.recipe]
    column = recipe.check(options)
    check_trackers(options.track)
    folder = RunFolder(Path(options.out))
    accelerator = build_accelerator(
        device=options.device, precision=options.precision, trackers=options.track, tracking=folder.tracking
    )
    if reporter is None or not accelerator.is_main_process:
        reporter = Silence()
    if resume and not folder.path.exists():
        reporter.say(f"There is nothing to go on with in {folder.path}: a new run starts.")
    with sigterm_raises(), ExitStack() as held, disk_errors_told(folder.path):
        on_first_process(accelerator, partial(_start, folder, held, options, resume=resume, reporter=reporter))
        if folder.finished:
            folder.discard_stages()
            reporter.say(f"{folder.path} is finished already.")
            return folder
        held.callback(finish_tracking, accelerator)
        try:
            stages = Stages(
                options, folder, accelerator, cache=cache_folder(options.cache), text_column=column, reporter=reporter
            )
            recipe.run(stages, options)
        except (PicturebookError, InterruptionError):
            if accelerator.is_main_process:
                folder.discard_if_untouched()
            raise
    return folder


def _start(folder: RunFolder, held: ExitStack, options: RecipeOptions, *, resume: bool, reporter: Reporter) -> None:
    """Hold the folder for this run alone and begin it, or look at what an earlier try left."""
    if folder.path.is_dir() or not folder.path.exists():
        held.enter_context(folder_held(folder.path))
    folder.start(resume=resume, resolved=dump_options(options), completed=completed(options))
    folder.remove_leftovers()
    if folder.results.is_file() and (wrong := folder.damage()):
        reporter.say(f"{folder.path} is damaged: {wrong}. It is made again.")
        folder.reopen()


def audit_run(
    path: Path,
    *,
    class_mean: Path | None = None,
    shuffled: Path | None = None,
    device: str | None = None,
    reporter: Reporter,
) -> Audit:
    """Audit a finished run's teacher again, with all references, and keep what was found in the run.

    Of a run that stopped after its audit, this is what was found then.

    Args:
        path: the run.
        class_mean: a run of the same settings with targets.control = "class_mean" (S1), to compare students.
        shuffled: the same with "within_class_shuffle" (S2).
        device: where to compute; None is where the run was trained.
        reporter: where it tells how it goes.

    Raises:
        PicturebookError: there is no such run, or it keeps no teacher with a head.
    """
    folder = RunFolder(path)
    if folder.audit.is_file() and not folder.finished and not (class_mean or shuffled):
        reporter.say(f"{path} is not finished: this is what the audit of its teacher found on the way.")
        return read_audit(folder.audit)
    folder = RunFolder.open(path)
    options = load_options(folder.settings, [] if device is None else [f"device={device}"])
    if not isinstance(options, image_text.ImageTextRecipe | distil.DistilRecipe):
        raise RunError(f"{path} is a run of {options.recipe}: an audit needs a teacher with a head, of image_text or distil.")
    column = RECIPES[options.recipe].check(options)
    named = (("S1", "class_mean", class_mean), ("S2", "within_class_shuffle", shuffled))
    controls = {
        name: control_interval(folder, RunFolder(run), kind=kind, completed=completed(options))
        for name, kind, run in named
        if run is not None
    }
    accelerator = build_accelerator(device=options.device, precision=options.precision)
    stages = Stages(options, folder, accelerator, cache=cache_folder(options.cache), text_column=column, reporter=reporter)
    if isinstance(options, distil.DistilRecipe):
        text, head, text_encoder, claims = TextOptions(source="none"), HeadOptions(mode="linear"), "", distil.claims_of(options)
    else:
        teacher = options.teacher
        text, head, text_encoder, claims = options.text, teacher.head, teacher.text_encoder, image_text.claims_of(options)
    words = Words(stages, text, head, text_encoder=text_encoder)
    with folder_held(folder.path):
        folder.forget_checksum(folder.audit)
        found = audit_finished(stages, options.teacher, words, replace(claims, controls=controls))
        folder.note_checksum(folder.audit)
    return found


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(part) for name, part in value.items() if part is not None}
    return value
