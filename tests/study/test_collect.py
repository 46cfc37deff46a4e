"""docs/results.md and docs/results.json from toy studies: their shape, verdicts, costs and the field study's levels."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tomlkit
from toy_study import Pretending, strict_json, study

from picturebook.study.cells import Cell
from picturebook.study.command import compare
from picturebook.types import Silence
from picturebook.writing import read_json, write_json

STUDIES = Path(__file__).parents[2] / "benchmarks" / "studies"
CONTRAST = ["study", "data", "family", "setting", "contrast", "mean", "low", "high", "n", "p", "audit", "command", "commit"]
ARM = ["study", "data", "family", "setting", "arm", "mean", "sd", "n", "seconds", "commit"]
WORDS = {"source": "column", "column": "text", "kind": "label_blind"}
FIELD: dict[str, dict[str, Any]] = {
    "supervised": {"recipe": "supervised"},
    "again": {"recipe": "born_again", "teacher.run": "{arm:supervised@next}"},
    "be_your_own_teacher": {"recipe": "be_your_own_teacher"},
    "labelled_25": {"recipe": "supervised", "data.supervision": {"labelled_share": 0.25, "unlabelled": "drop"}},
    "noisy_student_25": {
        "recipe": "noisy_student", "data.supervision.labelled_share": 0.25, "teacher.run": "{arm:labelled_25@next}",
    },
    "dino": {"recipe": "dino", "crops.local_size": 16},
    "coca": {"recipe": "coca", "text": {"source": "column", "column": "text"}},
}  # fmt: skip
BESIDE = {
    "dino": {"linear probe": 0.42, "linear probe of random features": 0.3},
    "coca": {"zero-shot": 0.5},
}
ACCURACY = {("supervised", 1): 0.9, ("labelled_25", 0): 0.6, ("labelled_25", 1): 0.4, ("noisy_student_25", 0): 0.45}


class WithModels(Pretending):
    """A training that also measured the models that an arm has beside its student, and captions."""

    def __init__(self, beside: dict[str, dict[str, float]]) -> None:
        super().__init__(lambda cell: ACCURACY.get((cell.arm, cell.seed), 0.5))
        self.beside = beside

    def finish(self, cell: Cell) -> None:
        super().finish(cell)
        found = read_json(cell.run.results)
        found["models"] |= {model: {"test": {"accuracy": value}} for model, value in self.beside.get(cell.arm, {}).items()}
        found["captions"] = {"share_a_content_word": 0.5, "shuffled": 0.3, "p": 0.001} if cell.arm == "coca" else None
        write_json(cell.run.results, found)


@pytest.fixture
def collect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script, by the name under which its neighbours stand beside it, and forgotten afterwards."""
    monkeypatch.syspath_prepend(str(STUDIES))
    monkeypatch.chdir(tmp_path)
    for name in ("studies", "docs"):
        (tmp_path / name).mkdir()
    before = set(sys.modules)
    yield importlib.import_module("collect")
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(STUDIES)):
            del sys.modules[name]


Results = tuple[dict[str, Any], str]
Collects = Callable[..., Results]


@pytest.fixture
def collected(collect: ModuleType, tmp_path: Path) -> Collects:
    """Runs a toy study and gives what stands in results.json and results.md."""

    def collected(name: str, runner: Pretending, **changes: Any) -> Results:
        file = Path("studies") / f"{name}.toml"
        changes["labels"] = {"study": name, "family": "resnet"} | changes.get("labels", {})
        file.write_text(tomlkit.dumps(study(f"runs/{name}", keep=f"kept/{name}", **changes)))
        assert compare(file, reporter=Silence(), runner=runner).failure is None
        collect.main(tmp_path / "studies", tmp_path / "docs")
        return strict_json(tmp_path / "docs" / "results.json"), (tmp_path / "docs" / "results.md").read_text()

    return collected


def line(page: str, start: str) -> list[str]:
    """Cells of the one line of the tables that begins so."""
    (found,) = [text for text in page.splitlines() if text.startswith(f"| {start} |")]
    return [cell.strip() for cell in found.strip("|").split(" | ")]


def wobbling(cell: Cell) -> float:
    return 0.5 + 0.02 * (cell.seed % 3) + (0.1 * (cell.seed % 2 + 1) if cell.arm == "again" else 0.0)


