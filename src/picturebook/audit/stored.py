"""An audit as it stands in a run."""

from pathlib import Path

from picturebook.audit.probes import Probe
from picturebook.audit.teacher import Audit
from picturebook.audit.verdict import Evidence
from picturebook.errors import RunError
from picturebook.writing import read_json


def read_audit(file: Path) -> Audit:
    """Read an audit.json, as `Audit.to_dict` gives it.

    Raises:
        RunError: it is not whole, or another version wrote it.
    """
    stored = read_json(file)
    try:
        return Audit(
            kind=stored["kind"],
            verdict=stored["verdict"],
            reasons=tuple(stored["reasons"]),
            probes=tuple(Probe(**probe) for probe in stored["probes"]),
            num=stored["num"],
            num_classes=stored["num_classes"],
            num_noise=stored["num_noise"],
            seed=stored["seed"],
            evidence=Evidence(**stored["evidence"]),
        )
    except (KeyError, TypeError) as error:
        raise RunError(f"{file} is of another version ({error}): `picturebook audit {file.parent}` again.") from None
