"""The audit on teachers whose leak is known: python benchmarks/audit_toy.py

Synthetic pictures of 20 classes: 49 tokens of width 64 from N(0, I), and s times the class's evidence added to 3 of them.
Attention has no weights (softmax(b q·x), no scale), so all that is learnt is a linear classifier, from 4,000 pictures.
Part 1 asks by random class texts that have nothing to do with the evidence, part 2 by the evidence itself.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from picturebook.audit import Answer, Audit, AuditData, audit_teacher
from picturebook.types import Queries

NUM_CLASSES, NUM_TOKENS, WIDTH, NUM_EVIDENT, NUM_TRAINING = 20, 49, 64, 3, 4_000
SHARPNESS = 2.0
EVIDENCE = {"none": 0.0, "weak": 2.0, "strong": 4.0}


@dataclass(frozen=True, eq=False)
class World:
    """Class evidence, class texts and positional code: the fixed draws of the toy."""

    evidence: Tensor
    texts: Tensor
    positions: Tensor

    @classmethod
    def draw(cls, seed: int = 0) -> "World":
        generator = torch.Generator().manual_seed(seed)
        evidence, texts = torch.randn(2, NUM_CLASSES, WIDTH, generator=generator)
        positions = torch.randn(NUM_TOKENS, WIDTH, generator=generator)
        return cls(functional.normalize(evidence, dim=1), functional.normalize(texts, dim=1), positions)

    def pictures(self, num: int, *, strength: float, seed: int, positional: float = 0.0) -> tuple[Tensor, Tensor]:
        """Tokens [num, N, d] and labels [num]."""
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(NUM_CLASSES, (num,), generator=generator)
        tokens = torch.randn(num, NUM_TOKENS, WIDTH, generator=generator) + positional * self.positions
        if strength:
            places = torch.rand(num, NUM_TOKENS, generator=generator).argsort(dim=1)[:, :NUM_EVIDENT]
            tokens[torch.arange(num)[:, None], places] += strength * self.evidence[labels][:, None]
        return tokens, labels


def attend(queries: Tensor, tokens: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    """[B, q, d] (or [1, q, d]) and [B, N, d] → [B, q, d]."""
    return (sharpness * queries @ tokens.transpose(1, 2)).softmax(dim=-1) @ tokens


def attend_all(queries: Tensor, tokens: Tensor) -> Tensor:
    """The same for many pictures, in batches."""
    return torch.cat([attend(queries, some) for some in tokens.split(500)])


def ridge(features: Tensor, labels: Tensor, penalty: float) -> Tensor:
    """Ridge regression with bias on one-hot targets: weights [D + 1, K]."""
    mean = features.mean(dim=0)
    targets = functional.one_hot(labels, NUM_CLASSES).to(features)
    centred = features - mean
    weights = torch.linalg.solve(
        centred.T @ centred + penalty * torch.eye(features.shape[1]), centred.T @ (targets - targets.mean(dim=0))
    )
    return torch.cat([weights, (targets.mean(dim=0) - mean @ weights)[None]])


def logistic(features: Tensor, labels: Tensor, steps: int = 600) -> Tensor:
    """Logistic regression, full batch, rate 1, decay 1e-4 on standardised features: weights [D + 1, K] of the plain ones."""
    mean, spread = features.mean(dim=0), features.std(dim=0)
    inputs = torch.cat([(features - mean) / spread, torch.ones(len(features), 1)], dim=1)
    targets = functional.one_hot(labels, NUM_CLASSES).to(inputs)
    weights = torch.zeros(inputs.shape[1], NUM_CLASSES)
    for _ in range(steps):
        gradient = inputs.T @ ((inputs @ weights).softmax(dim=1) - targets) / len(inputs)
        weights = weights - gradient - 1e-4 * weights
    plain = weights[:-1] / spread[:, None]
    return torch.cat([plain, (weights[-1] - mean @ plain)[None]])


def linear(features: Tensor, weights: Tensor) -> Tensor:
    return features @ weights[:-1] + weights[-1]


def own_head(weights: Tensor, *, residual: float = 0.0, sharpness: float = SHARPNESS) -> Answer:
    """The picture's own text asks (D1)."""

    def answer(positions: Tensor, tokens: Tensor, texts: Queries | None) -> Tensor:
        assert texts is not None
        query = texts.vectors
        return linear((attend(query, tokens, sharpness) + residual * query)[:, 0], weights)

    return answer