def test_both_files_have_their_shape_and_image_only_contrasts_pass(collected: Collects, tmp_path: Path) -> None:
    arms = {"supervised": FIELD["supervised"], "again": FIELD["again"]}
    found, page = collected("toy", Pretending(wobbling), arms=arms, seeds=list(range(8)))
    (contrast,), (supervised, again) = found["contrasts"], found["arms"]
    assert list(contrast)[: len(CONTRAST)] == CONTRAST
    assert list(again)[: len(ARM)] == ARM
    assert (contrast["audit"], contrast["setting"], contrast["n"]) == ("PASS", "none", 8)
    assert contrast["command"] == "picturebook compare studies/toy.toml"
    assert (found["levels"], found["beside"]) == ([], [])
    assert (tmp_path / "docs" / "results" / "toy_resnet.svg").read_text().startswith("<")
    assert "![toy, resnet: differences with intervals](results/toy_resnet.svg)" in page
    cells = line(page, "none | again - supervised")
    assert cells[-3:] == ["< 0.001", "PASS", "again is better"]
    first = line(page.partition("## toy, resnet")[0], "toy, resnet | none | again - supervised")
    assert first[-7:] == cells[-7:]
    assert "no claim" not in page
    assert (supervised["teacher_seconds"], again["teacher_seconds"]) == (0.0 + 2.0, 2.0 + 12.0)
    assert line(page, "none | again")[4:8] == ["1.00", "10.0", "14", "14"]
    assert (again["nll"], again["ece"]) == (1.0, 10.0)


def test_few_seeds_unequal_budgets_and_unaudited_words_are_told(collected: Collects) -> None:
    aligned = {"recipe": "distil", "alignment_text": WORDS, "loss.alignment.weight": 0.5}
    arms = {
        "image": {"recipe": "distil", "teacher.image_encoder": "package:efficientnet-lite0"},
        "long": {"recipe": "distil", "train.epochs": 4},
        "aligned": aligned,
        "blind": {"recipe": "image_text", "text.source": "none", "teacher.head.mode": "learned"},
        "taught": {"recipe": "born_again", "teacher.run": "{arm:aligned@next}"},
    }
    found, page = collected("few", Pretending(), arms=arms)
    assert {one["a"]: one["audit"] for one in map(_pair, found["contrasts"])} == {
        "long": "PASS", "aligned": "WARN", "blind": "PASS", "taught": "WARN",
    }  # fmt: skip
    assert {one["arm"]: one["setting"] for one in found["arms"]} == {
        "image": "pretrained", "long": "paper", "aligned": "paper", "blind": "paper", "taught": "none",
    }  # fmt: skip
    assert found["arms"][1]["marks"] == ["unequal budget: steps 40, not 20, epochs 4, not 2, views 4, not 2"]
    assert line(page, "paper | long")[8] == "⚠ unequal budget: steps 40, not 20, epochs 4, not 2, views 4, not 2"
    said = line(page, "paper | long - image")[-1]
    assert said.startswith("no claim under 8 seeds; ⚠ unequal budgets: steps, epochs, views; ⚠ both are right on the same")
    assert "may be claimed" not in page
    assert line(page, "pretrained | taught - image")[-1].startswith("no claim under 8 seeds; ⚠ both are right on the same")


def _pair(contrast: dict[str, Any]) -> dict[str, Any]:
    return contrast | {"a": contrast["contrast"].partition(" - ")[0]}


def test_an_audit_decides_and_a_studys_own_setting_is_everyones(collected: Collects) -> None:
    class Audited(Pretending):
        def finish(self, cell: Cell) -> None:
            super().finish(cell)
            if cell.arm != "image":
                write_json(cell.run.audit, {"verdict": "PASS" if cell.arm == "clean" else "FAIL", "reasons": []})

    words = {"recipe": "image_text", "text": WORDS, "teacher.head.mode": "own", "train.learning_rate": 0.01}
    arms = {"image": {"recipe": "distil"}, "clean": words, "leaky": words | {"train.learning_rate": 0.02}}
    found, _ = collected("words", Audited(), arms=arms, labels={"setting": "paper"})
    assert [one["audit"] for one in found["contrasts"]] == ["PASS", "FAIL"]
    assert {one["setting"] for one in (*found["contrasts"], *found["arms"])} == {"paper"}


