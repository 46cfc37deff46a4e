"""Teachers whose answers are written down, and pictures for them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from picturebook.audit import Audit, AuditData, audit_teacher
from picturebook.audit.audited import Answer, Kind
from picturebook.types import Queries

K = 4


def as_queries(vectors: Tensor) -> Queries:
    return Queries(vectors[:, None], torch.ones(len(vectors), 1, dtype=torch.bool))


def pictures(labels: np.ndarray, *, seed: int = 0, **more: Any) -> AuditData:
    """Tokens of width K + 1 in which the label's entry is 3 higher, and the label's unit vector as the picture's own words."""
    generator = torch.Generator().manual_seed(seed)
    tokens = 0.1 * torch.randn(len(labels), 3, K + 1, generator=generator)
    tokens[torch.arange(len(labels)), :, torch.from_numpy(labels)] += 3
    own = as_queries(torch.eye(K)[torch.from_numpy(labels)])
    return AuditData(**({"tokens": tokens, "labels": labels, "classes": ("a", "b", "c", "d"), "own": own} | more))


def sees(positions: Tensor, tokens: Tensor, texts: Queries | None) -> Tensor:
    """Looks at the picture alone."""
    return 5 * tokens.mean(dim=1)[:, :K]


def reads(positions: Tensor, tokens: Tensor, texts: Queries | None) -> Tensor:
    """Reads the words alone."""
    assert texts is not None
    return 20 * texts.mean()


def even(num: int) -> np.ndarray:
    return np.arange(num) % K


def run(answer: Answer, data: AuditData, kind: Kind, **more: Any) -> Audit:
    return audit_teacher(answer, data, **({"kind": kind, "temperature": 4.0, "num_noise": 500} | more))
