"""What can go wrong by the user's hand, as sentences.

    PicturebookError            exit code 2, printed without a traceback
    ├── OptionError             a setting is misspelt, impossible or cannot take effect
    ├── DataError               the pictures or their table cannot be used
    ├── TextError               the words that were asked for are not there, or may not be used that way
    ├── ModelError              an encoder, student or artefact cannot be found or does not fit
    ├── TrainingError           a training cannot go on: its loss is not finite, or it was started with other processes
    ├── StoreError              a stored array is missing, incomplete or belongs to something else
    └── RunError                a run folder exists, is missing or is half written

    InterruptionError           exit code 75: stopped from outside, and can go on; no `except Exception` takes it for a failure
    └── AbandonedError          exit code 143: stopped from outside, and begins anew

A message says what was expected, what came, and what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class PicturebookError(Exception):
    """Base of every error that the user can mend."""

    exit_code = 2
    """Of a command that ends so."""


class OptionError(PicturebookError):
    """A setting is misspelt, impossible or cannot take effect."""


class DataError(PicturebookError):
    """The pictures or their table cannot be used."""


class TextError(PicturebookError):
    """The words that were asked for are not there, or may not be used that way."""


class ModelError(PicturebookError):
    """An encoder, student or artefact cannot be found or does not fit."""


class TrainingError(PicturebookError):
    """A training cannot go on: its loss is not finite, or it was started with other processes."""


class StoreError(PicturebookError):
    """A stored array is missing, incomplete or belongs to something else."""


class RunError(PicturebookError):
    """A run folder exists already, is missing or is half written."""


class InterruptionError(BaseException):
    """The work was stopped from outside; what was done is kept. As with KeyboardInterrupt, nobody has made a mistake."""

    exit_code = 75
    """EX_TEMPFAIL of sysexits.h: try again later."""


class AbandonedError(InterruptionError):
    """The work was stopped from outside, and is whole or not there at all."""

    exit_code = 143
    """128 and SIGTERM's number, as shells say it."""


def unknown_name(kind: str, name: str, names: Iterable[str]) -> str:
    """Say that `name` is no known `kind`, with the nearest known name or, when they are few, all of them."""
    known = sorted(names)
    nearest = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    listing = f" Known: {', '.join(known)}." if len(known) <= 12 else ""
    return f"There is no {kind} {name!r}.{hint}{listing}"
