"""Short visual phrases a class, by a language model on this machine or behind an endpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from picturebook.data.findings import first_names
from picturebook.describe.answers import BadAnswerError, parse_phrases
from picturebook.describe.endpoint import NoAnswerError
from picturebook.describe.patience import Patience
from picturebook.describe.prompts import fill, prompt_hash, spoken
from picturebook.describe.records import Records
from picturebook.describe.settings import DescribeOptions
from picturebook.errors import RunError, StoreError
from picturebook.types import Progress
from picturebook.writing import read_json, write_json

_NUM_ANSWERS = 3
"""Answers to one prompt that are tried."""


@runtime_checkable  # so that the tests' type checks can look at it
class Answering(Protocol):
    """Who answers prompts."""

    @property
    def provenance(self) -> dict[str, str]:
        """What a line should say of it beside its name."""
        ...

    def complete(self, prompt: str, *, attempt: int) -> str:
        """Answer; may raise BadAnswerError or NoAnswerError."""
        ...


def class_prompt(options: DescribeOptions, name: str, classes: Sequence[str]) -> str:
    """What is asked of one class."""
    values = {
        "class": spoken(name),
        "classes": ", ".join(map(spoken, classes)),
        "least": str(options.least),
        "most": str(options.most),
    }
    return fill(options.template, values)


def write_class_texts(
    model: Answering, classes: Sequence[str], records: Records, *, options: DescribeOptions, progress: Progress
) -> dict[str, str]:
    """Ask for the classes that have no line yet; each is on the disk before the next one is asked for.

    Returns:
        Class → why it has no phrases.

    Raises:
        ModelError: MAX_IN_A_ROW classes failed in a row, or no prompt can succeed.
    """
    patience = Patience()
    failed: dict[str, str] = {}
    missing = records.missing(classes)
    for number, name in enumerate(missing, start=1):
        prompt = class_prompt(options, name, classes)
        phrases, problem = _ask(model, prompt, options)
        line = {"class": name, "texts": list(phrases), "prompt": prompt, "prompt_sha256": prompt_hash(prompt)}
        records.append([line | {"problem": problem} | model.provenance])
        progress(len(classes) - len(missing) + number, len(classes))
        if problem:
            failed[name] = problem
        patience.note(problem, done=f"{len(records.lines)} of {len(classes)} classes are described.")
    return failed


def check_class_list(path: Path, records: Records) -> None:
    """Refuse to overwrite a class → texts file that says what the lines do not: somebody worked on it.

    Raises:
        StoreError: it does, or it is no such file.
    """
    if not path.exists():
        return
    try:
        written = read_json(path)
    except (RunError, ValueError):
        written = None
    if not isinstance(written, dict):
        raise StoreError(f"{path} is no list of texts by class, and would be overwritten: move it, or name another --out.")
    own = [name for name, texts in written.items() if records.lines.get(name, {}).get("texts") != texts]
    if own:
        raise StoreError(
            f"{path} has texts that its JSONL file does not ({first_names(own)}): it was edited, or written by something else, "
            "and would be overwritten. Move it, or name another --out."
        )


def write_class_list(path: Path, classes: Sequence[str], records: Records) -> None:
    """Write class → texts, in class order, of the classes that have them."""
    texts: Mapping[str, list[str]] = {name: records.lines[name]["texts"] for name in classes if name in records.lines}
    if texts:
        write_json(path, texts)


def _ask(model: Answering, prompt: str, options: DescribeOptions) -> tuple[tuple[str, ...], str]:
    """Phrases, or why there are none after all tries."""
    problem = ""
    for attempt in range(_NUM_ANSWERS):
        try:
            answer = model.complete(prompt, attempt=attempt)
            return parse_phrases(answer, least=options.least, most=options.most), ""
        except BadAnswerError as error:
            problem = f"{error} (asked {_NUM_ANSWERS} times)"
        except NoAnswerError as error:
            return (), str(error)
    return (), problem
