"""The first look at somebody's data: where its words are, how it would be split, and what is in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picturebook.data.findings import sentence
from picturebook.data.tables import ColumnOptions, DataOptions
from picturebook.inspection import DataInspection, inspect_data, inspect_run
from picturebook.options import apply_override, validate
from picturebook.runs import RunFolder
from picturebook.start.found import TEXT_COLUMNS, Words, look_at_words, split_for
from picturebook.types import Reporter


@dataclass(frozen=True, slots=True)
class FirstLook:
    """Data as a run would take them that `picturebook init` writes."""

    options: DataOptions
    words: Words
    inspection: DataInspection


def look_at(data: str, said: dict[str, Any], *, source: str, cache: Path, reporter: Reporter) -> FirstLook:
    """Read the data; a column of words that nobody named is looked for, and a split that nobody said is chosen.

    Args:
        data: anything that data.root takes.
        said: settings of [data] that go before every choice.
        source: where they come from, for messages.
        cache: folder of canvas stores.
        reporter: where it tells how it goes.

    Raises:
        OptionError: a setting is unknown or impossible.
        DataError, TextError: the data cannot be used.
    """
    options = validate(DataOptions, {**said, "root": data}, source=source)
    is_named = "text" in options.columns.model_fields_set
    words = look_at_words(options, (options.columns.text,) if is_named else TEXT_COLUMNS)
    if words.column is not None:
        options = options.model_copy(update={"columns": options.columns.model_copy(update={"text": words.column})})
    with reporter.stage("decoding pictures") as progress:
        inspection = inspect_data(options, cache=cache, progress=progress)
    if "split" not in said and (split := split_for(inspection)) != options.split:
        options = options.model_copy(update={"split": split})
        with reporter.stage("counting the splits") as progress:  # decoded already
            inspection = inspect_data(options, cache=cache, progress=progress)
    return FirstLook(options, words, inspection)


def inspect_target(target: str, *, overrides: Sequence[str], cache: Path, reporter: Reporter) -> dict[str, Any]:
    """A run's files verified, or a data root read; `overrides` are settings of [data], "split.by=group" and the like."""
    if (Path(target) / "run.toml").is_file():
        return inspect_run(RunFolder.open(Path(target)))
    said: dict[str, Any] = {}
    for override in overrides:
        apply_override(said, override.removeprefix("data."))
    look = look_at(target, said, source="inspect", cache=cache, reporter=reporter)
    found = look.inspection.to_dict()
    texts, split = found["texts"], look.options.split
    found["texts"] = {"column": look.words.column, **texts, "named": look.words.named} if texts else None
    found["no_words"] = None if texts else _where_words_may_stand(look.options.columns)
    found["split"] = {"test": split.test, "val": split.val, "by": split.by}
    found["findings"] = [sentence(finding) for finding in look.inspection.findings]
    found["classes"] = {part.name: {"train": part.train, "val": part.val, "test": part.test} for part in look.inspection.classes}
    return found


def _where_words_may_stand(columns: ColumnOptions) -> str:
    named = columns.text if "text" in columns.model_fields_set else ", ".join(TEXT_COLUMNS)
    return f"none in a column {named}; another: --set columns.text=NAME"
