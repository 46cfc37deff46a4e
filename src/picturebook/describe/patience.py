"""When to stop asking."""

from picturebook.errors import ModelError

MAX_IN_A_ROW = 5
"""Items that may fail one after the other."""


class Patience:
    """Counts failures in a row; an item that succeeds sets it back."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def note(self, problem: str, *, done: str) -> None:
        """Count one item; `problem` is "" where it succeeded, and `done` is a sentence on what there is by now.

        Raises:
            ModelError: MAX_IN_A_ROW items failed in a row.
        """
        self._in_a_row = self._in_a_row + 1 if problem else 0
        if self._in_a_row >= MAX_IN_A_ROW:
            raise ModelError(
                f"Stopped after {MAX_IN_A_ROW} failures in a row; the last one: {problem}. {done} "
                "Nothing is lost: mend the cause, then the same command goes on with the rest."
            )
