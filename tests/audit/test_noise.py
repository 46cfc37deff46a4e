import pytest
import torch

from picturebook.audit.noise import GaussianTokens, bootstrap_tokens


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_tokens(num: int = 3000) -> torch.Tensor:
    root = torch.randn(4, 4, generator=seeded(1))
    return torch.randn(num, 3, 4, generator=seeded(2)) @ root + torch.randn(3, 4, generator=seeded(3))


def test_bootstrapped_tokens_are_real_ones_of_their_place_from_several_pictures() -> None:
    tokens = torch.arange(50)[:, None, None] * 10 + torch.arange(4)[None, :, None] + torch.zeros(50, 4, 2)
    drawn = bootstrap_tokens(tokens.half(), 200, seeded())
    assert drawn.dtype == torch.float32
    assert (drawn % 10 == torch.arange(4)[:, None]).all()
    assert (drawn[..., 0].floor_divide(10).std(dim=1) > 0).float().mean() > 0.95


def test_draws_are_their_generators() -> None:
    tokens = GaussianTokens.of(some_tokens(50), seeded())
    assert torch.equal(tokens.sample(5, seeded(7)), tokens.sample(5, seeded(7)))
    assert not torch.equal(tokens.sample(5, seeded(7)), tokens.sample(5, seeded(8)))


def test_gaussian_tokens_have_the_real_ones_mean_at_each_place_and_their_covariance() -> None:
    tokens = some_tokens()
    drawn = GaussianTokens.of(tokens, seeded()).sample(20_000, seeded(5))
    assert drawn.mean(dim=0).numpy() == pytest.approx(tokens.mean(dim=0).numpy(), abs=0.1)
    for place in range(3):
        assert torch.cov(drawn[:, place].T).numpy() == pytest.approx(torch.cov(tokens[:, place].T).numpy(), rel=0.1, abs=0.15)
    between = (drawn[:, 0] - drawn[:, 0].mean(0)).T @ (drawn[:, 1] - drawn[:, 1].mean(0)) / len(drawn)
    assert between.abs().max() < 0.15  # places are independent


def test_one_picture_has_no_covariance() -> None:
    tokens = some_tokens(1)
    assert GaussianTokens.of(tokens, seeded()).sample(2, seeded()).numpy() == pytest.approx(tokens.expand(2, 3, 4).numpy())


def test_a_blank_picture_is_the_mean_token_everywhere() -> None:
    tokens = some_tokens(500)
    blank = GaussianTokens.of(tokens, seeded()).blank(2)
    assert blank.shape == (2, 3, 4)
    assert blank[1, 2].numpy() == pytest.approx(tokens.mean(dim=(0, 1)).numpy(), abs=1e-5)


def test_tokens_that_are_fewer_than_they_are_wide_and_mostly_0_have_a_covariance() -> None:
    tokens = torch.zeros(130, 1, 1280)
    tokens[:, 0, ::30] = (6 * torch.rand(130, 43, generator=seeded(1))).round().clamp(0, 6)
    found = GaussianTokens.of(tokens.half(), seeded())
    assert found.root.dtype == torch.float32
    assert found.root.shape == (1280, 130), "no more than there are tokens"
    torch.testing.assert_close(found.root @ found.root.T, torch.cov(tokens[:, 0].T), atol=1e-3, rtol=0)


def test_more_tokens_than_they_are_wide_need_a_root_of_their_width_alone() -> None:
    tokens = some_tokens(500)
    tokens[..., 3] = tokens[..., 2]  # and one direction in which none differs
    found = GaussianTokens.of(tokens, seeded())
    assert found.root.shape == (4, 4)
    pooled = torch.stack([torch.cov(tokens[:, place].T) for place in range(3)]).mean(dim=0)
    torch.testing.assert_close(found.root @ found.root.T, pooled, atol=1e-4, rtol=1e-4)


def test_which_tokens_stand_for_many_is_a_matter_of_the_generator() -> None:
    tokens = some_tokens(9000)  # 27,000, of which some 20,000 are taken
    first, second, other = (GaussianTokens.of(tokens, seeded(seed)).mean for seed in (4, 4, 5))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
