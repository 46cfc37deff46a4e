import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator, DistributedType
from lines import Line, Numbers, run, training, weights
from torch import nn

from interrupting import PowerCutError
from picturebook.engine import TrainOptions, build_accelerator, build_optimizer, learning_rate, on_first_process, wants_parts
from picturebook.errors import OptionError, RunError, TrainingError


def test_the_rate_rises_straight_and_falls_by_half_a_cosine() -> None:
    rates = [learning_rate(step, num_steps=10, num_warmup_steps=4.0, peak=2.0) for step in range(11)]
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert rates[4:] == pytest.approx([1 + math.cos(math.pi * part / 6) for part in range(7)])
    assert rates[7] == pytest.approx(1.0)
    assert learning_rate(0, num_steps=1, num_warmup_steps=0.05, peak=1.0) == pytest.approx(1 / 1.05)
    assert max(learning_rate(step, num_steps=7, num_warmup_steps=0.0, peak=0.3) for step in range(7)) == 0.3


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_decay_is_for_matrices_and_kernels_only(kind: str) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    module[2].weight.requires_grad_(False)
    optimizer = build_optimizer(module.parameters(), TrainOptions.model_validate({"optimizer": kind, "weight_decay": 0.3}))
    decays = {id(parameter): group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    assert decays[id(module[0].weight)] == 0.3
    assert {decays[id(parameter)] for parameter in (module[0].bias, module[1].weight, module[1].bias, module[2].bias)} == {0.0}
    assert id(module[2].weight) not in decays


def test_each_step_is_taken_once_in_order_and_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    numbers, objective = Numbers(), Line()
    run(tmp_path, training(objective, numbers=numbers, progress=lambda done, total: told.append((done, total))))
    assert numbers.asked == list(range(12))
    assert told == [(done, 12) for done in range(1, 13)]
    assert int(objective.steps) == 12


def test_metrics_have_a_line_an_epoch_with_the_mean_loss(tmp_path: Path) -> None:
    lines = run(tmp_path, training(Line())).read_metrics()
    assert [(line["stage"], line["step"], line["epoch"]) for line in lines] == [("line", 4, 1), ("line", 8, 2), ("line", 12, 3)]
    assert all(line["loss"] > 0 and line["error"] > 0 and line["images_per_second"] > 0 for line in lines)
    assert lines[-1]["learning_rate"] < lines[0]["learning_rate"]


def test_the_logged_loss_and_its_terms_are_means_over_the_epochs_steps(tmp_path: Path) -> None:
    objective = Line()
    objective.dropout.p = 0.0
    numbers = Numbers(2, steps_per_epoch=2)
    losses = [objective(numbers.at(step)) for step in range(2)]
    (line,) = run(tmp_path, training(objective, numbers=Numbers(2, steps_per_epoch=2), learning_rate=1e-12)).read_metrics()
    assert line["loss"] == pytest.approx(np.mean([loss.total.item() for loss in losses]), rel=1e-5)
    assert line["error"] == pytest.approx(np.mean([loss.terms["error"].item() for loss in losses]), rel=1e-5)


def test_what_was_evaluated_before_is_trained_all_the_same(tmp_path: Path) -> None:
    fresh, evaluated = Line(), Line()
    evaluated.eval()
    for name, objective in (("a", fresh), ("b", evaluated)):
        run(tmp_path / name, training(objective))
        assert objective.training
    assert weights(evaluated) == weights(fresh)


def test_the_last_epoch_of_a_run_is_not_past_its_epochs(tmp_path: Path) -> None:
    # 3 epochs of 33 samples in batches of 16: 6 full batches and one of 3.
    lines = run(tmp_path, training(Line(), numbers=Numbers(7, steps_per_epoch=33 / 16))).read_metrics()
    assert lines[-1]["epoch"] <= 3


@pytest.mark.parametrize(("validations", "expected"), [(0, []), (1, [12]), (2, [8, 12]), (3, [4, 8, 12]), (10, [4, 8, 12])])
def test_validation_comes_evenly_and_at_the_end(tmp_path: Path, validations: int, expected: list[int]) -> None:
    objective = Line()

    def validate() -> dict[str, float]:
        objective.eval()
        return {"val_accuracy": 0.5}

    lines = run(tmp_path, training(objective, validate=validate, validations=validations)).read_metrics()
    assert [line["step"] for line in lines if "val_accuracy" in line] == expected
    assert objective.training


def test_validation_changes_nothing_of_the_training(tmp_path: Path) -> None:
    plain, looked_at = Line(), Line()

    def validate() -> dict[str, float]:
        looked_at.eval()
        torch.manual_seed(123)
        return {"number": float(torch.rand(()))}

    run(tmp_path / "a", training(plain))
    run(tmp_path / "b", training(looked_at, validate=validate))
    assert weights(plain) == weights(looked_at)


def test_the_seed_decides_what_dropout_drops_and_the_global_generator_does_not(tmp_path: Path) -> None:
    found = []
    for name, seed, state in (("a", 0, 1), ("b", 0, 2), ("c", 1, 1)):
        torch.manual_seed(state)
        objective = Line()
        run(tmp_path / name, training(objective, seed=seed))
        found.append(weights(objective))
    assert found[0] == found[1]
    assert found[0] != found[2]


@pytest.mark.parametrize("stop", [1, 4, 6, 11, 12])
@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_resumed_training_equals_a_straight_one(tmp_path: Path, stop: int, kind: str) -> None:
    straight = Line()
    expected = run(tmp_path / "straight", training(straight, optimizer=kind)).read_metrics()

    def interrupt(done: int, total: int) -> None:
        if done == stop:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        run(tmp_path / "run", training(Line(), progress=interrupt, optimizer=kind))
    numbers, resumed = Numbers(), Line()
    folder = run(tmp_path / "run", training(resumed, numbers=numbers, optimizer=kind))
    assert numbers.asked[0] == (stop - 1) // 4 * 4
    assert weights(resumed) == weights(straight)
    assert int(resumed.steps) == 12
    for ours, theirs in zip(folder.read_metrics(), expected, strict=True):
        assert {**ours, "images_per_second": 0} == {**theirs, "images_per_second": 0}


def test_an_interrupted_save_is_not_resumed_from(tmp_path: Path) -> None:
    folder = run(tmp_path, training(Line()))
    (folder.stage("line") / ".state-000000016.half").mkdir()
    objective = Line()
    run(tmp_path, training(objective))
    assert int(objective.steps) == 12
    assert sorted(path.name for path in folder.stage("line").glob("state-*")) == ["state-000000008", "state-000000012"]


@pytest.mark.parametrize("name", ["objective.safetensors", "optimizer.pt", "step.json", "checksums.json"])
@pytest.mark.parametrize("spoilt", [lambda content: content[:-3], lambda content: b"", lambda content: b"\0" * len(content)])
def test_a_broken_state_is_passed_over_for_the_one_before(tmp_path: Path, name: str, spoilt: Callable[[bytes], bytes]) -> None:
    straight, resumed, numbers = Line(), Line(), Numbers()
    folder = run(tmp_path, training(straight))
    file = folder.stage("line") / "state-000000012" / name
    file.write_bytes(spoilt(file.read_bytes()))
    run(tmp_path, training(resumed, numbers=numbers))
    assert numbers.asked == list(range(8, 12))
    assert weights(resumed) == weights(straight)
    assert [line["step"] for line in folder.read_metrics()] == [4, 8, 12]


def test_where_no_state_is_whole_a_stage_begins_anew(tmp_path: Path) -> None:
    straight, resumed, numbers = Line(), Line(), Numbers()
    folder = run(tmp_path, training(straight))
    for file in folder.stage("line").glob("state-*/objective.safetensors"):
        file.unlink()
    run(tmp_path, training(resumed, numbers=numbers))
    assert numbers.asked == list(range(12))
    assert weights(resumed) == weights(straight)


def test_a_finished_stage_is_loaded_and_not_trained_again(tmp_path: Path) -> None:
    first, second, numbers = Line(), Line(), Numbers()
    run(tmp_path, training(first))
    folder = run(tmp_path, training(second, numbers=numbers))
    assert numbers.asked == []
    assert weights(second) == weights(first)
    assert len(folder.read_metrics()) == 3


def test_a_training_goes_on_with_as_many_processes_as_it_began_with(tmp_path: Path) -> None:
    folder = run(tmp_path, training(Line()))
    file = folder.stage("line") / "state-000000012" / "step.json"
    about = json.loads(file.read_text())
    assert (about["step"], about["processes"], about["left_out"]) == (12, 1, 0)
    assert about["log"] == folder.read_metrics()
    file.write_text(json.dumps({"step": 8, "processes": 2}))
    objective, numbers = Line(), Numbers()
    with pytest.raises(TrainingError, match=r"Stage line was started with 2 processes, now there are 1: .* as many as before"):
        run(tmp_path, training(objective, numbers=numbers))
    assert numbers.asked == []
    assert weights(objective) == weights(Line())
    assert len(folder.read_metrics()) == 3


def test_gradients_are_clipped_where_it_is_asked(tmp_path: Path) -> None:
    def moved(clip: float) -> float:
        objective = Line()
        options = {"optimizer": "sgd", "clip": clip, "weight_decay": 0.0, "learning_rate": 1e-3, "warmup": 0.0}
        run(tmp_path / str(clip), training(objective, numbers=Numbers(1, steps_per_epoch=1), **options))
        return float(np.linalg.norm(np.array(weights(objective)) - [1, 1, 1, 0]))

    assert moved(0.01) == pytest.approx(0.01 * 1e-3 * 1.9, rel=1e-2)  # Nesterov's first step is (1 + 0.9) gradients
    assert moved(0.0) > 10 * moved(0.01)


def test_cpu_and_fp32_are_what_is_asked_for() -> None:
    for precision, mixed in (("fp32", "no"), ("bf16", "bf16"), ("fp32", "no")):
        accelerator = build_accelerator(device="cpu", precision=precision)
        assert accelerator.device.type == "cpu"
        assert accelerator.mixed_precision == mixed


@pytest.mark.parametrize(("amx", "mixed"), [(True, "bf16"), (False, "no")])
def test_auto_is_bf16_on_processors_with_amx_alone(monkeypatch: pytest.MonkeyPatch, amx: bool, mixed: str) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert build_accelerator(device="cpu", precision="auto").mixed_precision == mixed
    assert build_accelerator(device="cpu", precision="bf16").mixed_precision == "bf16"


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(OptionError, match=f"device = '{device}': there is none on this machine. Say 'auto' or 'cpu'"):
        build_accelerator(device=device, precision="fp32")


@pytest.mark.parametrize("kind", [DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM])
def test_parts_of_another_kind_are_refused(monkeypatch: pytest.MonkeyPatch, kind: DistributedType) -> None:
    monkeypatch.setattr("picturebook.engine.devices.Accelerator", lambda **_: SimpleNamespace(distributed_type=kind))
    with pytest.raises(OptionError, match=f"accelerate is set to {kind.value}, whose parts of a model picturebook cannot put"):
        build_accelerator(device="cpu", precision="fp32")


@pytest.mark.parametrize(("said", "parts"), [("true", True), ("false", False), (None, False)])
def test_accelerates_own_setting_asks_for_parts_too(monkeypatch: pytest.MonkeyPatch, said: str | None, parts: bool) -> None:
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    if said is not None:
        monkeypatch.setenv("ACCELERATE_USE_FSDP", said)
    assert wants_parts("ddp") is parts
    assert wants_parts("fsdp")
    asked: list[str | None] = []

    def build(**settings: Any) -> Accelerator:
        asked.append(os.environ.get("ACCELERATE_USE_FSDP"))
        return Accelerator(**settings)

    monkeypatch.setattr("picturebook.engine.devices.Accelerator", build)
    build_accelerator(device="cpu", precision="fp32")
    assert asked == ["false"]  # the engine cuts, not accelerate
    assert os.environ.get("ACCELERATE_USE_FSDP") == said


def test_parts_need_the_torch_that_they_were_tested_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("picturebook.engine.devices._TORCH_OF_PARTS", "99.0")
    with pytest.raises(OptionError, match=r"strategy = 'fsdp' needs torch 99\.0, this is 2\."):
        wants_parts("fsdp")
    assert not wants_parts("ddp")


def test_the_first_process_works_and_its_refusal_is_raised() -> None:
    accelerator = build_accelerator(device="cpu", precision="fp32")
    done: list[str] = []
    on_first_process(accelerator, lambda: done.append("work"))
    assert done == ["work"]

    def refuse() -> None:
        raise RunError("The folder is taken.")

    with pytest.raises(RunError, match=r"^The folder is taken\.$"):
        on_first_process(accelerator, refuse)


def test_a_batch_of_fewer_than_four_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 4"):
        TrainOptions(batch_size=3)
    assert TrainOptions(batch_size=4).batch_size == 4


@pytest.mark.parametrize(("num_views", "epochs", "distinct"), [(0, 5, 5), (3, 5, 3), (9, 5, 5)])
def test_distinct_views_are_never_more_than_epochs(num_views: int, epochs: int, distinct: int) -> None:
    assert TrainOptions(num_views=num_views, epochs=epochs).distinct_views == distinct
