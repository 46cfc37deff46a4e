"""A run's report in which every part has something."""

from dataclasses import replace

import numpy as np
from report_sample import arm, attention, curve

from picturebook.report.confusion import worst_pairs
from picturebook.report.reliability import reliability
from picturebook.report.run_content import AuditTable, Calibration, ClassRow, Gain, RunReport

CLASSES = ("animal", "fruit", "vehicle")
COUNTS = np.array([[8, 2, 0], [1, 9, 0], [4, 0, 6]])
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def run_report(**changes: object) -> RunReport:
    rng = np.random.default_rng(0)
    sure = rng.random(60)
    whole = RunReport(
        title="birds: image_text on birds",
        sentence="A teacher taught the student.",
        warnings=("The seeds differ.",),
        split="test",
        majority=0.34,
        arms=(arm("student", label="student"), arm("teacher", label="privileged teacher", note="made from the label")),
        gain=Gain("supervised", 30, 0.1, -0.02, 0.2, 5, 2, 0.45),
        curves_accuracy=(curve("student"),),
        curves_loss=(curve("student", 1.5), curve("head", 1.0)),
        classes=CLASSES,
        confusion=COUNTS,
        pairs=tuple(replace(pair, pictures=(PIXEL,)) for pair in worst_pairs(CLASSES, COUNTS, 3)),
        class_rows=(
            ClassRow("animal", 10, 0.8, 0.5, 1.0, 0.7, 0.1, -0.1, 0.3),
            ClassRow("fruit", 10, 0.9, 0.7, 1.0, 0.9, 0.0),
            ClassRow("vehicle", 10, 0.6, 0.3, 0.9, 0.8, -0.2, -0.5, 0.1),
        ),
        calibration=Calibration(
            reliability(sure, rng.random(60) < sure), reliability(sure**2, rng.random(60) < sure), 1.5, "Fitted on validation."
        ),
        calibration_note="",
        words=(attention(0), attention(1, prediction="animal")),
        words_note="Where they look.",
        activation=(attention(2, text=""),),
        activation_note="What spoke for it.",
        agreement="Student and teacher say the same of 70 %.",
        audit=AuditTable("WARN", "WARN: words unknown", ("A reason.",), ("probe", "value"), (("R0a", "33.3 %"), ("R1", "–"))),
        setting=(("recipe", "image_text"),),
        cost=(("head", 3.0), ("student", 60.0)),
        commands=("picturebook report runs/birds",),
        notes=("A note.",),
    )
    return replace(whole, **changes)
