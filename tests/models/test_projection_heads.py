"""The head of prototypes: what it computes, and what it leaves alone."""

import math

import numpy as np
import pytest
import torch

from picturebook.models.projection_heads import ProjectionHeadOptions, PrototypeHead

OPTIONS = ProjectionHeadOptions(prototypes=7, hidden=6, bottleneck=5)


def slow_head(head: PrototypeHead, features: np.ndarray) -> np.ndarray:
    weights = {name: value.double().numpy() for name, value in head.state_dict().items()}
    hidden = features
    for layer in (0, 2, 4):
        hidden = hidden @ weights[f"mlp.{layer}.weight"].T + weights[f"mlp.{layer}.bias"]
        if layer < 4:
            hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
    return np.array([[row @ v / np.linalg.norm(row) / np.linalg.norm(v) for v in weights["prototypes"]] for row in hidden])


def test_outputs_are_cosines_of_a_three_layer_network_with_prototypes() -> None:
    head = PrototypeHead(4, OPTIONS, seed=0)
    features = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)) * 10
    np.testing.assert_allclose(head(features).detach().numpy(), slow_head(head, features.double().numpy()), atol=1e-5)


def test_new_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = (PrototypeHead(4, OPTIONS, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.prototypes, again.prototypes)
    assert not torch.equal(first.prototypes, other.prototypes)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_frozen_prototypes_stay_in_the_graph_and_change_no_output(share: float) -> None:
    head = PrototypeHead(4, OPTIONS, seed=0)
    features = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    expected = head(features)
    found = head(features, prototype_gradient=torch.tensor(share))
    assert torch.equal(found, expected)
    (full,) = torch.autograd.grad(expected.square().sum(), head.prototypes)
    (scaled,) = torch.autograd.grad(found.square().sum(), head.prototypes)
    assert full.abs().sum() > 0
    torch.testing.assert_close(scaled, share * full)


def test_cosines_keep_their_precision_under_autocast() -> None:
    head = PrototypeHead(4, OPTIONS, seed=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = head(torch.randn(3, 4))
    assert found.dtype == torch.float32
    assert (found.bfloat16().float() != found).any()
