"""Distillation in plain PyTorch, as a user writes it: fp32, DataLoader, torchvision, the teacher asked at every step.

With `flags.fast` it is what someone who tunes it writes: channels_last, a fused optimiser, workers that stay, and where it is
faster (`flags.bf16`) autocast to bf16.
"""

import time
from typing import Any

import networks
import pictures
import torch
from pace import Pace, open_pipe, read_spec
from torch import Tensor, nn
from torch.nn import functional


def distillation_loss(spec: dict[str, Any], student: Tensor, teacher: Tensor | None, labels: Tensor) -> Tensor:
    """w H(y, q) + (1 - w) T² KL(p ‖ q); the cross-entropy alone without a teacher."""
    by_label = functional.cross_entropy(student, labels)
    if teacher is None:
        return by_label
    t, w = spec["temperature"], spec["label_weight"]
    by_teacher = functional.kl_div(
        functional.log_softmax(student / t, dim=1), functional.softmax(teacher / t, dim=1), reduction="batchmean"
    )
    return w * by_label + (1 - w) * t**2 * by_teacher


def build_pair(spec: dict[str, Any]) -> tuple[nn.Module, nn.Module | None]:
    """The student, and the frozen teacher where one is asked for."""
    student: nn.Module = networks.build(spec)
    teacher = networks.build(spec, weights=spec["teacher"]).eval().requires_grad_(False) if spec["flags"]["teacher"] else None
    if spec["flags"]["fast"]:
        for network in filter(None, (student, teacher)):
            networks.tune(network, bf16=spec["flags"]["bf16"])
    if spec["flags"]["compile"]:
        student.compile()
        if teacher is not None:
            teacher.compile()
    return student.train(), teacher


def train(spec: dict[str, Any], pace: Pace) -> None:
    """Train for the spec's epochs; with `pace.free` tell the accuracy after each."""
    start, fast, bf16 = time.perf_counter(), spec["flags"]["fast"], spec["flags"]["bf16"]
    layout = torch.channels_last if fast else torch.contiguous_format
    student, teacher = build_pair(spec)
    loader = pictures.training_loader(spec)
    validation = pictures.validation_loader(spec) if pace.free else None
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3, weight_decay=0.05, fused=fast or None)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=spec["epochs"] * len(loader), pct_start=0.05)
    for epoch in range(spec["epochs"]):
        for loaded, labels in loader:
            images = loaded.contiguous(memory_format=layout)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                with torch.no_grad():
                    answers = None if teacher is None else teacher(images)
                loss = distillation_loss(spec, student(images), answers, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            pace.step()
        if validation is not None:
            share = pictures.accuracy(student, validation, bf16=bf16)
            pace.tell({"epoch": epoch + 1, "accuracy": share, "seconds": time.perf_counter() - start})


if __name__ == "__main__":
    wanted = read_spec()
    torch.set_num_threads(wanted["threads"])
    train(wanted, Pace(open_pipe(), {"torch": torch.__version__}, free=wanted["free"]))
