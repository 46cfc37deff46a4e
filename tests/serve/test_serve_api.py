"""The JSON API, asked as a program would."""

import base64
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from command_line import contents
from picturebook.evaluate import Classifier
from picturebook.models.image_encoders import create_image_encoder
from picturebook.predict import predict_files
from picturebook.runs import RunFolder
from picturebook.serve.answers import Answers
from picturebook.types import Silence
from served import MAX_BYTES, SVG, ZIP, app_of, bomb
from toys import CLASSES, toy_picture

ClientOf = Callable[[str], TestClient]


def test_it_says_what_predict_says(
    client_of: ClientOf, finished_run: Callable[[str], RunFolder], apple: bytes, toy_data: Path
) -> None:
    answer = client_of("supervised").post("/api/predict", content=apple)
    assert answer.status_code == 200
    (expected,) = predict_files(finished_run("supervised").path, [toy_data / "apple/03.png"], top=3, reporter=Silence())
    classes = answer.json()["classes"]
    assert [one["name"] for one in classes] == list(expected.classes)
    assert [one["probability"] for one in classes] == pytest.approx(expected.probabilities, abs=1e-5)
    assert sum(one["probability"] for one in classes) == pytest.approx(1, abs=1e-5)


def test_a_training_picture_is_its_own_nearest_neighbour(client_of: ClientOf, answers_of: Callable[[str], Answers]) -> None:
    client, neighbours = client_of("supervised"), answers_of("supervised").neighbours
    assert neighbours is not None
    row = int(neighbours._rows[5])
    name = neighbours._pictures.names[row]
    near = client.post("/api/predict", content=neighbours._pictures.read(row)).json()["neighbours"]
    assert len(near) == 6
    assert near[0] == {
        "row": row,
        "name": name,
        "label": name.split("/")[0],
        "similarity": pytest.approx(1, abs=1e-3),
        "thumbnail": f"/thumbnails/{row}",
    }
    similarities = [one["similarity"] for one in near]
    assert similarities == sorted(similarities, reverse=True)
    thumbnail = client.get(near[0]["thumbnail"])
    assert thumbnail.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(thumbnail.content)).size == (192, 192)


def test_only_training_pictures_have_thumbnails(client_of: ClientOf, answers_of: Callable[[str], Answers]) -> None:
    neighbours = answers_of("supervised").neighbours
    assert neighbours is not None
    held_out = neighbours._pictures.rows["test"][0]
    for row in (held_out, 10**6, "x", "../run.toml", "%2e%2e/run.toml"):
        answer = client_of("supervised").get(f"/thumbnails/{row}")
        assert answer.status_code == 404
        assert answer.json()["error"].endswith(".")


def test_what_the_model_sees_is_the_square_in_the_middle(client_of: ClientOf) -> None:
    buffer = io.BytesIO()
    pixels = np.zeros((16, 48, 3), np.uint8)
    pixels[:, 16:32] = 255
    Image.fromarray(pixels).save(buffer, "PNG")
    answer = client_of("supervised").post("/api/predict", content=buffer.getvalue()).json()
    assert (answer["height"], answer["width"]) == (16, 48)
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["seen"].split(",")[1]))))
    assert seen.shape == (16, 16, 3)
    assert seen[:, 2:-2].min() > 200


def test_where_the_model_looks_goes_with_its_first_answer(apple: bytes) -> None:
    encoder = create_image_encoder(
        "resnet10t", num_classes=3, image_size=16, model_args={"channels": [8, 8, 8, 16], "output_stride": 8}, seed=1
    ).eval()
    answers = Answers("toy", Classifier(encoder, CLASSES, 32, None, np.empty(0, np.int64)), None, None, "", None, "")
    answer = answers.predict(apple)
    _, images = answers._look_at(apple)
    best = CLASSES.index(answer["classes"][0]["name"])
    evidence = encoder.class_activation(images, torch.tensor([best]))[0].clamp(min=0).double()
    assert evidence.any()
    np.testing.assert_allclose(answer["looks"]["weights"], evidence / evidence.sum(), atol=1e-6)
    assert Image.open(io.BytesIO(base64.b64decode(answer["looks"]["overlay"].split(",")[1]))).size == (256, 256)


@pytest.mark.parametrize(("case", "reason"), [("supervised", "one place alone"), ("own", "reads a token of its own")])
def test_a_model_without_such_a_map_says_why(client_of: ClientOf, apple: bytes, case: str, reason: str) -> None:
    looks = client_of(case).post("/api/predict", content=apple).json()["looks"]
    assert reason in looks["problem"]
    assert "overlay" not in looks


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_content_decides_and_not_the_declared_type(client_of: ClientOf, kind: str) -> None:
    buffer = io.BytesIO()
    toy_picture(0, 3).save(buffer, kind)
    answer = client_of("supervised").post("/api/predict", content=buffer.getvalue(), headers={"Content-Type": "text/html"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (SVG, 415, "This is no picture that can be read here"),
        (ZIP, 415, "This is no picture that can be read here"),
        (b"<html></html>", 415, "This is no picture that can be read here"),
        (b"", 422, "This file is empty"),
        (bomb(), 422, "This picture has too many pixels"),
        (bytes(MAX_BYTES + 1), 413, "This file is too large: at most 0.1 MB are read."),
    ],
)
def test_a_hostile_file_gets_a_sentence(client_of: ClientOf, content: bytes, status: int, sentence: str) -> None:
    for path in ("/api/predict", "/api/words?words=one"):
        answer = client_of("own").post(path, content=content, headers={"Content-Type": "image/png"})
        assert answer.status_code == status
        assert answer.json()["error"].startswith(sentence)


