import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from picturebook.audit import AuditData, audit_teacher
from picturebook.audit.text_probe import _fit, _with_bias, class_words_in_texts, text_probe
from picturebook.data.texts.masking import class_words, mask_words
from picturebook.types import Queries

K = 4


def vectors(labels: np.ndarray, *, strength: float, seed: int) -> torch.Tensor:
    noise = torch.randn(len(labels), 8, generator=torch.Generator().manual_seed(seed))
    noise[torch.arange(len(labels)), torch.from_numpy(labels)] += strength
    return noise


def bits(strength: float, num: int = 400) -> float:
    labels = np.arange(num) % K
    logs = text_probe(
        vectors(labels, strength=strength, seed=0), labels, vectors(labels, strength=strength, seed=1), num_classes=K, seed=0
    )
    assert np.exp2(logs).sum(axis=1) == pytest.approx(1)
    return float(2 + logs[np.arange(num), labels].mean())


def test_words_that_tell_the_class_have_nearly_log2_k_bits_and_words_that_do_not_have_none() -> None:
    assert bits(10.0) > 1.8
    assert 0.2 < bits(1.5) < 1.8
    assert bits(0.0) == pytest.approx(0, abs=0.1)


def test_a_class_without_training_texts_keeps_a_probability() -> None:
    labels = np.arange(90) % 3
    logs = text_probe(vectors(labels, strength=3, seed=0), labels, torch.zeros(5, 8), num_classes=K, seed=0)
    assert np.isfinite(logs).all()


def test_equal_vectors_and_a_single_training_text_are_no_error() -> None:
    assert np.isfinite(text_probe(torch.ones(1, 3), np.array([1]), torch.ones(2, 3), num_classes=2, seed=0)).all()


def test_class_words_are_found_whole_in_any_case_and_plural() -> None:
    words = [("traffic_light", "semaphore"), ("cat",), ("猫",)]
    sentences = ["Two Traffic-Lights at night", "a caterpillar", "CATS sleep", "a semaphore and a cat", "黒猫です", ""]
    own, any_class = class_words_in_texts(sentences, np.array([0, 1, 1, 1, 2, 0]), words)
    assert own.tolist() == [True, False, True, True, True, False]
    assert any_class.tolist() == [True, False, True, True, True, False]
    own, any_class = class_words_in_texts(["a cat"], np.array([0]), words)
    assert (own.tolist(), any_class.tolist()) == ([False], [True])


def test_of_masked_texts_just_the_words_are_looked_for_that_a_mask_takes_out() -> None:
    names = [("planes",), ("кот",), ("person role",)]
    sentences = ["plans", "a plane", "который", "кот", "a role", "nothing"]
    own, any_class = class_words_in_texts(sentences, np.array([0, 0, 1, 1, 2, 2]), names, masked=True)
    assert own.tolist() == any_class.tolist() == [False, True, False, True, True, False]
    masked = [mask_words(text, class_words(name for of_class in names for name in of_class)) for text in sentences]
    assert not class_words_in_texts(masked, np.zeros(6, dtype=int), names, masked=True)[1].any()


def test_class_words_that_say_nothing_match_nothing() -> None:
    own, any_class = class_words_in_texts(["a cat."], np.array([0]), [("", "_"), ("a.b",)])
    assert not own.any()
    assert not any_class.any()


def audited(**more: object) -> AuditData:
    labels = np.arange(40) % K
    own = vectors(labels, strength=8, seed=1)
    return AuditData(
        tokens=torch.randn(40, 2, 3),
        labels=labels,
        classes=("ant", "bee", "cow", "dog"),
        own=Queries(own[:, None], torch.ones(40, 1, dtype=torch.bool)),
        **more,
    )


def test_the_audit_reports_what_the_words_say_by_themselves() -> None:
    training_labels = np.arange(80) % K
    training = vectors(training_labels, strength=8, seed=0)
    data = audited(
        training_texts=Queries(training[:, None], torch.ones(80, 1, dtype=torch.bool)),
        training_labels=training_labels,
        training_sentences=("an ant", "nothing", "a dog", "nothing") * 20,
        claims_masked=True,
    )
    audit = audit_teacher(lambda positions, tokens, texts: torch.zeros(len(tokens), K), data, kind="label_blind", temperature=1.0)
    assert audit["R13a"].value == pytest.approx(1, abs=0.05)
    assert audit["R13b"].value == pytest.approx(2, abs=0.4)
    assert (audit["R13a"].unit, audit["R13b"].unit) == ("share", "bits")
    assert audit["R13a"].expectation == audit["R13b"].expectation == "report"
    assert "The targets are not calibrated." not in audit.reasons  # a FAIL names failures alone
    assert audit["R14a"].value == 0.25
    assert audit["R14b"].value == 0.5
    assert audit.verdict == "FAIL"
    assert "50.0 % of the texts" in audit.reasons[0]


def test_the_audited_sentences_stand_in_for_training_sentences_and_missing_words_are_said() -> None:
    def answer(positions: torch.Tensor, tokens: torch.Tensor, texts: object) -> torch.Tensor:
        return torch.zeros(len(tokens), K)

    audit = audit_teacher(answer, audited(own_sentences=("a bee",) * 40), kind="unknown", temperature=1.0, num_noise=50)
    assert audit["R14a"].value == 0.25
    assert "audited texts" in audit["R14a"].note
    assert audit["R13a"].value is None
    assert "training rows" in audit["R13a"].note
    assert audit["R13b"].value is None
    assert audit["R13b"].unit == "bits"
    none = audit_teacher(answer, audited(), kind="unknown", temperature=1.0, num_noise=50)
    assert none["R14a"].value is None


def test_class_words_are_looked_for_in_training_and_audited_texts() -> None:
    def answer(positions: torch.Tensor, tokens: torch.Tensor, texts: object) -> torch.Tensor:
        return torch.zeros(len(tokens), K)

    data = audited(
        own_sentences=("a bee",) * 40, training_sentences=("nothing",) * 40, training_labels=np.zeros(40, dtype=np.int64)
    )
    found = audit_teacher(answer, data, kind="unknown", temperature=1.0, num_noise=50)
    assert (found["R14b"].value, found["R14b"].note) == (0.5, "80 texts")


def test_the_probe_is_a_logistic_regression_with_a_penalty_on_all_of_it() -> None:
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    ours = _fit(torch.tensor(inputs, dtype=torch.float32), torch.tensor(targets), 3, 0.05)
    theirs = LogisticRegression(C=1 / (0.05 * 60), fit_intercept=False, tol=1e-10, max_iter=10_000)
    theirs.fit(_with_bias(torch.tensor(inputs)).numpy(), targets)
    np.testing.assert_allclose(ours.numpy().T, theirs.coef_, atol=1e-3)
