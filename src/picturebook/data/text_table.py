"""What asks, by sample id."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from picturebook.errors import TextError
from picturebook.types import Batch, Queries


class TextTable:
    """What each sample's own text asks with.

    Args:
        ids: [n], sample ids, each once, in any order.
        queries: of the samples' texts.
        texts: [n], each sample's text as a row of `queries`, where samples share texts; by default sample i has text i.
    """

    def __init__(
        self, ids: Int64[np.ndarray, " samples"], queries: Queries, texts: Int64[np.ndarray, " samples"] | None = None
    ) -> None:
        order = np.argsort(ids)
        self._ids = ids[order]
        self._texts = order if texts is None else texts[order]
        self._queries = queries

    def __deepcopy__(self, memo: dict[int, Any]) -> "TextTable":
        return self  # nothing in it changes

    def of(self, batch: Batch) -> Queries:
        """The batch's texts, on its device.

        Raises:
            TextError: a sample has none.
        """
        ids = batch.ids.numpy()
        places = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        if (self._ids[places] != ids).any():
            raise TextError(
                f"{int((self._ids[places] != ids).sum())} pictures of this batch have no text: the teacher needs one for each."
            )
        return self._queries[torch.from_numpy(self._texts[places])].to(batch.device)
