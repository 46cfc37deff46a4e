"""An audit as people read it."""

from known_teachers import even, pictures, reads, run, sees

from picturebook.audit import COLUMNS, headline, summary_rows


def test_the_verdict_stands_in_one_line_with_what_the_teacher_is() -> None:
    privileged = run(reads, pictures(even(200)), "privileged")
    assert headline(privileged) == "FAIL, label-privileged: words privileged, 200 pictures, 4 classes"
    looks = run(sees, pictures(even(1000)), "image_only", num_noise=None)
    assert headline(looks) == "PASS: words image only, 1000 pictures, 4 classes"


def test_values_have_their_units_and_what_has_none_a_dash() -> None:
    data = pictures(even(200), image_only={"linear probe": 0.25})
    audit = run(reads, data, "label_blind")
    rows = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in summary_rows(audit)}
    assert rows["R1a"]["value"] == "25.0 %"
    assert rows["R1a"]["95 % interval"] == "–"
    assert rows["R12"]["value"] == f"{audit['R12'].value:.1f} points"
    assert rows["L"]["value"] == f"{audit['L'].value:.3f}"
    assert rows["R8"]["what is asked"].endswith(", T = 4")
    assert rows["R8"]["value"] == f"{[probe for probe in audit.probes if probe.id == 'R8'][-1].value:.3f} bits"
    assert rows["R2"]["95 % interval"] == f"{100 * audit['R2'].low:.1f} % – 100.0 %"
    assert "T =" not in rows["R2"]["what is asked"]
    missing = {row[0]: row for row in summary_rows(run(reads, pictures(even(200)), "label_blind"))}["R1"]
    assert missing[2:] == ("–", "–", "", "no image-only reference was given")


def test_what_decides_nothing_says_so_before_its_own_note() -> None:
    audit = run(reads, pictures(even(200)), "label_blind")
    for row, probe in zip(summary_rows(audit), audit.probes, strict=True):
        if probe.id in ("L", "R8", "R12"):
            assert row[5] == "reads captions: decides nothing" + (f"; {probe.note}" if probe.note else "")
        else:
            assert row[5] == probe.note
