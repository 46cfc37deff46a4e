from pathlib import Path

from command_line import CommandLine


def test_the_command_writes_the_page_and_says_where(picturebook: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "pages" / "a page.html"
    answer = picturebook("report", picturebook.run, "--baseline", picturebook.run, "--out", out)
    assert answer.code == 0
    assert answer.out == f"Wrote {out}.\n"
    assert "Class by class" in out.read_text(encoding="utf-8")


def test_what_is_no_run_is_a_sentence(picturebook: CommandLine, tmp_path: Path) -> None:
    assert "holds no run.toml" in picturebook.refusal("report", tmp_path)
    assert "There is no run folder" in picturebook.refusal("report", picturebook.run, "--baseline", tmp_path / "nowhere")
    assert "name a file in it" in picturebook.refusal("report", picturebook.run, "--out", tmp_path)


def test_a_half_written_run_is_a_sentence(picturebook: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('recipe = "supervised"\n', encoding="utf-8")
    assert "half written" in picturebook.refusal("report", tmp_path)
