"""Loaders as a torchvision user writes them: class folders, crop + flip + colour one picture at a time."""

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


def training_transform(spec: dict[str, Any]) -> transforms.Compose:
    """Crop, flip and colour of the strengths that picturebook has by default."""
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(spec["case"]["image_size"], scale=(0.5, 1.0), ratio=(0.75, 1.3333)),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
            transforms.ToTensor(),
            transforms.Normalize(spec["mean"], spec["std"]),
        ]
    )


def validation_transform(spec: dict[str, Any]) -> transforms.Compose:
    """The whole picture."""
    size = spec["case"]["image_size"]
    return transforms.Compose(
        [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(spec["mean"], spec["std"])]
    )


def training_loader(spec: dict[str, Any]) -> DataLoader[Any]:
    """Shuffled batches of the training folder."""
    data = datasets.ImageFolder(f"{spec['data']}/train", training_transform(spec))
    workers = spec["workers"]
    persistent = spec["flags"]["fast"] and workers > 0
    return DataLoader(data, spec["batch"], shuffle=True, num_workers=workers, drop_last=True, persistent_workers=persistent)


def validation_loader(spec: dict[str, Any]) -> DataLoader[Any]:
    """The validation folder in its order."""
    data = datasets.ImageFolder(f"{spec['data']}/val", validation_transform(spec))
    return DataLoader(data, 4 * spec["batch"], num_workers=spec["workers"])


@torch.inference_mode()
def accuracy(model: nn.Module, loader: DataLoader[Any], *, bf16: bool) -> float:
    """Share of right answers; leaves the model in training mode."""
    model.eval()
    right = total = 0
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for images, labels in loader:
            right += int((model(images).argmax(dim=1) == labels).sum())
            total += len(labels)
    model.train()
    return right / total
