"""DINO's loss against the paper's algorithm, one pair of views and one image at a time in float64."""

import numpy as np
import pytest
import torch

from picturebook.losses import multi_crop_cross_entropy


def softmax(row: np.ndarray) -> np.ndarray:
    powers = np.exp(row - row.max())
    return powers / powers.sum()


def slow_loss(
    student: np.ndarray, teacher: np.ndarray, centre: np.ndarray, teacher_temperature: float, student_temperature: float
) -> float:
    losses = []
    for v in range(len(teacher)):
        for u in range(len(student)):
            if u == v:
                continue
            for image in range(student.shape[1]):
                p = softmax((teacher[v, image] - centre) / teacher_temperature)
                q = softmax(student[u, image] / student_temperature)
                losses.append(-sum(p[k] * np.log(q[k]) for k in range(len(p))))
    return float(np.mean(losses))


@pytest.mark.parametrize("temperatures", [(0.04, 0.1), (0.07, 0.1), (1.0, 1.0), (2.0, 0.5)])
@pytest.mark.parametrize("shape", [(2, 2, 1, 2), (2, 10, 3, 5), (2, 4, 5, 40), (1, 3, 2, 4)])
def test_the_loss_is_its_formula(shape: tuple[int, int, int, int], temperatures: tuple[float, float]) -> None:
    globals_, views, batch, prototypes = shape
    generator = np.random.default_rng(0)
    student = generator.uniform(-1, 1, (views, batch, prototypes))
    teacher = generator.uniform(-1, 1, (globals_, batch, prototypes))
    centre = generator.uniform(-1, 1, prototypes)
    found = multi_crop_cross_entropy(
        torch.tensor(student),
        torch.tensor(teacher),
        centre=torch.tensor(centre),
        teacher_temperature=temperatures[0],
        student_temperature=temperatures[1],
    )
    assert found.item() == pytest.approx(slow_loss(student, teacher, centre, *temperatures), rel=1e-10)


def test_at_a_low_temperature_answers_near_the_largest_keep_their_digits() -> None:
    """In float32, beside a prototype that is far away."""
    logits = torch.tensor([[[0.0, 6.0, 6.0103]], [[0.0, 6.0207, 6.0]]])
    settings = {"teacher_temperature": 0.01, "student_temperature": 0.01}
    found = multi_crop_cross_entropy(logits, logits, centre=torch.zeros(3), **settings)
    wide = logits.double().numpy()
    assert found.item() == pytest.approx(slow_loss(wide, wide, np.zeros(3), 0.01, 0.01), rel=1e-6)


def test_a_view_is_never_compared_with_itself() -> None:
    student = torch.zeros(2, 1, 2)
    teacher = torch.tensor([[[50.0, 0.0]], [[0.0, 50.0]]])
    student[0, 0, 1], student[1, 0, 0] = 50.0, 50.0  # each says what the teacher says of the other
    settings = {"centre": torch.zeros(2), "teacher_temperature": 1.0, "student_temperature": 1.0}
    assert multi_crop_cross_entropy(student, teacher, **settings).item() == pytest.approx(0.0, abs=1e-6)
    assert multi_crop_cross_entropy(student.flip(0), teacher, **settings).item() == pytest.approx(50.0)


def test_answers_without_any_preference_cost_the_logarithm_of_the_prototypes() -> None:
    zeros = torch.zeros(4, 3, 20)
    found = multi_crop_cross_entropy(zeros, zeros[:2], centre=torch.zeros(20), teacher_temperature=0.04, student_temperature=0.1)
    assert found.item() == pytest.approx(np.log(20))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3, 2, 4), (2, 2, 5), 4), "of one batch"),
        (((3, 2, 4), (2, 3, 4), 4), "of one batch"),
        (((3, 2, 4), (2, 2, 4), 3), "centre: expected one number a prototype"),
        (((1, 2, 4), (1, 2, 4), 4), "2 views at least"),
        (((0, 2, 4), (0, 2, 4), 4), "2 views at least"),
        (((2, 2, 4), (0, 2, 4), 4), "2 views at least"),
        (((2, 0, 4), (2, 0, 4), 4), "both at least 1"),
        (((2, 4), (2, 2, 4), 4), "of one batch"),
        (((2, 2, 4), (2, 4), 4), "of one batch"),
        (((2, 2, 4), (3, 2, 4), 4), "the teacher's among the student's"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch, shapes: tuple[tuple[int, ...], tuple[int, ...], int], message: str
) -> None:
    import jaxtyping

    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it: our own sentences must come
    student, teacher, centre = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        multi_crop_cross_entropy(student, teacher, centre=centre, teacher_temperature=0.1, student_temperature=0.1)


@pytest.mark.parametrize("temperatures", [(0.0, 0.1), (0.1, -1.0)])
def test_temperatures_need_to_be_positive(temperatures: tuple[float, float]) -> None:
    zeros = torch.zeros(2, 1, 3)
    with pytest.raises(ValueError, match="temperature: expected a positive number"):
        multi_crop_cross_entropy(
            zeros, zeros, centre=zeros[0, 0], teacher_temperature=temperatures[0], student_temperature=temperatures[1]
        )


def test_a_temperature_may_be_a_tensor_that_a_schedule_writes() -> None:
    logits = torch.arange(12.0).reshape(2, 2, 3).sin()
    settings = {"centre": torch.zeros(3), "student_temperature": 0.1}
    written = multi_crop_cross_entropy(logits, logits, teacher_temperature=torch.tensor(0.5), **settings)
    assert written.item() == multi_crop_cross_entropy(logits, logits, teacher_temperature=0.5, **settings).item()
