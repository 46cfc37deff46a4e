"""`picturebook serve` as a person meets it: what it refuses, warns of and says."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from command_line import CommandLine
from picturebook.serve import command
from picturebook.serve.command import serve
from picturebook.serve.opening import open_answers
from picturebook.types import Silence
from served import copy_to_change


def test_no_run_folder(picturebook: CommandLine, tmp_path: Path) -> None:
    sentence = picturebook.refusal("serve", tmp_path / "nowhere", "--port", 0)
    assert sentence == f"There is no run or student folder {tmp_path / 'nowhere'}."


def test_a_folder_that_is_no_run(picturebook: CommandLine, class_folders: Path) -> None:
    assert str(class_folders) in picturebook.refusal("serve", class_folders, "--port", 0)


def test_a_half_written_run(picturebook: CommandLine, tmp_path: Path) -> None:
    run = copy_to_change(picturebook.run, tmp_path / "run")
    (run / "results.json").unlink()
    assert "is half written: go on with" in picturebook.refusal("serve", run, "--port", 0)


def test_a_port_that_is_taken(picturebook: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        sentence = picturebook.refusal("serve", picturebook.run, "--port", port)
    assert sentence.startswith(f"Port {port} of 127.0.0.1 cannot be had (Address already in use)")
    assert sentence.endswith(f"Take another one with --port {port + 1}, or --port 0 for any that is free.")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--port", 70000), "--port: need 0 (any that is free) to 65535, got 70000."),
        (("--host", "no such host"), "--host: 'no such host' is no address or name of this machine"),
        (("--max-mb", 0), "--max-mb: need more than 0, got 0."),
    ],
)
def test_a_setting_that_cannot_be(picturebook: CommandLine, arguments: tuple[object, ...], sentence: str) -> None:
    assert picturebook.refusal("serve", picturebook.run, *arguments).startswith(sentence)


def test_the_missing_extra(picturebook: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    sentence = picturebook.refusal("serve", picturebook.run)
    assert sentence == "`picturebook serve` needs starlette and uvicorn: pip install 'picturebook[serve]'."


def test_an_onnx_file(picturebook: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "student.onnx"
    file.write_bytes(b"")
    sentence = picturebook.refusal("serve", file, "--port", 0)
    assert sentence.startswith(f"{file} is an ONNX file, which tells names and nothing else")
    assert sentence.endswith(f"picturebook predict {file} PICTURES.")


def test_a_student_folder_alone_is_served(picturebook: CommandLine) -> None:
    answers = open_answers(picturebook.run / "student", cache=picturebook.cache, reporter=Silence())
    assert answers.about()["neighbours"] == {
        "pictures": 0,
        "problem": "A student folder alone does not know its training pictures.",
    }
    assert len(answers.predict((picturebook.data / "apple/00.png").read_bytes())["classes"]) == 3


def test_pictures_that_are_gone_are_said_and_the_rest_goes_on(picturebook: CommandLine, tmp_path: Path) -> None:
    run = copy_to_change(picturebook.run, tmp_path / "run")
    settings = (run / "run.toml").read_text()
    (run / "run.toml").write_text(settings.replace(picturebook.data.as_posix(), (tmp_path / "gone").as_posix()))
    answers = open_answers(run, cache=picturebook.cache, reporter=Silence())
    assert answers.neighbours is None
    assert answers.no_neighbours.startswith("The nearest training pictures cannot be shown: data.root: there is no folder")


class _Told(Silence):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])
def test_a_host_that_lets_the_network_in_is_warned_of(
    picturebook: CommandLine, monkeypatch: pytest.MonkeyPatch, host: str, warned: bool
) -> None:
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    told = _Told()
    serve(picturebook.run, host=host, port=0, max_mb=1, cache=picturebook.cache, reporter=told)
    assert any(sentence.startswith(f"Warning: --host {host} lets everyone") for sentence in told.said) == warned
    assert told.said[-2].startswith(f"{picturebook.run} answers at http://{host}:")
    assert told.said[-1] == "Stopped.", "also where no KeyboardInterrupt comes of the signal"


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN], ids=["", "as a shell starts it with &"])
def test_it_answers_until_it_is_stopped(picturebook: CommandLine, handler: signal.Handlers) -> None:
    environment = os.environ | {"PICTUREBOOK_CACHE": str(picturebook.cache), "NO_COLOR": "1", "COLUMNS": "500"}
    process = subprocess.Popen(
        [sys.executable, "-m", "picturebook", "serve", str(picturebook.run), "--port", "0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
    )
    assert process.stderr is not None
    try:
        line = ""
        while "answers at" not in line:
            line = process.stderr.readline()
            assert line, "it ended before it answered"
        address = line.split("answers at ")[1].split()[0]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        picture = (picturebook.data / "apple/00.png").read_bytes()
        with opener.open(urllib.request.Request(f"{address}api/predict?words=secret", data=picture)) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert (out, err.strip()) == ("", "Stopped.")
