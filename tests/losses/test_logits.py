import numpy as np
import pytest
import torch
from loss_cases import SHAPES, normal, pairs

from picturebook.losses import distillation_kl, mix_logits, permute_non_targets, standardise_logits


def slow_standardise(row: np.ndarray) -> np.ndarray:
    mean = sum(row) / len(row)
    return (row - mean) / np.sqrt(sum((row - mean) ** 2) / len(row))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_largest_logit_stays_and_the_others_are_the_same_numbers(shape: tuple[int, int]) -> None:
    logits = torch.tensor(normal(shape)[0])
    permuted = permute_non_targets(logits)
    assert permuted.dtype == logits.dtype
    rows = torch.arange(len(logits))
    assert torch.equal(permuted[rows, logits.argmax(1)], logits.max(1).values)
    assert torch.equal(permuted.sort(dim=1).values, logits.sort(dim=1).values)


def test_every_arrangement_of_the_others_is_as_likely_in_every_row() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([[0.0, 9.0, 1.0, 2.0], [3.0, 0.0, 1.0, 2.0]]).repeat(3000, 1)
    permuted = permute_non_targets(logits)
    for row in (0, 1):
        arrangements, counts = permuted[row::2].unique(dim=0, return_counts=True)
        assert len(arrangements) == 6
        assert counts.sum() == 3000
        assert (counts - 500).abs().max() < 100  # five standard deviations
    changed_alike = (permuted[0::2][:, [0, 2, 3]] == permuted[1::2][:, [1, 2, 3]]).all(dim=1).float().mean()
    assert changed_alike == pytest.approx(1 / 6, abs=0.04)  # one row's permutation says nothing of another's


def test_the_permutation_is_the_global_generators() -> None:
    logits = torch.tensor(normal((5, 9))[0])
    torch.manual_seed(3)
    first, second = permute_non_targets(logits), permute_non_targets(logits)
    torch.manual_seed(3)
    assert torch.equal(permute_non_targets(logits), first)
    assert not torch.equal(first, second)


def test_permuting_logits_permutes_the_probabilities_alike() -> None:
    logits = torch.tensor(normal((4, 6))[0])
    probs, permuted = (logits / 3).softmax(1), (permute_non_targets(logits) / 3).softmax(1)
    torch.testing.assert_close(probs.sort(dim=1).values, permuted.sort(dim=1).values)


def test_two_classes_and_one_have_nothing_to_permute() -> None:
    for classes in (1, 2):
        logits = torch.tensor(normal((4, classes))[0])
        assert torch.equal(permute_non_targets(logits), logits)


@pytest.mark.parametrize("shape", SHAPES)
def test_standardise_logits_is_its_formula(shape: tuple[int, int]) -> None:
    logits = normal(shape)[0]
    expected = np.stack([slow_standardise(row) for row in logits])
    np.testing.assert_allclose(standardise_logits(torch.tensor(logits)).numpy(), expected, rtol=1e-9)


def test_standardised_logits_by_hand() -> None:
    z = standardise_logits(torch.tensor([[1.0, 3.0], [5.0, 5.0]]))
    assert z.tolist() == [[-1.0, 1.0], [0.0, 0.0]]
    root = np.sqrt(1.5)
    assert standardise_logits(torch.tensor([[10.0, 20.0, 30.0]]))[0].tolist() == pytest.approx([-root, 0.0, root])


def test_a_student_that_is_the_teacher_up_to_scale_and_shift_has_learnt_all() -> None:
    _, teacher, _ = pairs((5, 7))
    student = 0.2 * teacher - 4
    assert distillation_kl(student, teacher, temperature=2.0).item() > 0.1
    standardised = distillation_kl(standardise_logits(student), standardise_logits(teacher), temperature=2.0)
    assert standardised.item() == pytest.approx(0.0, abs=1e-12)


def test_standardised_logits_have_gradients_that_are_finite_even_where_all_are_equal() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [5.0, 5.0, 5.0], [1e-6, 0.0, 0.0]], requires_grad=True)
    z = standardise_logits(logits)
    assert z.isfinite().all()
    assert torch.autograd.grad((z * torch.arange(3.0)).sum(), logits)[0].isfinite().all()
    student, _, _ = pairs((4, 5))
    assert torch.autograd.gradcheck(standardise_logits, student.requires_grad_())


def slow_mix(own: np.ndarray, partners: np.ndarray, share: np.ndarray, temperature: float) -> np.ndarray:
    def softmax(row: np.ndarray) -> np.ndarray:
        e = np.exp(row / temperature - max(row) / temperature)
        return e / sum(e)

    return np.array([s * softmax(a) + (1 - s) * softmax(b) for a, b, s in zip(own, partners, share, strict=True)])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_mixed_logits_are_those_of_the_mixed_probabilities_at_the_temperature(shape: tuple[int, int], temperature: float) -> None:
    own, partners = normal(shape)[0], normal(shape)[1]
    share = np.linspace(0, 1, shape[0])
    mixed = mix_logits(torch.tensor(own), torch.tensor(partners), torch.tensor(share), temperature=temperature)
    np.testing.assert_allclose(
        (mixed / temperature).softmax(dim=1).numpy(), slow_mix(own, partners, share, temperature), rtol=1e-5
    )
    np.testing.assert_allclose((mixed / temperature).logsumexp(dim=1).numpy(), 0, atol=1e-5)


def test_nothing_mixed_in_leaves_the_probabilities_and_a_certain_answer_stays_finite() -> None:
    own, partners = torch.tensor([[3.0, 1.0, -2.0]]), torch.tensor([[0.0, 500.0, 0.0]])
    alone = mix_logits(own, partners, torch.ones(1), temperature=2.0)
    torch.testing.assert_close((alone / 2).softmax(dim=1), (own / 2).softmax(dim=1))
    half = mix_logits(own, partners, torch.tensor([0.5]), temperature=1.0)
    assert torch.isfinite(half).all()
    assert half.softmax(dim=1)[0, 1] > 0.5


def test_a_temperature_at_which_nothing_can_be_mixed_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature"):
        mix_logits(torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2), temperature=0.0)
