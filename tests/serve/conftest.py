from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from picturebook.runs import RunFolder
from picturebook.serve.answers import Answers
from served import app_of, open_run


@pytest.fixture(scope="session")
def answers_of(finished_run: Callable[[str], RunFolder], toy_cache: Path) -> Callable[[str], Answers]:
    """The run of a case (toy_runs.RECIPE_CASES), open; once in the session."""
    opened: dict[str, Answers] = {}

    def answers(case: str) -> Answers:
        if case not in opened:
            opened[case] = open_run(finished_run(case), toy_cache)
        return opened[case]

    return answers


@pytest.fixture
def client_of(answers_of: Callable[[str], Answers]) -> Iterator[Callable[[str], TestClient]]:
    """A client that asks the run of a case."""
    open_apps = []

    def client(case: str) -> TestClient:
        manager = app_of(answers_of(case))
        open_apps.append(manager)
        return TestClient(manager.__enter__(), base_url="http://127.0.0.1")

    yield client
    for manager in open_apps:
        manager.__exit__(None, None, None)


@pytest.fixture
def apple(toy_data: Path) -> bytes:
    """A training or test picture of an apple, as a file's bytes."""
    return (toy_data / "apple" / "03.png").read_bytes()
