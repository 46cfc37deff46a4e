"""What is installed: extras, types, data files, the command and its completion."""

import os
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from picturebook import __version__

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_extras_licence_and_version_are_what_the_docs_promise() -> None:
    assert set(PROJECT["optional-dependencies"]) == {"demo", "export", "serve", "track"}
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert PROJECT["version"] == __version__
    assert f"version: {__version__}" in citation
    assert PROJECT["scripts"] == {"picturebook": "picturebook.cli:main"}


def test_types_and_files_of_pages_lie_in_the_package() -> None:
    package = resources.files("picturebook")
    assert package.joinpath("py.typed").is_file()
    for folder in ("report", "serve"):
        assert any(file.name.endswith(".jinja") for file in package.joinpath(folder).iterdir())


def test_nothing_in_the_package_is_ignored_by_git() -> None:
    """The wheel leaves out what git ignores: a template that is ignored would be here and not there."""
    files = [str(file) for file in (ROOT / "src").rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    done = subprocess.run(["git", "check-ignore", *files], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 128:
        pytest.skip("this is no clone")
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("picturebook ev", ["evaluate"]),
        ("picturebook train --re", ["--resume"]),
        ("picturebook cache cl", ["clean"]),
    ],
)
def test_the_shell_completes_commands_and_options(typed: str, completed: list[str]) -> None:
    asked = {"_PICTUREBOOK_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    program = "import sys; sys.argv = ['picturebook']; from picturebook.cli import main; main()"
    environment = {**os.environ, **asked, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == completed, done.stderr
