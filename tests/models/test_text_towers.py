import pytest
import torch

from picturebook.errors import OptionError
from picturebook.models.text_towers import FrozenTextTower, TextTowerOptions, TrainedTextTower
from picturebook.models.vocabulary import Vocabulary
from picturebook.options import validate

SMALL = TextTowerOptions(kind="trained", width=16, depth=2, num_heads=2, length=8)
TEXTS = ["a red square", "a blue square", "a square that is red and blue and green"]


def trained() -> tuple[TrainedTextTower, Vocabulary]:
    torch.manual_seed(0)
    vocabulary = Vocabulary.build(TEXTS, 100)
    return TrainedTextTower(len(vocabulary), 8, SMALL, embedding_width=5), vocabulary


def test_what_all_vectors_share_has_no_part_in_a_frozen_tower() -> None:
    vectors = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    tower = FrozenTextTower(vectors, embedding_width=4, projection="linear")
    torch.manual_seed(0)
    moved = FrozenTextTower(3.0 * vectors + 7.0, embedding_width=4, projection="linear")
    torch.testing.assert_close(moved(3.0 * vectors + 7.0), tower(vectors), rtol=1e-4, atol=1e-5)
    expected = (vectors - vectors.mean(0)) / (vectors - vectors.mean(0)).square().mean().sqrt()
    torch.testing.assert_close(tower(vectors), tower.projection(expected))
    assert not tower.mean.requires_grad


def test_an_mlp_has_one_hidden_layer() -> None:
    tower = FrozenTextTower(torch.randn(5, 6), embedding_width=4, projection="mlp")
    assert [tuple(parameter.shape) for parameter in tower.parameters()] == [(6, 6), (6,), (4, 6), (4,)]


def test_filling_after_a_texts_end_changes_nothing() -> None:
    tower, vocabulary = trained()
    torch.testing.assert_close(tower(vocabulary.encode(TEXTS[:2], 8)), tower(vocabulary.encode(TEXTS[:2], 5)))


def test_the_order_of_words_and_every_word_count() -> None:
    tower, vocabulary = trained()
    texts = ["red a square", "a red square", "a red blue", "blue red square"]
    vectors = tower(vocabulary.encode(texts, 8))
    assert (torch.cdist(vectors, vectors) + torch.eye(4)).min() > 1e-3


def test_a_state_sees_no_later_word() -> None:
    tower, vocabulary = trained()
    ids = vocabulary.encode(["a red square", "a red blue"], 8)
    states = tower.blocks(tower.words(ids) + tower.positions)
    torch.testing.assert_close(states[0, :3], states[1, :3])
    assert not torch.allclose(states[0, 3], states[1, 3])


def test_every_parameter_of_a_trained_tower_learns() -> None:
    tower, vocabulary = trained()
    tower(vocabulary.encode(TEXTS, 8)).square().sum().backward()
    assert [name for name, parameter in tower.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"depth": 2}, "depth takes no effect with kind = 'frozen'"),
        ({"kind": "trained", "projection": "mlp"}, "projection takes no effect with kind = 'trained'"),
        ({"kind": "trained", "width": 30}, "width needs to be a multiple of num_heads, got 30 and 4"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        validate(TextTowerOptions, settings, source="the test")
