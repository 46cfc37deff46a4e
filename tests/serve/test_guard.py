"""Who may ask: names of this server, and pages of its own."""

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from picturebook.serve.guard import is_address

ClientOf = Callable[[str], TestClient]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8000", "LOCALHOST.", "[::1]:8000", "192.168.1.7"])
def test_its_own_names_and_addresses_pass(client_of: ClientOf, host: str) -> None:
    assert client_of("supervised").get("/api/model", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "evil.example:8000", "", "[::1", "a b", "localhost:x"],
)
def test_other_names_do_not(client_of: ClientOf, host: str, apple: bytes) -> None:
    for path in ("/", "/api/model", "/thumbnails/0"):
        answer = client_of("supervised").get(path, headers={"Host": host})
        assert answer.status_code == 421
        assert answer.json()["error"].startswith("This server does not go by that name")
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://127.0.0.1:8000", 200),
        ("http://127.0.0.1:9000", 403),
        ("http://evil.example", 403),
        ("null", 403),
    ],
)
def test_another_page_may_not_ask(client_of: ClientOf, apple: bytes, origin: str | None, status: int) -> None:
    headers = {"Host": "127.0.0.1:8000"} | ({} if origin is None else {"Origin": origin})
    assert client_of("supervised").post("/api/predict", content=apple, headers=headers).status_code == status


def test_addresses_are_told_from_names() -> None:
    assert [name for name in ("10.0.0.1", "::1", "localhost", "1.2.3", "") if is_address(name)] == ["10.0.0.1", "::1"]
