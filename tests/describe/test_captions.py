import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from loopback import write_pictures
from torch import nn

import tiny_generators
from picturebook.data.tables import DataOptions, read_table
from picturebook.describe import describe, read_settings
from picturebook.errors import DataError, ModelError, OptionError, StoreError
from picturebook.models.captioners import Captioner
from picturebook.types import Silence

NAMES = ["ant/0.png", "ant/1.png", "owl/0.png", "owl/1.png", "zebra/0.png", "zebra/1.png"]


class Echo:
    """Inputs and words of a captioner that tells a picture's height and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []
        self.say: Callable[[int, str], str] = lambda height, prompt: f" {prompt}\n{height} \x07high "

    def effective_prompt(self, prompt: str) -> str:
        return prompt or "default"

    def inputs(self, images: Sequence[Any], prompt: str) -> Any:
        self.asked.append((len(images), prompt))
        self._texts = [self.say(image.height, prompt) for image in images]
        return Inputs(num=torch.tensor(len(images)))

    def decode(self, ids: Any) -> list[str]:
        return self._texts


class Inputs(dict[str, Any]):
    def to(self, *_: Any) -> "Inputs":
        return self


class Counting(nn.Module):
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def generate(self, num: torch.Tensor, **_: Any) -> torch.Tensor:
        return torch.arange(int(num))


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Echo:
    echo = Echo()

    def load(name: str, *, max_tokens: int, device: object) -> Captioner:
        return Captioner(Counting(), echo, max_tokens=max_tokens)

    monkeypatch.setattr("picturebook.describe.command.load_captioner", load)
    return echo


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "data", "ant", "owl", "zebra")


@pytest.fixture
def write(root: Path, tmp_path: Path) -> Callable[..., dict[str, str]]:
    def call(**settings: Any) -> dict[str, str]:
        given = {"model": "echo", "out": str(root / "captions.jsonl"), "batch_size": 2, **settings}
        return describe(read_settings(str(root), (), captions=True, classes=False, **given), reporter=Silence())

    return call


def lines(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "captions.jsonl").read_text("utf-8").splitlines()]


Write = Callable[..., dict[str, str]]


def test_every_picture_gets_a_line_with_its_origin(write: Write, echo: Echo, root: Path) -> None:
    rows = write()
    assert echo.asked == [(2, "default")] * 3
    assert [(line["file_name"], line["text"]) for line in lines(root)] == [
        (name, f"default {12 + index % 2} high") for index, name in enumerate(NAMES)
    ]
    line = lines(root)[0]
    assert all([line.pop("time"), line.pop("weights"), line.pop("prompt_sha256")])
    assert line == {
        "file_name": "ant/0.png",
        "text": "default 12 high",
        "prompt": "default",
        "problem": "",
        "task": "captions",
        "kind": "label_blind",
        "by": "transformers",
        "model": "echo",
        "template": "",
        "max_tokens": 64,
        "temperature": 0.0,
    }
    assert "6 of 6 pictures" in rows["written"]


def test_a_prompt_with_the_label_is_asked_class_by_class_and_called_privileged(write: Write, echo: Echo, root: Path) -> None:
    write(prompt="a {label} is", batch_size=4)
    assert sorted(echo.asked) == [(2, "a ant is"), (2, "a owl is"), (2, "a zebra is")]
    assert {line["kind"] for line in lines(root)} == {"privileged"}
    assert all(line["prompt"] == f"a {line['file_name'].split('/')[0]} is" for line in lines(root))


def test_a_picture_without_a_label_is_not_asked_about_its_label(write: Write, echo: Echo, root: Path) -> None:
    with (root / "metadata.csv").open("w", newline="") as file:
        rows = [[name, "" if name == "owl/1.png" else name.split("/")[0]] for name in NAMES]
        csv.writer(file).writerows([["file_name", "label"], *rows])
    assert "owl/1.png: the prompt needs a label" in write(prompt="a {label} is")["left out"]
    (root / "captions.jsonl").unlink()
    assert "failed" not in write(prompt="a photo of")


def test_a_folder_without_labels_is_captioned_unless_the_prompt_asks_for_one(write: Write, echo: Echo, root: Path) -> None:
    for name in NAMES:
        (root / name).rename(root / name.replace("/", "-"))
    rows = write(prompt="a photo of")
    assert "6 of 6 pictures" in rows["written"]
    assert [line["file_name"] for line in lines(root)] == [name.replace("/", "-") for name in NAMES]
    table = read_table(DataOptions(root=str(root), metadata="captions.jsonl"), to_train=False, needs_labels=False)
    assert table.texts == tuple(line["text"] for line in lines(root))
    with pytest.raises(DataError, match="have no labels: no class folders"):
        write(prompt="a {label} is", out=str(root / "privileged.jsonl"))


def test_broken_pictures_are_listed_and_the_rest_goes_on(write: Write, echo: Echo, root: Path) -> None:
    (root / "ant/1.png").write_bytes(b"no picture")
    (root / "owl/0.png").write_bytes((root / "owl/0.png").read_bytes()[:60])
    rows = write()
    assert rows["left out"].startswith("ant/1.png: not an image, owl/0.png: ")
    assert "failed" not in rows, "asking again would not help"
    assert "4 of 6" in rows["written"]
    assert [line["text"] == "" for line in lines(root)] == [False, True, True, False, False, False]


def test_all_broken_is_no_failure_of_the_captioner(write: Write, echo: Echo, root: Path) -> None:
    for name in NAMES:
        (root / name).write_bytes(b"no picture")
    rows = write()
    assert "0 of 6" in rows["written"]
    assert "not an image" in rows["failed"], "nothing came of it, and it is told as a failure"
    assert echo.asked == []


def test_only_missing_pictures_are_asked_and_without_any_no_model_is_loaded(
    write: Write, echo: Echo, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write()
    content = (root / "captions.jsonl").read_bytes()
    (root / "captions.jsonl").write_bytes(content[: len(content) // 2])
    num = len(lines_whole := (root / "captions.jsonl").read_bytes().split(b"\n")) - 1
    echo.asked.clear()
    write()
    assert sum(count for count, _ in echo.asked) == 6 - num
    assert lines_whole[:num] == (root / "captions.jsonl").read_bytes().split(b"\n")[:num]
    monkeypatch.setattr("picturebook.describe.command.load_captioner", None)
    assert "this time" not in write()


def test_a_captioner_that_says_nothing_stops(write: Write, echo: Echo, root: Path) -> None:
    echo.say = lambda height, prompt: " "
    with pytest.raises(ModelError, match=r"Stopped after 5 failures in a row; .*the caption is empty.* 0 of 6 pictures"):
        write()
    echo.say = lambda height, prompt: "now it speaks"
    assert "6 of 6" in write()["written"]


def test_an_interruption_loses_one_batch_at_most(write: Write, echo: Echo, root: Path) -> None:
    def interrupt(height: int, prompt: str) -> str:
        if len(echo.asked) == 3:
            raise KeyboardInterrupt
        return "a text"

    echo.say = interrupt
    with pytest.raises(KeyboardInterrupt):
        write()
    assert [line["file_name"] for line in lines(root)] == NAMES[:4]


def test_another_prompt_needs_another_file(write: Write, echo: Echo) -> None:
    write()
    with pytest.raises(StoreError, match=r"another template: '' for ant/0\.png, now 'a photo of'"):
        write(prompt="a photo of")


def test_a_dry_run_loads_nothing(write: Write, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("picturebook.describe.command.load_captioner", None)
    rows = write(dry_run=True, prompt="a {label} is")
    assert rows["to do"] == "6 pictures, 0 done already"
    assert rows["a prompt"] == "a ant is"
    assert not (root / "captions.jsonl").exists()


def test_progress_counts_all_pictures(root: Path, echo: Echo, write: Write) -> None:
    seen: list[tuple[int, int]] = []

    class Listening(Silence):
        def stage(self, name: str) -> Any:
            from contextlib import nullcontext

            return nullcontext(lambda done, total: seen.append((done, total)))

    options = read_settings(str(root), (), captions=True, classes=False, model="echo", batch_size=4, out=str(root / "c.jsonl"))
    describe(options, reporter=Listening())
    assert seen == [(4, 6), (6, 6)]


def test_the_file_is_a_metadata_file_of_the_data(write: Write, root: Path) -> None:
    model = tiny_generators.blip(root.parent / "blip")
    rows = write(model=str(model), max_tokens=4, prompt="a photo of")
    assert "text.kind = 'label_blind'" in rows["use"]
    table = read_table(DataOptions(root=str(root), metadata="captions.jsonl"))
    assert table.texts == tuple(line["text"] for line in lines(root))
    assert table.classes == ("ant", "owl", "zebra")
    assert all(table.texts)


def test_a_captioner_without_prompts_refuses_one_before_it_reads(write: Write, root: Path) -> None:
    model = tiny_generators.vit_bert(root.parent / "vit")
    with pytest.raises(OptionError, match="takes no prompt"):
        write(model=str(model), prompt="a photo of")
    assert not (root / "captions.jsonl").exists()
