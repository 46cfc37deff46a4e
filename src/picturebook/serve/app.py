"""The server: a page, a JSON API, and nothing else that could be asked for."""

from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol, runtime_checkable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from picturebook.serve.guard import Guard, discard_body, read_body
from picturebook.serve.page import Page
from picturebook.serve.refusals import Refusal
from picturebook.serve.waiting import Busy, WaitingRoom


@runtime_checkable  # so that the tests' type checks can look at it
class Answering(Protocol):
    """What is needed of `answers.Answers`; all but `about` may raise a Refusal."""

    def about(self) -> dict[str, Any]: ...

    def predict(self, data: bytes) -> dict[str, Any]: ...

    def look(self, data: bytes, *, words: str) -> dict[str, Any]: ...

    def thumbnail(self, row: int) -> bytes: ...


def build_app(answers: Answering, room: WaitingRoom, *, max_bytes: int, names: Iterable[str] = ("localhost",)) -> Starlette:
    """The ASGI application.

    Args:
        answers: of the run.
        room: where requests wait.
        max_bytes: of a picture's file.
        names: lower-case host names under which it may be asked, beside IP addresses.
    """
    about = {**answers.about(), "max_bytes": max_bytes}
    page = Page(about)

    async def model(request: Request) -> Response:
        return JSONResponse(about)

    async def predict(request: Request) -> Response:
        return await _answer(request, answers.predict)

    async def words(request: Request) -> Response:
        return await _answer(request, partial(answers.look, words=request.query_params.get("words", "")))

    async def _answer(request: Request, work: Callable[[bytes], dict[str, Any]]) -> Response:
        try:
            return JSONResponse(await room.answer(lambda: read_body(request, max_bytes), work))
        except Busy:
            await discard_body(request, max_bytes, seconds=room.seconds)
            busy = "Too many pictures wait already: try again in a second."
            raise Refusal(503, busy, {"Retry-After": "1"}) from None

    async def thumbnail(request: Request) -> Response:
        # Not by the worker: the pictures of an answer must not wait behind the next question.
        content = await run_in_threadpool(answers.thumbnail, request.path_params["row"])
        return Response(content, media_type="image/png")

    def file(content: str, media_type: str) -> Callable[[Request], Response]:
        return lambda request: Response(content, media_type=media_type)

    routes = [
        Route("/", file(page.html, "text/html")),
        Route("/page.js", file(page.script, "text/javascript")),
        Route("/page.css", file(page.style, "text/css")),
        Route("/api/model", model),
        Route("/api/predict", predict, methods=["POST"]),
        Route("/api/words", words, methods=["POST"]),
        Route("/thumbnails/{row:int}", thumbnail),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, names=names)],
        exception_handlers={
            Refusal: _refused,
            HTTPException: _http_error,
            ClientDisconnect: _gone,
            Exception: _own_mistake,
        },
    )


def _refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return JSONResponse({"error": refusal.sentence}, status_code=refusal.status, headers=refusal.headers)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentences = {
        HTTPStatus.NOT_FOUND: "There is nothing at this address: GET /api/model, POST /api/predict or POST /api/words.",
        HTTPStatus.METHOD_NOT_ALLOWED: "This address takes another method: GET /api/model, POST /api/predict or POST /api/words.",
    }
    sentence = sentences.get(HTTPStatus(error.status_code), error.detail)
    return JSONResponse({"error": sentence}, status_code=error.status_code, headers=error.headers)


def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody reads it: the client left before its picture was whole


def _own_mistake(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "Something went wrong here; the terminal of `picturebook serve` says what."}, status_code=500)
