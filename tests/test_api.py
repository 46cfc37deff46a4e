import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

import picturebook
from command_line import CommandLine
from picturebook import Classifier
from picturebook.config import load_options
from picturebook.errors import DataError, ModelError, OptionError, RunError
from picturebook.runs import RunFolder
from picturebook.writing import read_json
from toys import CLASSES, toy_picture

SETTINGS = {
    "precision": "fp32",
    "student.model_args": {"channels": [8, 8, 8, 8]},
    "student.init": "scratch",
    "train.batch_size": 16,
    "train.epochs": 2,
}
NUM_A_CLASS = 16


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, toy_cache: Path) -> None:
    monkeypatch.setenv("PICTUREBOOK_CACHE", str(toy_cache))


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.stack([np.asarray(toy_picture(label, index)) for label in range(3) for index in range(NUM_A_CLASS)])


@pytest.fixture(scope="module")
def names() -> list[str]:
    return [name for name in CLASSES for _ in range(NUM_A_CLASS)]


def classifier(**changes: Any) -> Classifier:
    settings = SETTINGS | changes.pop("settings", {})
    return Classifier("resnet10t", image_size=16, epochs=2, device="cpu", settings=settings, **changes)


@pytest.fixture(scope="module")
def fitted(pictures: np.ndarray, names: list[str]) -> Classifier:
    return classifier().fit(pictures, names)


def test_importing_the_package_imports_no_torch_and_no_pydantic() -> None:
    heavy = ("torch", "pydantic", "numpy", "sklearn", "PIL")
    code = f"import sys, picturebook; dir(picturebook); print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_everything_that_is_promised_is_there_and_nothing_else() -> None:
    for name in picturebook.__all__:
        assert getattr(picturebook, name) is not None
    with pytest.raises(AttributeError, match=r"no attribute 'Clasifier'"):
        picturebook.Clasifier  # noqa: B018 - looking is what is tested


