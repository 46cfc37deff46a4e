"""Writing what is exported: whole or not at all, and never over something else."""

import glob
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from picturebook.errors import RunError
from picturebook.writing import UNFINISHED, remove_leftovers, sync


def check_free(*targets: Path) -> None:
    """Refuse what would be written over.

    Raises:
        RunError: there is something of that name.
    """
    for target in targets:
        if target.exists() or target.is_symlink():
            raise RunError(f"{target} exists already: remove it, or name another place with --out.")


@contextmanager
def workplace(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, from which what is whole is moved to its name; gone afterwards, whatever happened.

    Raises:
        RunError: the place cannot be written.
    """
    is_new = not target.parent.exists()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent, of=glob.escape(target.name))
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.", suffix=UNFINISHED) as work:
            yield Path(work)
            sync(target.parent)  # the new names
    except OSError as error:
        raise RunError(
            f"{target} cannot be written ({error.strerror or error}): name another place with --out, or mend this one."
        ) from error
    finally:
        if is_new:
            with suppress(OSError):  # it holds what was exported
                target.parent.rmdir()
