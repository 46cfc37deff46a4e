from picturebook.data.findings import Finding, by_kind, from_json, sentence, to_json


def test_a_sentence_counts_and_names_the_first_three() -> None:
    finding = Finding("skipped", "truncated file", ("a.png", "b.png", "c.png", "d.png"))
    assert finding.count == 4
    assert sentence(finding) == "4 files skipped: truncated file (a.png, b.png, c.png, …)"
    assert sentence(Finding("converted", "CMYK", ("a.jpg",))) == "1 file converted: CMYK (a.jpg)"
    assert sentence(Finding("warned", "few", ("ape", "bat"), "class")) == "2 classes noted: few (ape, bat)"


def test_findings_survive_json_with_names_that_are_not_utf8() -> None:
    findings = by_kind("skipped", [("b", "x\udcff.png"), ("a", "y"), ("b", "z")])
    assert [finding.names for finding in findings] == [("x\udcff.png", "z"), ("y",)]
    assert from_json(to_json(findings)) == findings
