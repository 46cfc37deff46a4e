"""constraints.txt locks everything that is installed for picturebook, its extras and its tests, at what was tested."""

from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = frozenset({"demo", "export", "serve", "track"})


def requirements(file: str) -> Iterator[Requirement]:
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield Requirement(line)


@cache
def needed() -> dict[str, str]:
    """Every distribution that picturebook with its extras and its tests need on this machine, and one that asks for it."""
    found: dict[tuple[str, frozenset[str]], str] = {}
    waiting = [(Requirement(f"picturebook[{','.join(EXTRAS)}]"), "")]
    waiting += [(requirement, "dev-requirements.txt") for requirement in requirements("dev-requirements.txt")]
    while waiting:
        requirement, by = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in found:
            continue
        found[key] = by
        for text in distribution(requirement.name).requires or ():
            one = Requirement(text)
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)):
                waiting.append((one, requirement.name))
    return {name: by for (name, _), by in found.items() if name != "picturebook"}


@cache
def locked() -> dict[str, Version]:
    pins = {}
    for requirement in requirements("constraints.txt"):
        (pin,) = requirement.specifier
        assert pin.operator == "==", requirement
        assert "*" not in pin.version, requirement
        pins[canonicalize_name(requirement.name)] = Version(pin.version)
    return pins


def test_every_dependency_of_every_extra_is_locked() -> None:
    assert len(needed()) > 100
    assert {name: by for name, by in needed().items() if name not in locked()} == {}


def test_what_is_locked_is_what_is_tested() -> None:
    installed = {name: distribution(name).version.partition("+")[0] for name in needed()}  # without a build's "+cpu"
    assert {name: version for name, version in installed.items() if locked().get(name) != Version(version)} == {}


def test_the_lock_fits_what_pyproject_allows() -> None:
    for text in distribution("picturebook").requires or ():
        requirement = Requirement(text)
        assert locked()[canonicalize_name(requirement.name)] in requirement.specifier, requirement


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_the_extras_are_those_of_the_project(extra: str) -> None:
    assert extra in (distribution("picturebook").metadata.get_all("Provides-Extra") or ())
