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


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 200),
        ("GET", "/api/model", {}, 200),
        ("GET", "/thumbnails/0", {"Origin": "http://evil.example"}, 403),
        ("GET", "/static/", {}, 404),
        ("GET", "/..%2f..%2fetc/passwd", {}, 404),
        ("GET", "/thumbnails/..%2f..%2frun.toml", {}, 404),
        ("OPTIONS", "/api/predict", {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}, 403),
        ("OPTIONS", "/api/predict", {}, 405),
        ("POST", "/api/predict", {}, 422),
        ("GET", "/", {"Host": "evil.example"}, 421),
    ],
)
def test_every_answer_is_for_this_servers_page_alone(
    client_of: ClientOf, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = client_of("supervised").request(method, path, headers=headers)
    assert answer.status_code == status
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert not any("unsafe" in sources or "*" in sources or "http" in sources for sources in policy.values())
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    assert not any(name.startswith("access-control-") for name in answer.headers)  # no other site may read an answer
    assert {"set-cookie", "server", "x-powered-by"}.isdisjoint(answer.headers)


def test_addresses_are_told_from_names() -> None:
    assert [name for name in ("10.0.0.1", "::1", "localhost", "1.2.3", "") if is_address(name)] == ["10.0.0.1", "::1"]
