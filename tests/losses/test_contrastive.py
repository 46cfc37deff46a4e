from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from loss_cases import SHAPES, normal
from torch import Tensor, distributed

from picturebook.losses import (
    contrastive_alignment,
    gather_columns,
    gather_positives,
    info_nce,
    sigmoid_contrast,
)
from two_processes import join_two, run_in_two

TEMPERATURES = [0.01, 0.07, 1.0, 100.0]


def slow_contrastive(images: np.ndarray, texts: np.ndarray, temperature: float) -> float:
    """Texts are equal where their numbers are."""

    def similarity(i: int, j: int) -> float:
        x, y = images[i], texts[j]
        return sum(x * y) / np.sqrt(sum(x * x)) / np.sqrt(sum(y * y)) / temperature

    batch = range(len(images))
    total = 0.0
    for i in batch:
        same = [j for j in batch if (texts[j] == texts[i]).all()]
        to_texts = np.log(sum(np.exp(similarity(i, j)) for j in batch))
        to_images = np.log(sum(np.exp(similarity(j, i)) for j in batch))
        for j in same:
            total -= 0.5 * ((similarity(i, j) - to_texts) + (similarity(j, i) - to_images)) / len(same)
    return total / len(images)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("shape", SHAPES)
def test_contrastive_alignment_is_its_formula(shape: tuple[int, int], temperature: float) -> None:
    images, texts = normal(shape)
    value = contrastive_alignment(torch.tensor(images), torch.tensor(texts), temperature=temperature)
    assert value.item() == pytest.approx(slow_contrastive(images, texts, temperature), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_pictures_of_equal_texts_are_each_others_positives(temperature: float) -> None:
    images, texts = normal((7, 5))
    texts = texts[[0, 1, 0, 2, 1, 0, 3]]
    value = contrastive_alignment(torch.tensor(images), torch.tensor(texts), temperature=temperature)
    assert value.item() == pytest.approx(slow_contrastive(images, texts, temperature), rel=1e-9)


def test_two_pictures_by_hand() -> None:
    images, texts = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[5.0, 0.0], [0.0, 1.0]])
    # Each picture has cosine 1 with its own text and 0 with the other's.
    expected = np.log(1 + np.exp(-1 / 0.5))
    assert contrastive_alignment(images, texts, temperature=0.5).item() == pytest.approx(expected, rel=1e-6)
    # One text for both: whatever the pictures are, it cannot tell them apart.
    alike = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    assert contrastive_alignment(images, alike, temperature=0.5).item() == pytest.approx(np.log(2), rel=1e-6)


def test_in_bf16_equal_texts_are_one_and_texts_that_differ_little_are_two() -> None:
    """The cosine of those is .9995, which bf16 rounds to 1."""
    images, texts = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0316], [1.0, 0.0]])
    expected = slow_contrastive(images.double().numpy(), texts.double().numpy(), 0.01)
    with torch.autocast("cpu", torch.bfloat16):
        value = contrastive_alignment(images, texts, temperature=0.01)
    assert value.item() == pytest.approx(expected, rel=0.01)


def test_repeated_texts_do_not_push_pictures_off_their_own_words() -> None:
    images = torch.tensor([[3.0, 0.1], [3.0, -0.1], [0.0, 1.0]], requires_grad=True)
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    value = contrastive_alignment(images, texts, temperature=0.01)
    assert value.item() == pytest.approx(2 * np.log(2) / 3, abs=0.01)  # its least value: the mean of log n_i
    assert torch.autograd.grad(value, images)[0].abs().max() < 0.1


def test_texts_of_the_same_direction_to_rounding_are_one_text_and_others_are_not() -> None:
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(1, 384, generator=generator)
    rounded = text * 3.7 + 1e-6 * torch.randn(1, 384, generator=generator)
    images = torch.randn(2, 384, generator=generator)
    once = contrastive_alignment(images, torch.cat([text, text]), temperature=0.07)
    assert contrastive_alignment(images, torch.cat([text, rounded]), temperature=0.07).item() == pytest.approx(
        once.item(), rel=1e-3
    )
    near = text + 0.02 * torch.randn(1, 384, generator=generator)  # a cosine of 0.9998
    apart = contrastive_alignment(images, torch.cat([text, near]), temperature=0.07)
    assert abs(apart.item() - once.item()) > 1e-3


def test_the_gradient_flows_to_pictures_and_temperature_only() -> None:
    images, texts = (torch.tensor(array, requires_grad=True) for array in normal((4, 6)))
    log_temperature = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    contrastive_alignment(images, texts, temperature=log_temperature.exp()).backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert log_temperature.grad is not None
    assert log_temperature.grad != 0
    assert texts.grad is None


