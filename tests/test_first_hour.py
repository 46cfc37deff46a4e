"""The first hour: what README and tutorial tell a newcomer to type, taken from the pages and run as it stands there.

The folder and its pictures are smaller than those of the pages, and `serve` gets a port that is free; nothing else differs.
"""

import contextlib
import csv
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from command_line import Answer, CommandLine, write_pictures
from picturebook.cli import app
from toys import toy_picture

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CLASSES = ("crow", "finch", "robin", "sparrow", "swift", "wren")  # the audit asks with the more noise the fewer classes there are
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SIGNED_BLOCK = re.compile(r"^<!-- first hour(?:: (\S+))? -->\n```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
SERVE = "picturebook serve runs/birds"


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def path_of(name: str) -> list[str]:
    """The signed commands of a page in their order, without their comments."""
    lines = [line for _, language, text in SIGNED_BLOCK.findall(page(name)) if not language for line in text.splitlines()]
    return [shlex.join(shlex.split(line, comments=True)) for line in lines]


def programs_of(name: str) -> list[str]:
    return [text for _, language, text in SIGNED_BLOCK.findall(page(name)) if language == "python"]


TUTORIAL = path_of("docs/tutorial.md")
README = path_of("README.md")


def write_birds(folder: Path) -> None:
    """Class folders with captions.csv, pictures to try the model on, and the files that the tutorial has one save."""
    names = write_pictures(folder / "birds", classes=CLASSES, num_a_class=6)
    with (folder / "birds" / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file_name", "text"))
        writer.writerows((name, f"a square, seen from {('near', 'far', 'above')[place % 3]}") for place, name in enumerate(names))
    (folder / "photos").mkdir()
    for label in range(len(CLASSES)):
        toy_picture(label, 100).save(folder / "photos" / f"{label}.png")
    for name, _, text in SIGNED_BLOCK.findall(page("docs/tutorial.md")):
        if name:
            (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first-hour")
    write_birds(folder)
    return folder


@pytest.fixture(scope="module")
def walked(folder: Path) -> dict[str, Answer]:
    """Every command of the tutorial's path, in its order, with its answer."""
    call = CommandLine(folder)
    answers = {}
    with contextlib.chdir(folder):
        for command in TUTORIAL:
            answers[command] = served(folder) if command == SERVE else call(*shlex.split(command)[1:])
    return answers


def served(folder: Path) -> Answer:
    """Start the page as written, on any free port; get it, send it a picture, and end it as Ctrl-C does."""
    environment = {**os.environ, "PICTUREBOOK_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", *shlex.split(SERVE), "--port", "0"]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = []
        for line in process.stderr:
            told.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                break
        else:
            return Answer(process.wait(), "", "".join(told))
        with urllib.request.urlopen(found[0]) as answer:
            start = answer.read().decode()
        picture = (folder / "photos" / "1.png").read_bytes()
        with urllib.request.urlopen(f"{found[0]}api/predict", data=picture) as answer:
            named = answer.read().decode()
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        return Answer(0, start + named, "".join(told))


@pytest.mark.packages
@pytest.mark.parametrize("command", TUTORIAL)
def test_each_command_of_the_path_does_what_it_should(walked: dict[str, Answer], command: str) -> None:
    assert walked[command].code == 0, walked[command]
    assert "Traceback" not in walked[command].err


def test_the_readme_takes_the_tutorials_path() -> None:
    assert len(README) == 10
    assert [command for command in TUTORIAL if command in README] == README, "the same commands in the same order"
    named = {shlex.split(command)[1] for command in README}
    assert named == {"inspect", "init", "plan", "train", "evaluate", "report", "predict", "export", "serve"}


@pytest.mark.packages
def test_at_the_end_of_the_path_stand_a_report_a_file_and_a_page(walked: dict[str, Answer], folder: Path) -> None:
    assert (folder / "runs/birds/export/student.onnx").is_file()
    for report in ("runs/birds/report.html", "runs/words/report.html"):
        assert "<html" in (folder / report).read_text(encoding="utf-8")
    assert "<html" in walked[SERVE].out
    assert '"classes"' in walked[SERVE].out


@pytest.mark.packages
def test_run_and_onnx_name_the_photos_alike(walked: dict[str, Answer], folder: Path) -> None:
    of_run = list(csv.DictReader((folder / "names.csv").read_text(encoding="utf-8").splitlines()))
    of_file = list(csv.DictReader(walked["picturebook predict runs/birds/export/student.onnx photos/ --top 3"].out.splitlines()))
    photos = [f"photos/{number}.png" for number in range(len(CLASSES))]
    assert [row["file_name"] for row in of_run] == [row["file_name"] for row in of_file] == photos
    assert [row["class_1"] for row in of_run] == [row["class_1"] for row in of_file]
    assert {row["class_1"] for row in of_run} <= set(CLASSES)


@pytest.mark.packages
@pytest.mark.usefixtures("walked")
@pytest.mark.parametrize("program", programs_of("README.md"))
def test_the_readmes_programs_run(folder: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PICTUREBOOK_CACHE", str(folder / "cache"))
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        exec(compile(program, "README.md", "exec"), names)
    assert list(names["classifier"].classes_ if "classifier" in names else names["names"]) == list(CLASSES)


def commands_named(text: str) -> Iterator[str]:
    """The command lines of a page: lines of its blocks, and code within sentences."""
    for _, block in BLOCK.findall(text):
        yield from (line.strip() for line in block.splitlines() if line.strip().startswith("picturebook "))
    yield from re.findall(r"`(picturebook [^`]+)`", BLOCK.sub("", text).replace("\n", " "))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_a_page_names_exists_with_its_options(path: Path) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    for line in commands_named(path.read_text(encoding="utf-8")):
        words = line.split("#")[0].split()[1:]
        known = {name for option in group.params for name in option.opts} | {"--help"}
        if words and not words[0].startswith("-") and words[0] != "COMMAND":
            assert words[0] in group.commands, line
            command = group.commands[words[0]]
            parts = [command, *getattr(command, "commands", {}).values()]
            known |= {name for part in parts for option in part.params for name in option.opts}
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= known, line


def anchors(text: str) -> set[str]:
    """What headings may be linked as."""
    titles = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(path: Path) -> None:
    text = BLOCK.sub("", path.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name) if name else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_extra_that_a_page_installs_exists(path: Path) -> None:
    extras = tomllib.loads(page("pyproject.toml"))["project"]["optional-dependencies"]
    for listed in re.findall(r"(?:picturebook[^\s\[]*|\.)\[([a-z,]+)\]'", path.read_text(encoding="utf-8")):
        assert set(listed.split(",")) <= set(extras), listed


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "tutorial.html").is_file()
    fetched = re.findall(
        r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', (tmp_path / "site" / "index.html").read_text()
    )
    assert fetched == [], "nothing comes from elsewhere"
