"""What a student was given and its teacher cost, and where arms are no equals."""

from pathlib import Path

from toy_study import Pretending, plan, study

from picturebook.study.analysis import contrast_rows, gather
from picturebook.writing import write_json

ARMS = {name: {"recipe": "supervised"} for name in ("a", "b", "c")}


def test_unequal_budgets_are_marked_on_the_arm_and_on_its_contrasts(tmp_path: Path) -> None:
    arms = {**ARMS, "c": {"recipe": "supervised", "train": {"epochs": 4, "optimizer": "sgd"}, "views.flip": 0.0}}
    ours = plan(study(tmp_path, arms=arms))
    for cell in ours.cells():
        Pretending().finish(cell)
    gathered = gather(ours, {})
    assert gathered["b"].row.marks == ()
    assert gathered["c"].row.budget_differences == (
        "steps 40, not 20", "epochs 4, not 2", "views 4, not 2", "optimizer sgd, not adamw", "augmentation",
    )  # fmt: skip
    assert gathered["c"].row.budget["steps"] == 40
    rows = contrast_rows(ours, gathered)
    assert [any("unequal budgets: steps, epochs" in mark for mark in row.marks) for row in rows] == [False, True]


def test_what_was_known_of_labels_and_classes_and_whose_weights_are_kept_is_budget(tmp_path: Path) -> None:
    captions = {
        "recipe": "image_text",
        "text": {"source": "column", "kind": "label_blind"},
        "teacher.head": {"mode": "own", "residual": True},
        "class_text.source": "classes",
    }
    supervised = {
        "recipe": "supervised",
        "train.keep": "best",
        "data.supervision": {"labelled_share": 0.25, "unlabelled": "drop"},
    }
    ours = plan(study(tmp_path, arms={"a": {"recipe": "supervised"}, "b": captions, "c": supervised}, seeds=[0]))
    for cell in ours.cells():
        Pretending().finish(cell)
    gathered = gather(ours, {})
    assert gathered["b"].row.budget_differences == ("class text classes, not none",)
    assert gathered["c"].row.budget_differences == (
        "keep best, not last", "labelled share 0.25, not 1.0", "unlabelled drop, not keep",
    )  # fmt: skip


def test_a_teachers_run_is_a_cost_of_the_student(tmp_path: Path) -> None:
    arms = {"a": {"recipe": "supervised"}, "b": {"recipe": "born_again", "teacher.run": "{arm:a@next}"}}
    ours = plan(study(tmp_path, arms=arms))
    for cell in ours.cells():
        Pretending().finish(cell)
    gathered = gather(ours, {})
    assert gathered["b"].row.teacher_seconds == 2.0 + 12.0
    write_json(ours.cell("b", 0).run.provenance, {"cached_seconds": {"tokens": 8.0}})
    assert gather(ours, {})["b"].row.teacher_seconds == 2.0 + 12.0 + 8.0 / 2
    assert gathered["b"].row.stages == {"decode": 1.0, "targets": 2.0, "student": 10.0, "evaluate": 1.0}


def test_where_a_student_began_counts_as_its_pretraining_and_precision_as_budget(tmp_path: Path) -> None:
    text = {"source": "column", "column": "text"}
    arms = {
        "a": {"recipe": "supervised"},
        "b": {"recipe": "supervised", "student.init": "{arm:pairs}", "precision": "fp32"},
        "pairs": {"recipe": "clip", "text": text, "probe.finish": "linear_probe", "pretrain.epochs": 3},
    }
    ours = plan(study(tmp_path, arms=arms, seeds=[0]))
    for cell in ours.cells():
        Pretending().finish(cell)
    row = gather(ours, {})["b"].row
    assert row.budget["pretraining_steps"] == 7 * 3 + 10 * 2
    assert "unequal budget: pretraining steps 41, not 0, precision fp32, not auto" in row.marks