def test_one_picture_has_nothing_to_be_told_from() -> None:
    images = torch.randn(1, 4, requires_grad=True)
    value = contrastive_alignment(images, torch.randn(1, 4), temperature=0.07)
    assert value.item() == 0.0
    assert torch.equal(torch.autograd.grad(value, images)[0], torch.zeros(1, 4))


def test_vectors_of_no_length_are_finite() -> None:
    images = torch.zeros(3, 4, requires_grad=True)
    texts = torch.tensor([[0.0] * 4, [1.0] * 4, [0.0] * 4])
    value = contrastive_alignment(images, texts, temperature=0.01)
    assert value.item() == pytest.approx(np.log(3), rel=1e-6)
    assert torch.autograd.grad(value, images)[0].isfinite().all()


# ---- both towers learn --------------------------------------------------------------------------------------------------

SCALES = [0.1, 1.0, 14.0, 100.0]
TEXT_IDS = [0, 1, 0, 2, 1, 0, 3]


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(sum(x * y) / np.sqrt(sum(x * x)) / np.sqrt(sum(y * y)))


def slow_info_nce(images: np.ndarray, texts: np.ndarray, ids: list[int], scale: float, smoothing: float) -> float:
    """Cross-entropies of the targets (1 - ε) [same text] / n + ε / N, of images over texts and of texts over images."""
    batch = range(len(ids))
    total = 0.0
    for i in batch:
        positives = [j for j in batch if ids[j] == ids[i]]
        for rows, columns in ((images, texts), (texts, images)):
            logits = [scale * cosine(rows[i], columns[j]) for j in batch]
            norm = np.log(sum(np.exp(logit) for logit in logits))
            for j in batch:
                target = smoothing / len(ids) + (1 - smoothing) * (j in positives) / len(positives)
                total -= 0.5 * target * (logits[j] - norm)
    return total / len(ids)


def slow_sigmoid(images: np.ndarray, texts: np.ndarray, ids: list[int], scale: float, bias: float) -> float:
    total = 0.0
    for i, x in enumerate(images):
        for j, y in enumerate(texts):
            sign = 1.0 if ids[i] == ids[j] else -1.0
            total += np.log(1 + np.exp(-sign * (scale * cosine(x, y) + bias)))
    return total / len(ids)


def given(ids: list[int]) -> tuple[np.ndarray, np.ndarray, Tensor, Tensor, Tensor]:
    images, texts = normal((len(ids), 5))
    same = torch.tensor(ids)[:, None] == torch.tensor(ids)
    return images, texts, torch.tensor(images), torch.tensor(texts), same


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_info_nce_is_its_formula(scale: float, smoothing: float) -> None:
    images, texts, x, y, same = given(TEXT_IDS)
    value = info_nce(x, y, scale=scale, positives=same, label_smoothing=smoothing)
    assert value.item() == pytest.approx(slow_info_nce(images, texts, TEXT_IDS, scale, smoothing), rel=1e-9)
    alone = info_nce(x, y, scale=torch.tensor(scale, dtype=torch.float64), label_smoothing=smoothing)
    assert alone.item() == pytest.approx(slow_info_nce(images, texts, list(range(7)), scale, smoothing), rel=1e-9)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("bias", [-10.0, 0.0, 2.0])
def test_sigmoid_contrast_is_its_formula(scale: float, bias: float) -> None:
    images, texts, x, y, same = given(TEXT_IDS)
    value = sigmoid_contrast(x, y, scale=scale, bias=bias, positives=same)
    assert value.item() == pytest.approx(slow_sigmoid(images, texts, TEXT_IDS, scale, bias), rel=1e-9)
    alone = sigmoid_contrast(x, y, scale=scale, bias=torch.tensor(bias, dtype=torch.float64))
    assert alone.item() == pytest.approx(slow_sigmoid(images, texts, list(range(7)), scale, bias), rel=1e-9)


def test_without_smoothing_info_nce_is_torchs_cross_entropy_with_the_diagonal() -> None:
    _, _, x, y, _ = given(TEXT_IDS)
    unit = torch.nn.functional.normalize
    logits = 14.0 * unit(x) @ unit(y).T
    both = [torch.nn.functional.cross_entropy(z, torch.arange(7)) for z in (logits, logits.T)]
    torch.testing.assert_close(info_nce(x, y, scale=14.0), 0.5 * sum(both))


