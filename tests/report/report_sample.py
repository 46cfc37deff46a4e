import numpy as np

from picturebook.report import Arm, Attention, Curve, Report


def arm(name: str = "student", **changes: object) -> Arm:
    values = {"label": f"The {name}", "accuracy": 0.6, "low": 0.55, "high": 0.65, "nll": 1.2, "ece": 0.04, "seconds": 75.0}
    return Arm(**{"name": name, "num_test": 1200, **values, **changes})


def attention(seed: int = 0, **changes: object) -> Attention:
    rng = np.random.default_rng(seed)
    weights = rng.random((4, 4))
    values = {
        "image": rng.integers(0, 256, (12, 16, 3), dtype=np.uint8),
        "text": "a red apple",
        "weights": weights / weights.sum(),
    }
    return Attention(**{**values, "label": "fruit", "prediction": "fruit", "probability": 0.9, **changes})


def curve(name: str = "student", end: float = 0.6) -> Curve:
    return Curve(name, tuple((float(epoch), end * epoch / 5) for epoch in range(1, 6)))


def report(**changes: object) -> Report:
    values = {
        "title": "A title",
        "sentence": "The student names 60 % of unseen pictures.",
        "setting": (("data", "toys"), ("seed", "0")),
        "majority": 0.25,
        "arms": (arm("student"), arm("supervised", accuracy=0.5, low=0.45, high=0.55)),
        "curves_accuracy": (curve("student"), curve("supervised", 0.5)),
        "curves_loss": (curve("student", 1.5),),
        "attention": (attention(0), attention(1, prediction="animal")),
        "cost": (("train", 60.0), ("label", 15.0)),
        "commands": ("picturebook demo --out runs/demo",),
        "notes": ("One seed.",),
        "credits": "Pictures: toys.",
    }
    return Report(**{**values, **changes})
