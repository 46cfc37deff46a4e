"""Distillation with lightly-train: its `pretrain` command, method "distillation", which matches features and reads no labels.

Student and teacher are modules of ours, which it takes; nothing is downloaded. Its default recipe mixes pictures (mixup), draws
grey and blurred views and keeps checkpoints; only the grey and the blur are switched off, since the others here have none.
"""

from typing import Any

import lightly_train
import networks
import torch
from pace import Pace, open_pipe, read_spec
from torch import Tensor, nn


class WrappedResNet8(nn.Module):
    """ResNet-8 with the methods that lightly-train asks of a model that it does not know."""

    def __init__(self, network: networks.ResNet8) -> None:
        super().__init__()
        self.network = network

    def feature_dim(self) -> int:
        return self.network.num_features

    def forward_features(self, x: Tensor) -> dict[str, Tensor]:
        return {"features": self.network.forward_features(x)}

    def forward_pool(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"pooled_features": x["features"].mean(dim=(2, 3), keepdim=True)}

    def get_model(self) -> nn.Module:
        return self.network


class KeepPace:
    """A hook that keeps the pace where a step begins. Checkpoints hold the model with its hooks, so it leaves the pipe behind."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def __call__(self, module: nn.Module, inputs: Any) -> None:
        if module.training:
            self._pace.step()

    def __getstate__(self) -> dict[str, Any]:
        return {}


def prepare(network: nn.Module, *, fast: bool, bf16: bool) -> nn.Module:
    """In channels_last where asked, and wrapped where lightly-train does not know it."""
    if fast:
        network = networks.tune(network, bf16=bf16)
    return WrappedResNet8(network) if isinstance(network, networks.ResNet8) else network


def train(spec: dict[str, Any], pace: Pace) -> None:
    """Run its command; the student's first layer is where the pace is kept, once a step."""
    fast, bf16 = spec["flags"]["fast"], spec["flags"]["bf16"]
    student = prepare(networks.build(spec), fast=fast, bf16=bf16)
    teacher = prepare(networks.build(spec, weights=spec["teacher"]), fast=fast, bf16=bf16)
    first = next(module for module in student.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_pre_hook(KeepPace(pace))
    size = spec["case"]["image_size"]
    colour = {"prob": 1.0, "strength": 1.0, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.0}
    lightly_train.pretrain(
        out=spec["out"],
        overwrite=True,
        data=f"{spec['data']}/train",
        model=student,
        method="distillation",
        method_args={"teacher": teacher},
        epochs=spec["epochs"],
        batch_size=spec["batch"],
        num_workers=spec["workers"] if fast else "auto",
        accelerator="cpu",
        devices=1,
        precision="bf16-mixed" if bf16 else "auto",
        loader_args={"persistent_workers": True} if fast and spec["workers"] else None,
        transform_args={
            "image_size": (size, size),
            "random_resize": {"min_scale": 0.5, "max_scale": 1.0},
            "color_jitter": colour,
            "random_gray_scale": None,
            "gaussian_blur": None,
            "normalize": {"mean": tuple(spec["mean"]), "std": tuple(spec["std"])},
        },
    )


if __name__ == "__main__":
    wanted = read_spec()
    torch.set_num_threads(wanted["threads"])
    train(wanted, Pace(open_pipe(), {"torch": torch.__version__}, free=wanted["free"]))
