"""Targets of many classes, packed: the largest logits, and what the other classes weigh together.

A record of K logits becomes 2 k + 5 words of 16 bits: the places of the k largest, their logits, two numbers of the others, and
three errors. The numbers are the others' mean μ and their log-mean-exp λ, which is their mass at temperature 1. Read back, each
of the others has the logit μ + (λ − μ) / T: their mass is right at T = 1, and at other temperatures to the second cumulant.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt16
from torch import Tensor

from picturebook.types import to_device

MOST_WHOLE = 256
"""Classes up to which all logits are stored."""
LARGEST = 128
"""Logits that are stored of more classes."""
MOST_CLASSES = 2**16
ERROR_TEMPERATURES = (1.0, 2.0, 4.0)
"""At which the error of a record is measured: KL(target ‖ what is read back), in nats."""
_REST, _ERRORS = 2, len(ERROR_TEMPERATURES)

Records = UInt16[np.ndarray, "*records words"]


@dataclass(frozen=True, slots=True)
class TopK:
    """How targets of `num_classes` classes are packed."""

    num_classes: int
    largest: int = LARGEST
    """Logits kept, k."""

    @property
    def words(self) -> int:
        """16-bit words a record."""
        return 2 * self.largest + _REST + _ERRORS

    def pack(self, logits: Float[Tensor, "batch classes"]) -> Records:
        """Records of logits, worked out on their device; one past the range of fp16 is stored as inf or nan."""
        logits = logits.float()
        largest, places = logits.topk(self.largest, dim=1)
        others = logits.scatter(1, places, -torch.inf)
        count = self.num_classes - self.largest
        mean = (logits.sum(dim=1) - largest.sum(dim=1)) / count
        numbers = torch.cat([largest, torch.stack([mean, others.logsumexp(dim=1) - float(np.log(count))], dim=1)], dim=1).half()
        errors = torch.stack([self._error(logits, places, numbers, t) for t in ERROR_TEMPERATURES], dim=1).half()
        halves = torch.cat([numbers, errors], dim=1).cpu().numpy()
        return np.concatenate([places.cpu().numpy().astype(np.uint16), halves.view(np.uint16)], axis=1)

    def unpack(
        self, records: Records, *, temperature: float, device: torch.device
    ) -> Float[Tensor, "*records {self.num_classes}"]:
        """The logits for a student that learns at `temperature`, in fp32."""
        shape, flat = records.shape[:-1], records.reshape(-1, self.words)
        places = to_device(flat[:, : self.largest].astype(np.int64), device)
        numbers = to_device(self.halves(flat)[:, :-_ERRORS].copy(), device)
        return self._spread(places, numbers, temperature).reshape(*shape, self.num_classes)

    def halves(self, records: Records) -> Shaped[np.ndarray, "*records halves"]:
        """The numbers of records that are no places: k logits, the others' two numbers, the errors; fp16."""
        halves: np.ndarray = np.ascontiguousarray(records[..., self.largest :]).view(np.float16)
        return halves

    def describe_errors(self, records: Records) -> str:
        """What is lost in all records of a store, in a sentence."""
        sums, greatest, step = np.zeros(_ERRORS), np.zeros(_ERRORS), 65_536
        flat = records.reshape(-1, self.words)
        for start in range(0, len(flat), step):
            errors = self.halves(flat[start : start + step])[:, -_ERRORS:].astype(np.float64)
            sums, greatest = sums + errors.sum(axis=0), np.maximum(greatest, errors.max(axis=0))
        told = "; ".join(
            f"{mean:.2g} at temperature {temperature:g} (at most {most:.2g})"
            for temperature, mean, most in zip(ERROR_TEMPERATURES, sums / max(1, len(flat)), greatest, strict=True)
        )
        return (
            f"The {self.largest} largest of {self.num_classes} logits are stored, and the others' mass. "
            f"KL(target ‖ stored) is in the mean {told}, in nats."
        )

    def _spread(self, places: Tensor, numbers: Tensor, temperature: float) -> Tensor:
        numbers = numbers.float()
        mean, mass = numbers[:, self.largest], numbers[:, self.largest + 1]
        of_others = (mean + (mass - mean) / temperature)[:, None].expand(-1, self.num_classes)
        return of_others.scatter(1, places, numbers[:, : self.largest])

    def _error(self, logits: Tensor, places: Tensor, numbers: Tensor, temperature: float) -> Tensor:
        read = (self._spread(places, numbers, temperature) / temperature).log_softmax(dim=1)
        log_p = (logits / temperature).log_softmax(dim=1)
        return (log_p.exp() * (log_p - read)).sum(dim=1).clamp(min=0.0)  # an error below rounding is none


def packing_of(num_classes: int) -> TopK | None:
    """How targets of so many classes are packed; None where all logits are stored as they are."""
    return None if num_classes <= MOST_WHOLE else TopK(num_classes)