def test_arrays_and_names_give_probabilities_in_the_order_of_the_sorted_names(
    fitted: Classifier, pictures: np.ndarray, names: list[str]
) -> None:
    assert fitted.classes_.tolist() == sorted(CLASSES)
    assert fitted.run_ is None
    probabilities = fitted.predict_proba(pictures)
    assert probabilities.shape == (len(pictures), 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
    predicted = fitted.predict(pictures)
    assert predicted.tolist() == fitted.classes_[probabilities.argmax(axis=1)].tolist()
    assert fitted.score(pictures, names) == np.mean(predicted == np.array(names))


def test_a_picture_is_the_same_as_path_image_and_array(fitted: Classifier, pictures: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(pictures[0]).save(tmp_path / "one picture 🙂.png")
    forms = [str(tmp_path / "one picture 🙂.png"), tmp_path / "one picture 🙂.png", Image.fromarray(pictures[0]), pictures[0]]
    answers = fitted.predict_proba(forms)
    np.testing.assert_allclose(answers, np.repeat(answers[:1], 4, axis=0), rtol=1e-6)
    cmyk = fitted.predict_proba([Image.fromarray(pictures[0]).convert("CMYK")])
    assert cmyk.shape == (1, 3)


def test_probabilities_are_calibrated_as_the_student_says(fitted: Classifier, pictures: np.ndarray) -> None:
    student = fitted._student
    assert student is not None
    assert student.temperature is not None
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255.0
    expected = (student.encoder(images) / student.temperature).softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(fitted.predict_proba(pictures), expected, rtol=1e-4, atol=1e-6)


def test_whole_numbers_stay_whole_numbers_in_their_own_order_also_on_disk(pictures: np.ndarray, tmp_path: Path) -> None:
    numbers = np.repeat([10, 9, 2], NUM_A_CLASS)
    out = tmp_path / "run"
    model = classifier(out=out, seed=1).fit(pictures, numbers)
    assert model.classes_.tolist() == [2, 9, 10]
    assert model._answerer.classes == ("10", "2", "9")
    expected = model.predict(pictures)
    assert expected.dtype.kind == "i"
    model.save(tmp_path / "saved")
    for path in (out, out / "student", tmp_path / "saved"):
        loaded = Classifier.load(path)
        assert loaded.classes_.tolist() == [2, 9, 10]
        np.testing.assert_array_equal(loaded.predict_proba(pictures), model.predict_proba(pictures))
    assert Classifier.load(out).run_ == out
    assert RunFolder.open(out).damage() is None
    assert read_json(out / "results.json")["models"]["student"].keys() == {"val"}
    with pytest.raises(RunError, match=r"exists already"):
        classifier(out=out).fit(pictures, numbers)


def test_an_onnx_file_answers_as_its_run(picturebook: CommandLine) -> None:
    (file,) = (picturebook.exported / "export").glob("*.onnx")
    images = [str(path) for path in sorted((picturebook.data / CLASSES[0]).glob("*.png"))]
    onnx, run = Classifier.load(file), Classifier.load(picturebook.exported)
    assert onnx.classes_.tolist() == run.classes_.tolist() == list(CLASSES)
    np.testing.assert_allclose(onnx.predict_proba(images), run.predict_proba(images), atol=1e-4)
    with pytest.raises(ModelError, match=r"copy that file"):
        onnx.save("anywhere")


def test_parameters_are_kept_as_given_and_clone_and_pickle_work(fitted: Classifier, pictures: np.ndarray) -> None:
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(pictures)
    with pytest.raises(NotFittedError):
        copy.save("anywhere")
    assert copy.set_params(seed=7).get_params()["seed"] == 7
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(pictures), fitted.predict_proba(pictures))


def test_the_same_seed_gives_the_same_classifier(fitted: Classifier, pictures: np.ndarray, names: list[str]) -> None:
    np.testing.assert_array_equal(clone(fitted).fit(pictures, names).predict_proba(pictures), fitted.predict_proba(pictures))


def test_a_grid_search_takes_numbers_of_numpy(pictures: np.ndarray, names: list[str]) -> None:
    search = GridSearchCV(classifier(), {"seed": np.array([1])}, cv=2, error_score="raise")
    search.fit(list(pictures), names)
    assert search.best_estimator_.predict(pictures[:2]).shape == (2,)


def test_groups_stay_together_when_validation_pictures_are_put_aside(
    pictures: np.ndarray, names: list[str], tmp_path: Path
) -> None:
    groups = [index // 4 for index in range(len(names))]
    classifier(out=tmp_path / "run").fit(pictures, names, groups=groups)
    assert load_options(tmp_path / "run" / "run.toml").data.split.by == "group"


def test_words_beside_the_pictures_teach_through_an_image_text_teacher(
    pictures: np.ndarray, names: list[str], toy_text_encoder: Path, tmp_path: Path
) -> None:
    settings = {
        "teacher.text_encoder": toy_text_encoder,
        "teacher.head.width": 16,
        "teacher.head.num_heads": 2,
        "teacher.train.epochs": 1,
    }
    texts = [f"a photo of {('one', 'two', 'three')[index % 3]}" for index in range(len(names))]
    model = classifier(recipe="image_text", settings=settings, out=tmp_path / "run").fit(pictures, names, text=texts)
    assert model.predict(pictures[:3]).shape == (3,)
    text = load_options(tmp_path / "run" / "run.toml").model_dump()["text"]
    assert (text["source"], text["column"], text["kind"]) == ("column", "text", "unknown")


def broken_file(tmp_path: Path) -> str:
    path = tmp_path / "broken.png"
    path.write_bytes(b"no picture")
    return str(path)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"y": ["a"] * 48}, r"y has one class, a: a classifier needs two at least"),
        ({"y": ["a", "b"]}, r"one label for each of 48 pictures, got shape \[2\]"),
        ({"y": np.zeros((48, 2), int)}, r"one label for each of 48 pictures, got shape \[48, 2\]"),
        ({"y": np.linspace(0, 1, 48)}, r"texts or whole numbers as labels, got float64"),
        ({"y": np.array(["a", None] * 24, dtype=object)}, r"got None among others"),
        ({"y": ["a", " "] * 24}, r"has no name, or blanks at its ends: ' '"),
        ({"text": ["a"]}, r"text: expected one for each of 48 pictures, got 1"),
        ({"groups": ["a"]}, r"groups: expected one for each of 48 pictures, got 1"),
        ({"X": "birds/"}, r"got one path, birds/: put it in a list"),
        ({"X": np.zeros((48, 3, 16, 16), np.float32)}, r"got float32 \[48, 3, 16, 16\]"),
        ({"X": []}, r"got none"),
        ({"X": ["nowhere.png"] * 48}, r"X\[0\]: there is no file nowhere.png"),
        ({"X": [np.zeros((4, 4), np.uint8)] * 48}, r"X\[0\]: expected a uint8 array \[height, width, 3\].*got uint8 \[4, 4\]"),
        ({"X": [torch.zeros(3, 4, 4)] * 48}, r"X\[0\]: expected a path, a PIL image or a uint8 array.*got Tensor"),
    ],
)
def test_pictures_and_labels_that_do_not_fit_are_refused_in_a_sentence(
    given: dict[str, Any], sentence: str, pictures: np.ndarray, names: list[str], tmp_path: Path
) -> None:
    arguments = {"X": pictures, "y": names, "text": None, "groups": None} | given
    with pytest.raises(DataError, match=sentence):
        classifier(out=tmp_path / "run").fit(arguments.pop("X"), arguments.pop("y"), **arguments)
    assert not list(tmp_path.iterdir())


def test_what_cannot_take_effect_is_refused_before_anything_is_kept(
    pictures: np.ndarray, names: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(OptionError, match=r"'supervised' reads no words: leave text out, or take one of .*image_text"):
        classifier(out=out).fit(pictures, names, text=["a photo"] * len(names))
    with pytest.raises(OptionError, match=r"Did you mean 'supervised'"):
        classifier(out=out, recipe="supervise").fit(pictures, names)
    with pytest.raises(OptionError, match=r"train.epoch: There is no setting 'epoch'. Did you mean 'epochs'"):
        classifier(out=out, settings={"train.epoch": 3}).fit(pictures, names)
    with pytest.raises(OptionError, match=r"settings: seed is a value, not a table"):
        classifier(out=out, settings={"seed.x": 3}).fit(pictures, names)
    with pytest.raises(OptionError, match=r"settings: recipe is said by an argument of its own"):
        classifier(out=out, settings={"recipe": "distil"}).fit(pictures, names)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_read_is_named_when_it_is_asked_for(fitted: Classifier, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"X\[0\] \(.*broken.png\) gives no picture: not an image"):
        fitted.predict([broken_file(tmp_path)])
