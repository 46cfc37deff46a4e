"""What a run was begun with, so that none goes on with another: its stages know their settings, and not the files behind them."""

from collections.abc import Mapping

from picturebook.errors import RunError
from picturebook.runs import RunFolder
from picturebook.writing import read_json, write_json

_DERIVED = ("zero-shot classifier",)
"""Made from what the run itself trained, and computed anew by each try."""


def refuse_other_inputs(folder: RunFolder, fingerprints: Mapping[str, str], *, writes: bool) -> None:
    """Compare what a run works on with what it worked on before it was interrupted, and keep it.

    Args:
        folder: the run.
        fingerprints: of data, words and models, by name.
        writes: whether this process keeps them.

    Raises:
        RunError: something of the same name was another then.
    """
    file = folder.stages / "inputs.json"
    known: dict[str, str] = read_json(file) if file.is_file() else {}
    inputs = {name: value for name, value in fingerprints.items() if name not in _DERIVED}
    if others := [name for name, value in inputs.items() if known.get(name, value) != value]:
        raise RunError(
            f"{folder.path} was begun with other {' and other '.join(others)}: bring back what there was, or take another `out`."
        )
    if writes and inputs.keys() - known.keys():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {**known, **inputs})
