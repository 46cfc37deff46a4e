import numpy as np
import pytest
import torch
from test_attentional_pooling import attended, normed

from picturebook.models.text_decoder import TextDecoder
from picturebook.models.vocabulary import END, PAD, START, UNKNOWN

NUM_WORDS, LENGTH, WIDTH = 11, 6, 8
TEXTS = torch.tensor([[START, 5, 6, 7, 8, END], [START, 9, END, PAD, PAD, PAD], [START, END, PAD, PAD, PAD, PAD]])


@pytest.fixture
def decoder() -> TextDecoder:
    torch.manual_seed(0)
    made = TextDecoder(vocabulary_size=NUM_WORDS, length=LENGTH, width=WIDTH, num_heads=2, num_layers=4).double()
    for parameter in made.parameters():  # norms and positions with something to say
        torch.nn.init.normal_(parameter, std=0.5)
    return made


@pytest.fixture
def image_tokens() -> torch.Tensor:
    return torch.randn(3, 4, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def layer_by_hand(layer: torch.nn.Module, states: np.ndarray, mask: np.ndarray, image: np.ndarray | None) -> np.ndarray:
    x = normed(states, layer.text_norm)
    states = states + attended(layer.text_attention, x, x, 2, mask)
    if image is not None:
        seen = np.ones((len(states), len(image)), dtype=bool)
        states = states + attended(layer.image_attention, normed(states, layer.image_norm), image, 2, seen)
    norm, rise, _, fall = layer.mlp
    x = torch.nn.functional.gelu(rise(torch.from_numpy(normed(states, norm))))
    return states + fall(x).detach().numpy()


def by_hand(decoder: TextDecoder, words: list[int], image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vector and logits of one text without padding, as the paper draws it."""
    states = [decoder.words.weight[word] + decoder.positions[place] for place, word in enumerate(words)]
    states = torch.stack([*states, decoder.class_token + decoder.positions[-1]]).detach().numpy()
    for layer in decoder.unimodal:
        states = layer_by_hand(layer, states, np.tril(np.ones((len(states), len(states)), dtype=bool)), None)
    vector = decoder.text_projection(torch.from_numpy(normed(states[-1:], decoder.text_norm)))[0].detach().numpy()
    states = states[:-2]
    for layer in decoder.multimodal:
        states = layer_by_hand(layer, states, np.tril(np.ones((len(states), len(states)), dtype=bool)), image)
    return vector, decoder.to_words(torch.from_numpy(normed(states, decoder.norm))).detach().numpy()


def test_vectors_and_logits_are_what_the_loops_say(decoder: TextDecoder, image_tokens: torch.Tensor) -> None:
    vectors, logits = decoder(TEXTS, image_tokens)
    assert logits.shape == (3, LENGTH - 1, NUM_WORDS)
    for row, text in enumerate(TEXTS.tolist()):
        words = [word for word in text if word != PAD]
        vector, expected = by_hand(decoder, words, image_tokens[row].numpy())
        np.testing.assert_allclose(vectors[row].detach().numpy(), vector, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(logits[row, : len(words) - 1].detach().numpy(), expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("place", range(1, LENGTH))
def test_a_later_word_never_changes_an_earlier_logit(decoder: TextDecoder, image_tokens: torch.Tensor, place: int) -> None:
    changed = TEXTS.clone()
    changed[0, place] = 10
    before, after = decoder(TEXTS, image_tokens)[1][0], decoder(changed, image_tokens)[1][0]
    torch.testing.assert_close(after[:place], before[:place], rtol=0, atol=1e-12)
    if place < LENGTH - 1:
        assert (after[place:] - before[place:]).abs().amax(dim=1).min() > 1e-3


def test_a_texts_vector_knows_its_words_and_neither_image_nor_padding(decoder: TextDecoder, image_tokens: torch.Tensor) -> None:
    vectors = decoder(TEXTS, image_tokens)[0]
    torch.testing.assert_close(decoder(TEXTS, 2 * image_tokens)[0], vectors)
    torch.testing.assert_close(decoder.embed(TEXTS), vectors)
    torch.testing.assert_close(decoder.embed(TEXTS[1:, :3]), vectors[1:])
    for place in range(LENGTH):
        changed = TEXTS[:1].clone()
        changed[0, place] = 10
        assert (decoder.embed(changed) - vectors[:1]).abs().max() > 1e-3


def test_a_caption_is_the_likeliest_word_at_each_step(decoder: TextDecoder) -> None:
    image_tokens = 5 * torch.randn(20, 4, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        decoder.to_words.weight[[PAD, START, UNKNOWN]] *= 100  # would be written if they could be
    captions = decoder.generate(image_tokens)
    assert torch.equal(decoder.generate(image_tokens), captions)
    assert len({tuple(caption) for caption in captions.tolist()}) > 5
    for row, caption in enumerate(captions.tolist()):
        text = [START]
        while len(text) < LENGTH and text[-1] != END:
            whole = torch.tensor([[*text, END]])
            logits = decoder(whole, image_tokens[row : row + 1])[1][0, len(text) - 1].tolist()
            text.append(max((word for word in range(NUM_WORDS) if word not in (PAD, START, UNKNOWN)), key=logits.__getitem__))
        assert caption[: len(text)] == text
        assert set(caption[len(text) :]) <= {PAD}


def test_writing_stops_when_every_caption_has_ended(decoder: TextDecoder, image_tokens: torch.Tensor) -> None:
    with torch.no_grad():
        decoder.norm.weight.zero_()
        decoder.norm.bias.fill_(1.0)
        decoder.to_words.weight.zero_()
        decoder.to_words.weight[END] = 1.0
    assert decoder.generate(image_tokens).tolist() == [[START, END]] * 3