def bank_head(queries: Tensor, weights: Tensor | None, offset: Tensor) -> Answer:
    """All class texts ask (D3); scored by <o_k, q_k> − its training mean, and by `weights` on those where there are any."""

    def answer(positions: Tensor, tokens: Tensor, texts: Queries | None) -> Tensor:
        scores = (attend(queries[None], tokens) * queries).sum(dim=-1)
        return scores - offset if weights is None else linear(scores, weights)

    return answer


def mean_head(weights: Tensor) -> Answer:
    """Image only: the mean token."""
    return lambda positions, tokens, texts: linear(tokens.mean(dim=1), weights)


def as_queries(vectors: Tensor) -> Queries:
    return Queries(vectors[:, None], torch.ones(len(vectors), 1, dtype=torch.bool))


def audited(tokens: Tensor, labels: Tensor, *, texts: Tensor | None = None, own: Tensor | None = None) -> AuditData:
    return AuditData(
        tokens=tokens,
        labels=labels.numpy(),
        classes=tuple(f"class {label}" for label in range(NUM_CLASSES)),
        class_texts=None if texts is None else as_queries(texts),
        own=None if own is None else as_queries(own),
    )


def probe_own_text(
    world: World, *, num: int, strength: float = 0.0, positional: float = 0.0, sharpness: float = SHARPNESS, residual: float = 0.0
) -> Audit:
    """Part 1: texts unrelated to the evidence, true text of each picture, ridge."""
    tokens, labels = world.pictures(NUM_TRAINING, strength=strength, seed=1, positional=positional)
    queries = world.texts[labels][:, None]
    features = torch.cat(
        [attend(q, x, sharpness) + residual * q for q, x in zip(queries.split(500), tokens.split(500), strict=True)]
    )
    head = own_head(ridge(features[:, 0], labels, 1.0), residual=residual, sharpness=sharpness)
    data = audited(*world.pictures(num, strength=strength, seed=2, positional=positional), texts=world.texts)
    return audit_teacher(head, data, kind="privileged", temperature=1.0)


def probe_bank(world: World, queries: Tensor, *, num: int, strength: float = 0.0, positional: float = 0.0) -> Audit:
    """Part 1: the bilinear class bank."""
    tokens, _ = world.pictures(NUM_TRAINING, strength=strength, seed=1, positional=positional)
    scores = (attend_all(queries[None], tokens) * queries).sum(dim=-1)
    data = audited(*world.pictures(num, strength=strength, seed=2, positional=positional))
    return audit_teacher(bank_head(queries, None, scores.mean(dim=0)), data, kind="bank", temperature=1.0)


def measure_true_text(world: World, *, num: int, strength: float) -> Audit:
    """Part 2: the evidence as the text, true text of each picture, logistic."""
    tokens, labels = world.pictures(NUM_TRAINING, strength=strength, seed=1)
    weights = logistic(attend(world.evidence[labels][:, None], tokens)[:, 0], labels)
    data = audited(*world.pictures(num, strength=strength, seed=2), texts=world.evidence)
    return audit_teacher(own_head(weights), data, kind="privileged", temperature=1.0)


def measure_bank(world: World, *, num: int, strength: float) -> Audit:
    """Part 2: the evidence as class bank, logistic on the K scores."""
    tokens, labels = world.pictures(NUM_TRAINING, strength=strength, seed=1)
    scores = (attend_all(world.evidence[None], tokens) * world.evidence).sum(dim=-1)
    head = bank_head(world.evidence, logistic(scores, labels), torch.zeros(NUM_CLASSES))
    return audit_teacher(head, audited(*world.pictures(num, strength=strength, seed=2)), kind="bank", temperature=1.0)


def measure_image_only(world: World, *, num: int, strength: float) -> Audit:
    """Part 2: logistic on the mean token."""
    tokens, labels = world.pictures(NUM_TRAINING, strength=strength, seed=1)
    head = mean_head(logistic(tokens.mean(dim=1), labels))
    return audit_teacher(head, audited(*world.pictures(num, strength=strength, seed=2)), kind="image_only", temperature=1.0)


