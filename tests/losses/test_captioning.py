import numpy as np
import pytest
import torch

from picturebook.losses import captioning


def by_hand(logits: np.ndarray, words: np.ndarray, m: float) -> float:
    total = 0.0
    for sample, caption in enumerate(words):
        for place, word in enumerate(caption):
            if word != 0:
                row = logits[sample, place]
                total -= row[word] - np.log(np.exp(row).sum())
    return total / m / len(words)


def case() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    words = generator.integers(1, 7, (4, 5))
    words[1, 3:], words[2, 1:], words[3] = 0, 0, 0
    return generator.normal(scale=3.0, size=(4, 5, 7)), words


def loss(logits: np.ndarray, words: np.ndarray, m: float = 2.5) -> torch.Tensor:
    return captioning(torch.from_numpy(logits), torch.from_numpy(words), pad=0, words_per_caption=m)


def test_it_is_what_the_loops_say() -> None:
    logits, words = case()
    assert loss(logits, words).item() == pytest.approx(by_hand(logits, words, 2.5), rel=1e-12)


def test_it_is_the_mean_over_words_where_the_constant_is_the_batchs_own() -> None:
    logits, words = case()
    mean = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).flatten(0, 1), torch.from_numpy(words).flatten(), ignore_index=0
    )
    torch.testing.assert_close(loss(logits, words, m=(words != 0).sum() / 4), mean)


def test_parts_of_a_batch_add_up_to_it() -> None:
    logits, words = case()
    parts = 1 / 4 * loss(logits[:1], words[:1]) + 3 / 4 * loss(logits[1:], words[1:])
    torch.testing.assert_close(parts, loss(logits, words))


def test_padding_gets_no_gradient_and_half_precision_is_widened() -> None:
    logits, words = case()
    tensor = torch.from_numpy(logits).to(torch.bfloat16).requires_grad_()
    value = captioning(tensor, torch.from_numpy(words), pad=0, words_per_caption=1.0)
    value.backward()
    assert value.dtype == torch.float32
    assert tensor.grad is not None
    assert torch.equal(tensor.grad.abs().sum(dim=2) > 0, torch.from_numpy(words != 0))
    assert loss(logits, np.zeros_like(words)).item() == 0.0


def test_wrong_shapes_and_lengths_are_refused() -> None:
    logits, words = case()
    with pytest.raises(ValueError, match=r"beside words \[batch, words\]"):
        loss(logits[:, :0], words[:, :0])
    with pytest.raises(ValueError, match="words_per_caption: expected a positive number, got 0"):
        loss(logits, words, m=0.0)
