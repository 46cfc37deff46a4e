"""`distil` and `train`: from data to a classifier in one call."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from picturebook.api.classifier import Classifier
from picturebook.api.settings import SOURCE, Settings, of_caller, reporting, settings_for
from picturebook.config import Recipe, parse_options, run_recipe
from picturebook.errors import OptionError
from picturebook.options import validate
from picturebook.recipes import own
from picturebook.terminal import is_first_process, results_table, show
from picturebook.types import Reporter


def distil(
    data: str | Path,
    model: str | None = None,
    text: str | None = None,
    *,
    recipe: str | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    settings: Settings | None = None,
    resume: bool = False,
    verbose: bool = False,
) -> Classifier:
    """Train a teacher on the data and a student on its answers, and give the student.

    What is not said is chosen as `picturebook init` would for these data.

    Args:
        data: anything that data.root takes: class folders, a folder with metadata.csv, tar or parquet shards, a hub data set.
        model: the student's architecture, a timm name, newly initialised; None takes `init`'s choice, which on few pictures
            starts from pretrained weights where some are here.
        text: the column of words that the teacher reads beside each picture, as recipe image_text with text.kind "unknown";
            None takes a teacher that reads pictures alone, recipe distil.
        recipe: another recipe.
        out: the run's folder, with numbers and report; by default nothing of the run is kept but the classifier.
        seed: fixes initialisation, order and views.
        settings: any settings by their paths, {"train.epochs": 5}; they go before everything else.
        resume: go on with the run in `out` where it was interrupted.
        verbose: show bars, remarks and the table of results.

    Raises:
        PicturebookError: data, words, model or settings do not allow it; the message says what to do.
    """
    recipe = recipe or ("distil" if text is None else "image_text")
    said = {**({} if model is None else {"student.model": model}), "seed": seed, **of_caller(settings)}
    with ExitStack() as held, reporting(verbose) as reporter:
        said["out"] = _folder(out, resume, held)
        chosen = settings_for(data, recipe=recipe, text=text, said=said, reporter=reporter)
        run = run_recipe(parse_options(chosen, source=SOURCE), resume=resume, reporter=reporter)
        if verbose and is_first_process():
            show(results_table(run))
        return Classifier.of_run(run.path, is_kept=out is not None)


def train(
    objective: own.Build,
    data: str | Path,
    model: str = "resnet18",
    *,
    out: str | Path | None = None,
    seed: int = 0,
    settings: Settings | None = None,
    resume: bool = False,
    verbose: bool = False,
) -> Classifier:
    """Train a student by an objective of your own, in the engine that trains every recipe, and give the student.

    The run is as any other: resumable, with metrics, numbers on validation and test, and a student that timm loads. Its
    recipe is called "own". Only rows with a label are shown.

    Args:
        objective: makes the `picturebook.Objective` from the student (a `picturebook.ImageEncoder`: RGB in [0, 1] → logits);
            usually the class itself.
        data: as for `distil`.
        model: the same.
        out: the same.
        seed: the same.
        settings: the same.
        resume: the same; the objective has to be called as it was.
        verbose: the same.

    Raises:
        PicturebookError: data, model or settings do not allow it, or the objective does not hold the student.
    """
    name = getattr(objective, "__qualname__", type(objective).__qualname__)
    said = {"student.model": model, "seed": seed, **of_caller(settings), "objective": name}
    with ExitStack() as held, reporting(verbose) as reporter:
        said["out"] = _folder(out, resume, held)
        chosen = settings_for(data, recipe=own.NAME, text=None, said=said, reporter=reporter)
        return _train(chosen, objective, resume=resume, reporter=reporter, is_kept=out is not None)


def _train(chosen: dict[str, object], build: own.Build, *, resume: bool, reporter: Reporter, is_kept: bool) -> Classifier:
    recipe = Recipe(own.OwnRecipe, partial(own.run, build=build))
    options = validate(own.OwnRecipe, chosen, source=SOURCE)
    run = run_recipe(options, resume=resume, reporter=reporter, recipe=recipe)
    return Classifier.of_run(run.path, is_kept=is_kept)


def _folder(out: str | Path | None, resume: bool, held: ExitStack) -> str:
    """The run's folder; where nobody names one, a temporary one that goes with `held`."""
    if out is not None:
        return str(out)
    if resume:
        raise OptionError("resume needs out, the folder of the run to go on with.")
    return str(Path(held.enter_context(TemporaryDirectory(prefix="picturebook-"))) / "run")
