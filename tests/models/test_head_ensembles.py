import pytest
import torch
from torch import Tensor

from picturebook.models.head_ensembles import Experts, FoldedHead
from picturebook.models.heads import Head, HeadOptions, build_head

TOKENS = torch.randn(6, 4, 8, generator=torch.Generator().manual_seed(0))


def head(seed: int) -> Head:
    options = HeadOptions(mode="linear", dropout=0.0)
    return build_head(options, token_width=8, num_tokens=4, text_width=0, num_classes=3, seed=seed).eval()


def probs(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1)


def test_one_expert_answers_with_its_own_logits_bit_for_bit() -> None:
    alone = head(0)
    for module in (Experts([alone]), FoldedHead([Experts([alone])])):
        assert torch.equal(module(TOKENS).logits, alone(TOKENS).logits)


def test_a_product_multiplies_probabilities_to_the_power_of_their_weights() -> None:
    experts = Experts([head(0), head(1)])
    experts.weights.copy_(torch.tensor([0.5, 2.0]))
    wanted = probs(head(0)(TOKENS).logits) ** 0.5 * probs(head(1)(TOKENS).logits) ** 2.0
    torch.testing.assert_close(probs(experts(TOKENS).logits), wanted / wanted.sum(dim=1, keepdim=True))


def test_a_mean_averages_probabilities() -> None:
    experts = Experts([head(0), head(1)], combination="mean")
    wanted = (probs(head(0)(TOKENS).logits) + probs(head(1)(TOKENS).logits)) / 2
    torch.testing.assert_close(probs(experts(TOKENS).logits), wanted)


def test_a_picture_is_answered_by_its_fold_and_one_of_no_fold_by_the_mean() -> None:
    folded = FoldedHead([Experts([head(seed)]) for seed in range(3)])
    logits = folded(TOKENS, folds=torch.tensor([2, 0, -1, 1, 0, -1])).logits
    for place, fold in enumerate([2, 0, -1, 1, 0, -1]):
        some = TOKENS[place : place + 1]
        answers = torch.stack([probs(head(seed)(some).logits) for seed in range(3)])
        wanted = answers.mean(dim=0) if fold < 0 else answers[fold]
        torch.testing.assert_close(probs(logits[place : place + 1]), wanted)


def test_without_folds_named_all_are_averaged() -> None:
    folded = FoldedHead([Experts([head(seed)]) for seed in range(2)])
    none = torch.full((6,), -1)
    torch.testing.assert_close(folded(TOKENS).logits, folded(TOKENS, folds=none).logits)


@pytest.mark.parametrize("combination", ["product", "mean"])
def test_weights_are_part_of_the_state(combination: str) -> None:
    experts = Experts([head(0), head(1)], combination=combination)
    assert "weights" in experts.state_dict()
