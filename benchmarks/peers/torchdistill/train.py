"""Distillation with torchdistill: its configuration, its boxes, its loss, its meters; the loop around them as it asks for.

It has no switch of its own for bf16 or channels_last: with `flags.fast` the models are handed over in channels_last, with
`flags.bf16` the loop puts autocast around its forward, both of which it lets through.
"""

import json
import tempfile
import time
from pathlib import Path
from string import Template
from typing import Any

import networks
import pictures
import torch
from pace import Pace, open_pipe, read_spec
from torchdistill.common.yaml_util import load_yaml_file
from torchdistill.core.distillation import get_distillation_box
from torchdistill.core.training import get_training_box
from torchdistill.misc.log import MetricLogger, SmoothedValue

CONFIG = Path(__file__).with_name("distil.yaml")
OUTPUT = {"module_path": ".", "io": "output"}


def read_config(spec: dict[str, Any]) -> dict[str, Any]:
    """distil.yaml with the spec's values."""
    fast, count = spec["flags"]["fast"], sum(1 for path in Path(spec["data"], "train").rglob("*") if path.is_file())
    values = {
        "data": spec["data"],
        "image_size": spec["case"]["image_size"],
        "mean": spec["mean"],
        "std": spec["std"],
        "epochs": spec["epochs"],
        "batch": spec["batch"],
        "workers": spec["workers"],
        "persistent": fast and spec["workers"] > 0,
        "fused": "True" if fast else "null",
        "steps": count // spec["batch"],
        "terms": json.dumps(_terms(spec)),
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(Template(CONFIG.read_text(encoding="utf-8")).substitute(values))
        file.flush()
        config: dict[str, Any] = load_yaml_file(file.name)
    return config


def _terms(spec: dict[str, Any]) -> dict[str, Any]:
    if spec["flags"]["teacher"]:
        kwargs = {
            f"{model}_module_{key}": value
            for model in ("student", "teacher")
            for key, value in (("path", OUTPUT["module_path"]), ("io", OUTPUT["io"]))
        }
        kwargs |= {"temperature": spec["temperature"], "alpha": spec["label_weight"], "reduction": "batchmean"}
        return {"kd": {"criterion": {"key": "KDLoss", "kwargs": kwargs}, "weight": 1.0}}
    wrapper = {
        "key": "SimpleLossWrapper",
        "kwargs": {"input": OUTPUT | {"is_from_teacher": False}, "target": {"uses_label": True}},
    }
    criterion = {"key": "CrossEntropyLoss", "kwargs": {"reduction": "mean"}}
    return {"ce": {"criterion": criterion, "criterion_wrapper": wrapper, "weight": 1.0}}


def build_box(spec: dict[str, Any]) -> Any:
    """A distillation box, or a training box without a teacher."""
    config, device, fast = read_config(spec), torch.device("cpu"), spec["flags"]["fast"]
    models = [networks.build(spec, weights=spec["teacher"]).eval()] if spec["flags"]["teacher"] else []
    models.append(networks.build(spec))
    if fast:
        models = [networks.tune(model, bf16=spec["flags"]["bf16"]) for model in models]
    if spec["flags"]["compile"]:
        for model in models:
            model.compile()
    make = get_distillation_box if spec["flags"]["teacher"] else get_training_box
    return make(*models, config["datasets"], config["train"], device, None, distributed=False, lr_factor=1)


def train_one_epoch(box: Any, epoch: int, *, bf16: bool, pace: Pace) -> None:
    """One pass over the data, with torchdistill's meters."""
    logger = MetricLogger(delimiter="  ")
    logger.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
    box.pre_epoch_process(epoch=epoch)
    for images, labels, extra in logger.log_every(box.train_data_loader, 50, f"Epoch: [{epoch}]"):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = box.forward_process(images, labels, extra)
        box.post_forward_process(loss=loss)
        logger.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
        pace.step()
    box.post_epoch_process()


def train(spec: dict[str, Any], pace: Pace) -> None:
    """Train for the spec's epochs; with `pace.free` tell the accuracy after each."""
    start, bf16 = time.perf_counter(), spec["flags"]["bf16"]
    box = build_box(spec)
    validation = pictures.validation_loader(spec) if pace.free else None
    for epoch in range(spec["epochs"]):
        train_one_epoch(box, epoch, bf16=bf16, pace=pace)
        if validation is not None:
            student = box.student_model if spec["flags"]["teacher"] else box.model
            share = pictures.accuracy(student, validation, bf16=bf16)
            pace.tell({"epoch": epoch + 1, "accuracy": share, "seconds": time.perf_counter() - start})


if __name__ == "__main__":
    wanted = read_spec()
    torch.set_num_threads(wanted["threads"])
    train(wanted, Pace(open_pipe(), {"torch": torch.__version__}, free=wanted["free"]))
