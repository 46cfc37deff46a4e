import numpy as np
import pytest
import torch

from picturebook.data.text_table import TextTable
from picturebook.errors import TextError
from picturebook.types import Batch, Queries

IDS = np.array([50, -7, 3, 12], dtype=np.int64)


def asked(*ids: int) -> Batch:
    nothing = torch.zeros(len(ids), dtype=torch.long)
    return Batch(torch.tensor(ids), nothing, nothing)


def queries(num: int) -> Queries:
    vectors = torch.arange(num * 6.0).reshape(num, 2, 3)
    return Queries(vectors, torch.tensor([[True, number % 2 == 0] for number in range(num)]))


def test_each_samples_text_is_found() -> None:
    found = TextTable(IDS, queries(4)).of(asked(3, 50, 3))
    assert torch.equal(found.vectors, queries(4).vectors[[2, 0, 2]])
    assert torch.equal(found.mask, queries(4).mask[[2, 0, 2]])


def test_samples_may_share_texts() -> None:
    found = TextTable(IDS, queries(2), np.array([1, 0, 0, 1], dtype=np.int64)).of(asked(12, 3, 50))
    assert torch.equal(found.vectors, queries(2).vectors[[1, 0, 1]])


@pytest.mark.parametrize("stranger", [-100, 4, 51])
def test_a_picture_without_text_is_refused(stranger: int) -> None:
    with pytest.raises(TextError, match="1 pictures of this batch have no text"):
        TextTable(IDS, queries(4)).of(asked(3, stranger))
