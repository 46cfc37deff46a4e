"""Keys and passwords: in no file, no log, no sentence, no traceback and no list of processes."""

import re
from pathlib import Path
from typing import Any

import pytest

from command_line import CommandLine
from picturebook.redaction import without_secrets
from picturebook.study.running import last_sentence

SECRETS = {
    "PICTUREBOOK_API_KEY": "pb-0123456789abcdef",
    "OPENAI_API_KEY": "sk-fedcba9876543210",
    "HF_TOKEN": "hf_abcdefghijklmnop",
    "WANDB_API_KEY": "40characters0123456789012345678901234567",
    "MLFLOW_TRACKING_PASSWORD": "correct horse battery",
    "AWS_SECRET_ACCESS_KEY": "aws/secret+access",
}
PASSWORD = "pass-word-of-an-address"


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def told(text: str) -> list[str]:
    return [secret for secret in (*SECRETS.values(), PASSWORD) if secret in text]


def found_below(folder: Path) -> dict[str, list[str]]:
    """Files that hold a secret."""
    found = {str(path): told(path.read_bytes().decode("latin-1")) for path in folder.rglob("*") if path.is_file()}
    return {name: secrets for name, secrets in found.items() if secrets}


def test_a_run_and_what_is_made_of_it_hold_no_secret(picturebook: CommandLine, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tracked = ("--set", f"out={run}", "--set", 'track=["tensorboard"]')
    answers = [
        picturebook("train", picturebook.run_file, *tracked),
        picturebook("report", run),
        picturebook("export", run, "--to", "hub"),
        picturebook("inspect", run, "--json"),
        picturebook("predict", run, picturebook.data, "--out", tmp_path / "answers.jsonl"),
    ]
    assert [answer.code for answer in answers] == [0] * 5, answers
    assert told("".join(answer.out + answer.err for answer in answers)) == []
    assert {"provenance.json", "checksums.json", "run.toml", "report.html"} <= {path.name for path in run.iterdir()}
    assert found_below(tmp_path) == {}


# ---- what libraries say -----------------------------------------------------------------------------------------------------

REQUEST = (
    f"401 for https://me:{PASSWORD}@host/v1, headers {{'Authorization': 'Bearer {SECRETS['OPENAI_API_KEY']}', "
    f"'X-Api-Key': 'not-in-the-environment'}}, key {SECRETS['WANDB_API_KEY']}"
)
SHOWN = "401 for https://[name]@host/v1, headers {'Authorization': 'Bearer [key]', 'X-Api-Key': '[key]'}"


@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_an_error_of_a_library_is_shown_without_the_keys_that_it_quotes(
    picturebook: CommandLine, monkeypatch: pytest.MonkeyPatch, debug: tuple[str, ...]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(REQUEST)

    monkeypatch.setattr("picturebook.start.inspect_target", fail)
    answer = picturebook(*debug, "inspect", picturebook.data)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("Traceback (most recent call last):\n")
    assert answer.err.splitlines()[-1] == f"RuntimeError: {SHOWN}, key [WANDB_API_KEY]"
    assert told(answer.err) == []


@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_a_tracker_that_cannot_be_started_is_told_of_without_its_key(
    picturebook: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, debug: tuple[str, ...]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError(REQUEST)

    monkeypatch.setattr("accelerate.Accelerator.init_trackers", fail)
    tracked = ("--set", f"out={tmp_path / 'run'}", "--set", 'track=["tensorboard"]')
    answer = picturebook(*debug, "train", picturebook.run_file, *tracked)
    assert answer.code == (1 if debug else 2)
    assert "cannot be started (401 for https://[name]@host/v1" in answer.err
    assert told(answer.err) == []
    # As a study's ledger gets it, from the log of a cell.
    assert told(last_sentence(answer.err, answer.code)) == []
    assert found_below(tmp_path) == {}


@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_an_address_is_shown_without_its_password(picturebook: CommandLine, tmp_path: Path, debug: tuple[str, ...]) -> None:
    url = f"https://me:{PASSWORD}@host/v1"
    refusals = [
        picturebook(*debug, "inspect", url),
        picturebook(*debug, "describe", picturebook.data, "--classes", "--model", "m", "--endpoint", url),
        picturebook(*debug, "train", picturebook.run_file, "--set", f"out={tmp_path}", "--set", f"data.root={url}"),
    ]
    assert {answer.code for answer in refusals} == {1 if debug else 2}
    assert [told(answer.out + answer.err) for answer in refusals] == [[], [], []]
    assert found_below(tmp_path) == {}


def test_a_name_cannot_act_on_the_terminal(picturebook: CommandLine, tmp_path: Path) -> None:
    sentence = picturebook.refusal("inspect", tmp_path / "a\x1b]0;title\x07b")
    assert r"a\x1b]0;title\x07b" in sentence


# ---- processes --------------------------------------------------------------------------------------------------------------


def test_no_command_takes_a_key_as_an_argument(picturebook: CommandLine) -> None:
    options = set(re.findall(r"--[a-z-]+", picturebook("describe", "--help").out))
    assert "--endpoint" in options
    assert not [option for option in options if re.search("key|secret|password", option)]


# ---- the function -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a sk-long-key, twice: sk-long-key", "a [MY_API_KEY], twice: [MY_API_KEY]"),
        ("sk-long-key-and-more", "[MY_TOKEN]"),
        ("the bearer of this letter; basic settings", "the bearer [key] this letter; basic settings"),
        ("Authorization: Basic bWU6cGFzcw==", "Authorization: Basic [key]"),
        ("postgres://me:a%40b@host/db?x=1", "postgres://[name]@host/db?x=1"),
        ("https:/me:secret@host", "https:/[name]@host"),
        ("https://host/path@2 and me@host", "https://host/path@2 and me@host"),
        ("C:/me@home and a: b@c", "C:/me@home and a: b@c"),
        ("none of these, true", "none of these, true"),
        ("file:///etc/x and C:\\keys", "file:///etc/x and C:\\keys"),
    ],
)
def test_secrets_are_replaced_by_what_they_are(text: str, shown: str) -> None:
    environment = {
        "MY_API_KEY": "sk-long-key",
        "MY_TOKEN": "sk-long-key-and-more",
        "LOCAL_KEY": "none",
        "TOKENIZERS_PARALLELISM": "these, true",
        "KEYBOARD": "letter; basic",
    }
    assert without_secrets(text, environment) == shown


def test_what_holds_no_secret_is_left_as_it_is() -> None:
    text = f"picturebook: {Path.cwd()} cannot be written (No space left on device): name another place, or mend this one.\n"
    assert without_secrets(text, {"A_KEY": "something else"}) == text