def test_both_are_symmetric_and_do_not_look_at_lengths() -> None:
    _, _, x, y, same = given(TEXT_IDS)
    for loss in (
        lambda a, b: info_nce(a, b, scale=5.0, positives=same),
        lambda a, b: sigmoid_contrast(a, b, scale=5.0, bias=-1.0, positives=same),
    ):
        torch.testing.assert_close(loss(x, y), loss(y, x))
        torch.testing.assert_close(loss(3 * x, 0.1 * y), loss(x, y))


def test_gradients_reach_both_towers_the_scale_and_the_bias() -> None:
    _, _, x, y, same = given(TEXT_IDS)
    scale, bias = torch.tensor(3.0, dtype=torch.float64), torch.tensor(-1.0, dtype=torch.float64)
    inputs = [some.requires_grad_() for some in (x, y, scale, bias)]
    assert torch.autograd.gradcheck(lambda x, y, s, b: sigmoid_contrast(x, y, scale=s, bias=b, positives=same), inputs)
    assert torch.autograd.gradcheck(lambda x, y, s: info_nce(x, y, scale=s, positives=same, label_smoothing=0.1), inputs[:3])


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    two, three = torch.zeros(2, 4), torch.zeros(3, 4)
    same = torch.ones(3, 3, dtype=torch.bool)
    for loss in (info_nce, lambda x, y, **named: sigmoid_contrast(x, y, bias=0.0, **named)):
        with pytest.raises(ValueError, match=r"texts: expected the shape of images, \[2, 4\], got \[3, 4\]"):
            loss(two, three, scale=1.0)
        with pytest.raises(ValueError, match=r"positives: expected one a row and column, shape \[2, 2\], got \[3, 3\]"):
            loss(two, two, scale=1.0, positives=same)
        for scale in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="scale: expected a positive number, got"):
                loss(two, two, scale=scale)
    with pytest.raises(ValueError, match=r"label_smoothing: expected 0 <= ε < 1, got 1\.0"):
        info_nce(two, two, scale=1.0, label_smoothing=1.0)


# ---- gathered -----------------------------------------------------------------------------------------------------------

GATHERED_IDS = [0, 1, 2, 0, 3, 4, 1, 5, 6]


def step(rows: slice) -> dict[str, list[Tensor]]:
    """The gradients of two projections, the scale and the bias for these rows of a batch of 9, by loss."""
    images, texts = (torch.tensor(array) for array in normal((9, 5)))
    found = {}
    for name in ("info_nce", "pairs alone", "sigmoid"):
        generator = torch.Generator().manual_seed(1)
        weights = [torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in range(2)]
        scalars = [torch.tensor(value, dtype=torch.float64) for value in (1.3, -2.0)]
        parameters = [parameter.requires_grad_() for parameter in (*weights, *scalars)]
        x, y, scale, bias = images[rows] @ weights[0], texts[rows] @ weights[1], scalars[0].exp(), scalars[1]
        columns, positives = gather_columns(x, y), gather_positives(torch.tensor(GATHERED_IDS)[rows])
        if name == "sigmoid":
            loss = sigmoid_contrast(x, y, scale=scale, bias=bias, positives=positives, columns=columns)
        elif name == "info_nce":
            loss = info_nce(x, y, scale=scale, positives=positives, label_smoothing=0.1, columns=columns)
        else:
            loss = info_nce(x, y, scale=scale, columns=columns)
        world = distributed.get_world_size() if distributed.is_initialized() else 1
        (loss * len(x) * world / 9).backward()  # the engine's weight of a share
        found[name] = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
    return found


def work(rank: int, port: int, file: Path) -> None:
    join_two(rank, port)
    distributed.init_process_group("gloo")
    found = step(slice(0, 5) if rank == 0 else slice(5, 9))
    for gradients in found.values():
        for gradient in gradients:
            distributed.all_reduce(gradient)
            gradient /= 2  # DDP's mean
    if rank == 0:
        torch.save(found, file)
    distributed.destroy_process_group()


def test_gradients_of_two_uneven_processes_are_those_of_one(tmp_path: Path) -> None:
    run_in_two(work, tmp_path / "found.pt")
    found, expected = torch.load(tmp_path / "found.pt", weights_only=True), step(slice(0, 9))
    for name, gradients in expected.items():
        assert gradients[0].abs().max() > 0.1
        for ours, theirs in zip(found[name], gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_texts_that_bf16_takes_for_one_are_two_under_autocast() -> None:
    images, texts = torch.from_numpy(normal((4, 8))).float()
    texts[:2] = torch.eye(8)[0]
    texts[1, 1] = 0.03  # a cosine of 0.9996 with the first, which bf16 rounds to 1
    outside = contrastive_alignment(images, texts, temperature=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert contrastive_alignment(images, texts, temperature=0.05).item() == outside.item()