def anonymous_queries(world: World, labels: Tensor, num_names: int, seed: int) -> Tensor:
    """√m times the mean of m class texts, the true one and m − 1 others, drawn anew for each picture."""
    scores = torch.rand(len(labels), NUM_CLASSES, generator=torch.Generator().manual_seed(seed))
    scores[torch.arange(len(labels)), labels] = 2.0  # the true one is always among the highest m
    chosen = scores.topk(num_names, dim=1).indices
    return num_names**0.5 * world.evidence[chosen].mean(dim=1)


def measure_anonymous(world: World, *, num: int, strength: float, num_names: int) -> Audit:
    """Part 2: m-anonymous own texts (D4). Another picture's text of the class stands for the class."""
    tokens, labels = world.pictures(NUM_TRAINING, strength=strength, seed=1)
    queries = anonymous_queries(world, labels, num_names, seed=3)
    weights = logistic(attend(queries[:, None], tokens)[:, 0], labels)
    held_tokens, held_labels = world.pictures(num, strength=strength, seed=2)
    data = audited(held_tokens, held_labels, own=anonymous_queries(world, held_labels, num_names, seed=4))
    return audit_teacher(own_head(weights), data, kind="privileged", temperature=1.0)


def value(audit: Audit, id_: str) -> float:
    found = audit[id_].value
    assert found is not None
    return found


def row(name: str, cells: list[str]) -> None:
    print(f"| {name} | {' | '.join(cells)} |")


def print_part_1(world: World, num: int) -> None:
    print(f"\nPart 1: own true text, texts unrelated to the evidence; {num:,} held-out pictures, accuracies in %, chance 5.0\n")
    print("| pictures | R2 | R3 | R4a | R4b | R5 blank | R6a / R6b | residual: R2 / R5 | bank, random q | bank, q = evidence |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    cases: list[tuple[str, dict[str, float]]] = [
        ("noise", {}),
        ("noise, b = 0.5", {"sharpness": 0.5}),
        ("noise, b = 8", {"sharpness": 8.0}),
        ("noise, positional code", {"positional": 1.0}),
        ("weak evidence", {"strength": 2.0}),
    ]
    for name, case in cases:
        audit = probe_own_text(world, num=num, **case)
        cells = [f"{100 * value(audit, id_):.1f}" for id_ in ("R2", "R3", "R4a", "R4b", "R5")]
        cells.append(f"{100 * value(audit, 'R6a'):.1f} / {100 * value(audit, 'R6b'):.1f}")
        if "sharpness" in case:
            cells += [""] * 3
        else:
            leaky = probe_own_text(world, num=num, residual=4.0, **case)
            cells.append(f"{100 * value(leaky, 'R2'):.1f} / {100 * value(leaky, 'R5'):.1f}")
            for queries in (world.texts, world.evidence):
                cells.append(f"{100 * value(probe_bank(world, queries, num=num, **case), 'acc'):.1f}")
        row(name, cells)


def print_part_2(world: World, num: int) -> None:
    print(f"\nPart 2: texts are the evidence; {num:,} held-out pictures, log2 K = {np.log2(NUM_CLASSES):.2f} bits\n")
    print("| evidence | teacher | accuracy | L | I_text | I_img | I_inst | mean H | G | verdict |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|---|")
    for name, strength in EVIDENCE.items():
        audits = {
            "true text": measure_true_text(world, num=num, strength=strength),
            "class bank": measure_bank(world, num=num, strength=strength),
            "image only": measure_image_only(world, num=num, strength=strength),
        }
        for names in (2, 5, 10):
            audits[f"{names}-anonymous"] = measure_anonymous(world, num=num, strength=strength, num_names=names)
        for teacher, audit in audits.items():
            accuracy = value(audit, "R2" if audit.kind == "privileged" else "acc")
            numbers = [f"{value(audit, id_):.3f}" for id_ in ("L", "R8", "R9", "R10", "R11a")]
            row(name, [teacher, f"{100 * accuracy:.1f}", *numbers, f"{value(audit, 'R12'):.1f}", audit.verdict])


def main() -> None:
    torch.set_num_threads(1)
    start = time.perf_counter()
    world = World.draw()
    print_part_1(world, 2_000)
    print_part_2(world, 1_000)
    print(f"\nTwo thousand pictures or more of each sort of noise; {time.perf_counter() - start:.0f} s on one thread.")


if __name__ == "__main__":
    main()