@pytest.mark.parametrize(
    ("beside", "noisy"),
    [
        (BESIDE, ("45.0, level 40.0", True)),  # labelled_25 of seed 1, its teacher, not of seed 0
        (BESIDE | {"noisy_student_25": {"iteration 0": 0.5}}, ("45.0, level 50.0", False)),
    ],
)
def test_the_field_studys_levels_are_of_its_own_seeds(
    collected: Collects, beside: dict[str, dict[str, float]], noisy: tuple[str, bool]
) -> None:
    found, page = collected("field", WithModels(beside), arms=FIELD, seeds=[0])
    levels = {one["level"].partition(":")[0]: (one["found"], one["met"]) for one in found["levels"]}
    assert levels == {
        "Be Your Own Teacher, last exit": ("50.0, level 47.5", True),  # with the teacher of seed 1 it would be 67.5
        "Noisy Student, 25 % of the labels": noisy,
        "DINO, linear probe": ("42.0, level 40.0", True),
        **dict.fromkeys(("CLIP, zero-shot", "ALIGN, zero-shot", "SigLIP, zero-shot"), ("not measured", False)),
        "CoCa, zero-shot": ("50.0, level 166.7", False),
        "CoCa, captions, seed 0": ("0.500, shuffled 0.300, p = 0.0010", True),
    }
    assert {(one["study"], one["data"], one["family"]) for one in found["levels"]} == {("field", "birds", "resnet")}
    assert line(page, "CLIP, zero-shot: at least 5 times chance")[1:] == ["not measured", "0", "–"]
    assert line(page, "CoCa, zero-shot: at least 5 times chance")[1:] == ["50.0, level 166.7", "1", "**not met**"]
    assert line(page, "dino | linear probe")[2:] == ["1", "42.0"]
    assert {(one["arm"], one["model"]) for one in found["beside"]} == {(arm, name) for arm in beside for name in beside[arm]}
    coca = next(one for one in found["contrasts"] if one["contrast"] == "coca - supervised")
    assert coca["audit"] == "WARN"  # it reads pairs, which nobody audited
    assert any("unequal budgets: pretraining steps" in mark for mark in coca["marks"])
    assert "20 steps of 16 pictures in 2 epochs, 2 views of a picture, 16 px, 1,000 parameters" in page
    budgets = {one["arm"]: one["budget"] for one in found["arms"]}
    assert budgets["supervised"]["pretraining_steps"] == 0 < budgets["coca"]["pretraining_steps"]


def test_the_interval_of_two_exits_is_over_seeds(collect: ModuleType) -> None:
    levels = importlib.import_module("field_levels")
    accuracies = {"supervised": {"student": {0: 50.0}}, "be_your_own_teacher": {"student": {0: 46.0, 1: 48.0}}}
    found = next(levels.levels(levels.Found(accuracies=accuracies)))
    assert (found.found, found.met, found.n) == ("47.0, level 36.8", True, 2)  # t(.975, 1) = 12.706, times 1


def test_the_ground_studys_teachers_cost_what_their_runs_did(collect: ModuleType, tmp_path: Path) -> None:
    def left(arm: str, seed: int, **seconds: float) -> None:
        models = {"student": {"test": {"accuracy": 0.5 + 0.01 * seed, "nll": 1.0, "ece": 0.1}}}
        known = {"commit": "abc1234", "family": "resnet", "arm": arm, "seed": seed, "models": models}
        file = tmp_path / "ground" / "resnet" / arm / f"seed{seed}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(known | {"seconds": {"decode": 1.0, "student": 10.0} | seconds}))

    for seed in (0, 1):
        left("supervised", seed)
        left("born_again", seed, targets=2.0)
        left("paper-own", seed, head=3.0)
    left("pretrained-linear", 0, head=5.0)
    left("pretrained-linear", 1, head=7.0)
    found = collect.ground(tmp_path / "ground")
    assert {one["arm"]: (one["setting"], one["teacher_seconds"]) for one in found.arms} == {
        "supervised": ("none", 0.0),
        "born_again": ("none", 12.0),
        "paper-own": ("paper", 13.0),  # seed 1's teacher, seed 2, is not there
        "pretrained-linear": ("pretrained", 6.0),
    }
    assert {one["contrast"]: (one["audit"], one["reading"]) for one in found.contrasts} == {
        "born_again - supervised": ("PASS", "no claim under 8 seeds"),
        "paper-own - born_again": ("WARN", "no claim under 8 seeds"),
        "pretrained-linear - born_again": ("PASS", "no claim under 8 seeds"),
    }
