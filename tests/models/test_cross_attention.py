"""Two ways to the same attention: keys and values of every token, or queries taken to the tokens."""

import pytest
import torch

from picturebook.models.cross_attention import CrossAttention


@pytest.mark.parametrize("asked", [1, 5])
@pytest.mark.parametrize("num_queries", [1, 3])
def test_queries_taken_to_the_tokens_find_what_keys_and_values_of_every_token_give(asked: int, num_queries: int) -> None:
    generator = torch.Generator().manual_seed(0)
    attention = CrossAttention(token_width=12, num_tokens=9, text_width=6, width=16, num_heads=4)
    torch.nn.init.normal_(attention.position, generator=generator)
    tokens = torch.randn(5, 9, 12, generator=generator)
    found, gradients = [], []
    for attend in (attention._to_keys, attention._to_tokens):
        queries = torch.randn(asked, 4, num_queries, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
        selected, weights = attend(queries, tokens)
        found.append((selected, weights))
        attention.zero_grad()
        (selected * torch.arange(4.0)).sum().backward()
        parameters = (attention.key.weight, attention.value.weight, attention.value.bias, attention.position)
        gradients.append([queries.grad, *(parameter.grad for parameter in parameters)])
    for ours, theirs in zip((*found[0], *gradients[0]), (*found[1], *gradients[1]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_few_queries_go_to_the_tokens_and_many_do_not() -> None:
    attention = CrossAttention(token_width=12, num_tokens=64, text_width=6, width=256, num_heads=4)
    assert attention._are_few(1)
    assert attention._are_few(31)
    assert not attention._are_few(32)
