from picturebook.report.study_content import ArmRow
from picturebook.study.table import study_warnings


def test_what_is_to_be_known_of_several_arms_is_said_once() -> None:
    marks = {"a": (), "b": ("unequal budget: views 4, not 2", "audit: WARN"), "c": ("unequal budget: views 4, not 2",)}
    arms = [ArmRow(name, (), marks=said, failed=((3, "no disk."),) if name == "c" else ()) for name, said in marks.items()]
    assert study_warnings(arms, [], 8) == [
        "b, c: unequal budget: views 4, not 2.",
        "b: audit: WARN.",
        "c, seed 3 failed: no disk.",
    ]