def test_a_picture_cut_off_gets_a_sentence(client_of: ClientOf, apple: bytes) -> None:
    answer = client_of("supervised").post("/api/predict", content=apple[: len(apple) // 2])
    assert answer.status_code == 422
    assert "cannot be read" in answer.json()["error"]


def test_a_body_without_a_length_is_counted_while_it_comes(client_of: ClientOf) -> None:
    sent = []

    def body() -> object:
        for _ in range(1000):
            sent.append(1)
            yield bytes(1000)

    answer = client_of("supervised").post("/api/predict", content=body())
    assert answer.status_code == 413


@pytest.mark.parametrize(("mode", "side"), [("own", 4), ("bank", 4)])
def test_words_get_a_map(client_of: ClientOf, apple: bytes, mode: str, side: int) -> None:
    client = client_of(mode)
    maps = {}
    for words in ("a photo of one", "a photo of three"):
        answer = client.post("/api/words", params={"words": words}, content=apple)
        assert answer.status_code == 200
        weights = np.array(answer.json()["weights"])
        assert weights.shape == (side, side)
        assert weights.sum() == pytest.approx(1, abs=1e-4)
        assert answer.json()["overlay"].startswith("data:image/png;base64,")
        maps[words] = weights
    assert len({found.tobytes() for found in maps.values()}) == 2


@pytest.mark.parametrize(("words", "letters"), [("", 0), ("  \n ", 0), ("a" * 1001, 1001)])
def test_no_words_and_too_many_are_refused(client_of: ClientOf, apple: bytes, words: str, letters: int) -> None:
    answer = client_of("own").post("/api/words", params={"words": words}, content=apple)
    assert answer.status_code == 422
    assert f"got {letters}" in answer.json()["error"]


@pytest.mark.parametrize("case", ["supervised", "linear", "distil"])
def test_a_run_without_words_says_so(client_of: ClientOf, apple: bytes, case: str) -> None:
    client = client_of(case)
    assert client.get("/api/model").json()["words"] == {"available": False, "problem": "", "note": ""}
    assert client.post("/api/words?words=one", content=apple).json() == {"error": "This run has no teacher that reads words."}
    assert "Where words look" not in client.get("/").text


def test_the_model_is_told(client_of: ClientOf) -> None:
    about = client_of("own").get("/api/model").json()
    assert about["classes"] == list(CLASSES)
    assert about["model"] == "vit_tiny_patch16_224"
    assert about["max_bytes"] == MAX_BYTES
    assert about["words"]["available"]
    assert about["neighbours"]["pictures"] > 0
    assert 0 <= about["test"]["low"] <= about["test"]["accuracy"] <= about["test"]["high"] <= 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/predict", 405), ("POST", "/api/model", 405), ("GET", "/run.toml", 404), ("GET", "/../run.toml", 404)],
)
def test_other_addresses_and_methods_get_a_sentence(client_of: ClientOf, method: str, path: str, status: int) -> None:
    answer = client_of("supervised").request(method, path)
    assert answer.status_code == status
    assert "POST /api/predict" in answer.json()["error"]


def test_the_page_is_whole_and_forbids_the_rest(client_of: ClientOf) -> None:
    client = client_of("own")
    for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")):
        answer = client.get(path)
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert "set-cookie" not in answer.headers
        assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in answer.text


def test_nothing_of_a_picture_is_kept(
    client_of: ClientOf,
    finished_run: Callable[[str], RunFolder],
    toy_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    client, run = client_of("own"), finished_run("own")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    picture = io.BytesIO()
    toy_picture(1, 77).save(picture, "PNG")
    before = contents(run.path), contents(toy_cache)
    for content in (picture.getvalue(), SVG, bomb(), bytes(MAX_BYTES + 1)):
        client.post("/api/predict", content=content)
        client.post("/api/words?words=three+secret", content=content)
    assert (contents(run.path), contents(toy_cache)) == before
    assert list(tmp_path.iterdir()) == []
    assert [record for record in caplog.records if record.name.startswith(("uvicorn", "picturebook"))] == []
    assert capfd.readouterr() == ("", "")


def test_an_own_mistake_is_a_sentence_too(answers_of: Callable[[str], Answers], apple: bytes) -> None:
    class Broken:
        about = staticmethod(answers_of("supervised").about)

        def predict(self, data: bytes) -> dict[str, object]:
            raise RuntimeError("/home/somebody/secret")

        look = thumbnail = predict

    with app_of(Broken()) as app:
        answer = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False).post("/api/predict", content=apple)
    assert answer.status_code == 500
    assert answer.json() == {"error": "Something went wrong here; the terminal of `picturebook serve` says what."}
