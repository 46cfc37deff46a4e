from pathlib import Path

import numpy as np
import pytest
import torch
from coca_cases import TEXTS, coca
from objective_cases import LABELS, NUM, batch

from picturebook.models.contrastive_captioner import CaptionerOptions, build_captioner
from picturebook.models.image_encoders import create_image_encoder
from picturebook.models.vocabulary import END, PAD
from picturebook.objectives.coca import Coca
from toy_runs import RESNET


def log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))


def test_the_loss_is_what_the_loops_say(tmp_path: Path) -> None:
    objective: Coca = coca(tmp_path, contrastive_weight=0.7, captioning_weight=3.0, temperature=0.1).objective.eval()
    whole = batch()
    found = objective(whole)
    words = objective._texts.of(whole)[1]
    images, texts, logits = (value.detach().double().numpy() for value in objective.model(whole.images, words))
    images, texts = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (images, texts))
    contrast = caption = 0.0
    for i in range(NUM):
        same = [j for j in range(NUM) if LABELS[j] == LABELS[i]]  # a picture's text, in another sentence too
        by_image, by_text = log_softmax(10 * texts @ images[i]), log_softmax(10 * images @ texts[i])
        contrast -= sum(0.5 * (by_image[j] + by_text[j]) / len(same) for j in same) / NUM
        for place, word in enumerate(words[i, 1:].tolist()):
            caption -= log_softmax(logits[i, place])[word] / 3.5 / NUM if word != PAD else 0.0
    assert found.terms["contrast"].item() == pytest.approx(contrast, rel=1e-4)
    assert found.terms["captioning"].item() == pytest.approx(caption, rel=1e-4)
    assert found.total.item() == pytest.approx(0.7 * contrast + 3.0 * caption, rel=1e-4)


def test_each_view_shows_one_of_a_texts_sentences(tmp_path: Path) -> None:
    objective: Coca = coca(tmp_path).objective
    numbers, words = objective._texts.of(batch())
    assert torch.equal(numbers, LABELS)
    assert len({tuple(row) for row in words[LABELS == 0].tolist()}) == len(TEXTS[0])
    assert (words == END).sum(dim=1).tolist() == [1] * NUM


def test_the_scale_stays_in_its_range(tmp_path: Path) -> None:
    objective: Coca = coca(tmp_path).objective
    with torch.no_grad():
        objective.log_scale.fill_(9.0)
    objective.after_step(0, 10)
    assert objective.log_scale.exp().item() == pytest.approx(100.0)


@pytest.mark.parametrize("model", ["resnet", "vit", "avg_vit"])
def test_what_the_tokens_do_not_depend_on_is_frozen_and_everything_else_learns(model: str) -> None:
    if model == "resnet":
        encoder = create_image_encoder(RESNET["model"], num_classes=3, image_size=16, model_args=RESNET["model_args"])
    else:
        arguments = {"patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
        arguments |= {"global_pool": "avg"} if model == "avg_vit" else {}
        encoder = create_image_encoder("vit_tiny_patch16_224", num_classes=3, image_size=16, model_args=arguments)
    options = CaptionerOptions(width=16, num_heads=2, num_layers=2, caption_queries=3, length=6)
    captioner = build_captioner(encoder, options, vocabulary_size=9, seed=0)
    assert encoder.training
    frozen = {name.split(".")[0] for name, value in encoder.model.named_parameters() if not value.requires_grad}
    assert frozen == {"resnet": {"fc"}, "vit": {"head"}, "avg_vit": {"head", "fc_norm"}}[model]
    vectors, texts, logits = captioner(torch.rand(4, 3, 16, 16), torch.tensor([[1, 4, 2, 0]]).expand(4, -1))
    (vectors.square().sum() + texts.sum() + logits.square().sum()).backward()
    assert [name for name, value in captioner.named_parameters() if value.requires_grad and value.grad is None] == []


def test_new_weights_are_a_function_of_the_seed(tmp_path: Path) -> None:
    torch.manual_seed(5)
    first, state = coca(tmp_path).objective.state_dict(), torch.get_rng_state()
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, first[name]) for name, value in coca(tmp_path).objective.state_dict().items())
