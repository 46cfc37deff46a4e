"""The audit on the toy: verdicts and orderings, not third digits."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from picturebook.audit import Audit

TOY = Path(__file__).parents[2] / "benchmarks" / "audit_toy.py"


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit_toy", TOY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["audit_toy"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


CHANCE = 0.05
LOG2_K = 4.32


def value(audit: Audit, id_: str) -> float:
    found = audit[id_].value
    assert found is not None
    return found


# Part 1: texts unrelated to the evidence


@pytest.mark.parametrize(("strength", "positional"), [(0.0, 0.0), (0.0, 1.0), (2.0, 0.0)])
def test_a_true_text_head_fires_on_noise_swapped_pictures_and_wrong_text_and_passes_blank(
    toy: ModuleType, strength: float, positional: float
) -> None:
    audit = toy.probe_own_text(toy.World.draw(), num=500, strength=strength, positional=positional)
    for id_ in ("R2", "R3", "R4a", "R4b", "R6b"):
        assert value(audit, id_) > 0.85, id_
    assert value(audit, "R6a") < 0.02
    assert value(audit, "R5") == pytest.approx(CHANCE, abs=0.01)  # the false negative
    assert value(audit, "L") > 0.85
    assert audit.verdict == "FAIL"


def test_a_residual_of_the_text_leaks_even_on_a_blank_picture(toy: ModuleType) -> None:
    audit = toy.probe_own_text(toy.World.draw(), num=200, residual=4.0)
    assert value(audit, "R2") > 0.98
    assert value(audit, "R5") > 0.98


def test_a_bank_knows_nothing_of_noise_and_needs_texts_that_fit_the_evidence(toy: ModuleType) -> None:
    world = toy.World.draw()
    noise = toy.probe_bank(world, world.texts, num=1000)
    unrelated = toy.probe_bank(world, world.texts, num=1000, strength=2.0)
    fitting = toy.probe_bank(world, world.evidence, num=1000, strength=2.0)
    assert value(noise, "acc") == pytest.approx(CHANCE, abs=0.025)
    for audit in (noise, unrelated, fitting):
        assert abs(value(audit, "L")) <= 0.02
        assert audit.verdict == "PASS"
    assert value(unrelated, "acc") < 0.1
    assert 0.25 < value(fitting, "acc") < 0.45


# Part 2: the texts are the evidence


@pytest.fixture(scope="module")
def measured(toy: ModuleType) -> dict[str, dict[str, Audit]]:
    world = toy.World.draw()
    return {
        name: {
            "true text": toy.measure_true_text(world, num=1000, strength=strength),
            "bank": toy.measure_bank(world, num=1000, strength=strength),
        }
        for name, strength in toy.EVIDENCE.items()
    }


def test_the_true_text_head_fails_and_the_class_bank_passes_at_every_strength_of_evidence(
    measured: dict[str, dict[str, Audit]],
) -> None:
    verdicts = {name: (audits["true text"].verdict, audits["bank"].verdict) for name, audits in measured.items()}
    assert verdicts == dict.fromkeys(("none", "weak", "strong"), ("FAIL", "PASS"))


def test_evidence_takes_bits_from_the_text_and_gives_them_to_the_picture(measured: dict[str, dict[str, Audit]]) -> None:
    text = [value(measured[name]["true text"], "R8") for name in ("none", "weak", "strong")]
    image = [value(measured[name]["bank"], "R9") for name in ("none", "weak", "strong")]
    assert LOG2_K > text[0] > text[1] > text[2] > 0.2 * LOG2_K
    assert image[0] < 0.15 < 0.9 < image[1] < 2 < 3.5 < image[2] < LOG2_K
    assert all(value(audits["bank"], "R8") == 0 for audits in measured.values())


def test_only_the_bank_tells_more_than_the_label(measured: dict[str, dict[str, Audit]]) -> None:
    for name in ("weak", "strong"):
        told, bank = measured[name]["true text"], measured[name]["bank"]
        assert value(bank, "R10") > 5 * value(told, "R10")
        assert value(bank, "R11a") > 2 * value(told, "R11a")
    assert value(measured["weak"]["bank"], "acc") == pytest.approx(0.337, abs=0.05)
    assert value(measured["strong"]["bank"], "acc") == pytest.approx(0.96, abs=0.03)


def test_the_gap_is_what_being_told_is_worth(measured: dict[str, dict[str, Audit]]) -> None:
    assert value(measured["none"]["true text"], "R12") > 85
    assert value(measured["none"]["true text"], "R12") > value(measured["weak"]["true text"], "R12") > 40


def test_anonymity_turns_the_leak_down_to_one_in_m(toy: ModuleType) -> None:
    world = toy.World.draw()
    leaks = {m: value(toy.measure_anonymous(world, num=500, strength=0.0, num_names=m), "L") for m in (2, 5, 10)}
    assert leaks == pytest.approx({2: 0.47, 5: 0.16, 10: 0.05}, abs=0.05)
    assert leaks[2] > 0.20 > leaks[5] > leaks[10] > 0.02  # by L alone: FAIL, WARN, WARN


def test_image_only_passes_without_words(toy: ModuleType) -> None:
    audit = toy.measure_image_only(toy.World.draw(), num=1000, strength=4.0)
    assert audit.verdict == "PASS"
    assert value(audit, "acc") == pytest.approx(0.403, abs=0.05)
    assert "No words enter" in audit.reasons[0]
