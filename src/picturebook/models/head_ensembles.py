"""Heads together: one a fold, so that none answers for a picture that taught it, and experts whose answers become one."""

from collections.abc import Sequence
from math import log
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from picturebook.models.heads import Head, HeadOutput
from picturebook.types import Queries

Combination = Literal["product", "mean"]


class Experts(nn.Module):
    """Heads that answer together: p ∝ Π_e p_e^{w_e} (product), or p ∝ (Σ_e p_e / E)^{w_0} (mean).

    One expert of weight 1 answers with its own logits, untouched. The representation and the maps are the first expert's.

    Args:
        heads: E of them.
        combination: how several answers become one.
        weights: E for a product, 1 for a mean; 1 / T of a temperature where there is one expert.
    """

    weights: Tensor

    def __init__(self, heads: Sequence[Head], *, combination: Combination = "product") -> None:
        super().__init__()
        self._heads = nn.ModuleList(heads)
        self.combination = combination
        self.register_buffer("weights", torch.ones(len(heads) if combination == "product" else 1))

    @property
    def heads(self) -> list[Head]:
        return list(self._heads)  # type: ignore[arg-type]  # a ModuleList forgets what it holds

    def forward(
        self, tokens: Float[Tensor, "batch tokens token_width"], texts: Queries | None = None, *, with_attention: bool = False
    ) -> HeadOutput:
        """What the experts say together."""
        outputs = [head(tokens, texts, with_attention=with_attention) for head in self.heads]
        first = outputs[0]
        return HeadOutput(self.combine([output.logits for output in outputs]), first.representation, first.attention)

    def combine(self, logits: Sequence[Float[Tensor, "batch classes"]]) -> Float[Tensor, "batch classes"]:
        """The answer that the experts' answers make."""
        if len(logits) == 1:
            return logits[0] * self.weights[0].to(logits[0].dtype)
        log_probs = torch.stack([some.float().log_softmax(dim=1) for some in logits])
        if self.combination == "product":
            return (log_probs * self.weights[:, None, None]).sum(dim=0)
        return _log_mean(log_probs) * self.weights[0]


class FoldedHead(nn.Module):
    """One group of experts a fold. A picture of fold f is answered by the experts that were taught without fold f.

    Pictures of no fold (validation, test, unlabelled) are answered by the mean of all folds' probabilities.
    """

    def __init__(self, folds: Sequence[Experts]) -> None:
        super().__init__()
        self._folds = nn.ModuleList(folds)

    @property
    def folds(self) -> list[Experts]:
        return list(self._folds)  # type: ignore[arg-type]  # a ModuleList forgets what it holds

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens token_width"],
        texts: Queries | None = None,
        *,
        folds: Int64[Tensor, " batch"] | None = None,
        with_attention: bool = False,
    ) -> HeadOutput:
        """Answer each picture by its fold's experts; -1, and no folds at all, stand for the mean of all."""
        if len(self.folds) == 1:
            output: HeadOutput = self.folds[0](tokens, texts, with_attention=with_attention)
            return output
        if folds is None:
            return _mean_output([experts(tokens, texts, with_attention=with_attention) for experts in self.folds])
        return self._routed(tokens, texts, folds)

    def _routed(self, tokens: Tensor, texts: Queries | None, folds: Tensor) -> HeadOutput:
        logits: Tensor | None = None
        representation: Tensor | None = None
        for fold in torch.unique(folds).tolist():
            places = torch.nonzero(folds == fold)[:, 0]
            part = None if texts is None else texts[places]
            output = self(tokens[places], part) if fold < 0 else self.folds[fold](tokens[places], part)
            if logits is None or representation is None:
                logits = output.logits.new_empty(len(tokens), output.logits.shape[1])
                representation = output.representation.new_empty(len(tokens), output.representation.shape[1])
            logits[places] = output.logits.to(logits.dtype)
            representation[places] = output.representation.to(representation.dtype)
        assert logits is not None
        assert representation is not None
        return HeadOutput(logits, representation)


def _mean_output(outputs: Sequence[HeadOutput]) -> HeadOutput:
    log_probs = torch.stack([output.logits.float().log_softmax(dim=1) for output in outputs])
    maps = [output.attention for output in outputs if output.attention is not None]
    return HeadOutput(
        _log_mean(log_probs),
        torch.stack([output.representation for output in outputs]).mean(dim=0),
        torch.stack(maps).mean(dim=0) if maps else None,
    )


def _log_mean(log_probs: Float[Tensor, "answers batch classes"]) -> Float[Tensor, "batch classes"]:
    return log_probs.logsumexp(dim=0) - log(len(log_probs))
