import json
from pathlib import Path

import pytest

from command_line import CommandLine
from picturebook.caching import _KINDS
from toy_runs import VIT, write_toy_data


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    root = write_toy_data(tmp_path / "data")
    student = f'[student]\nmodel = "{VIT["model"]}"\nimage_size = 16\n[student.model_args]\n'
    student += "\n".join(f"{name} = {value}" for name, value in VIT["model_args"].items())
    path = tmp_path / "RUN.toml"
    head = f'recipe = "supervised"\nout = "{tmp_path / "run"}"\nprecision = "fp32"\ncache = "{tmp_path / "cache"}"\n'
    path.write_text(f'{head}[data]\nroot = "{root}"\ncanvas_size = 16\n[train]\nepochs = 3\nbatch_size = 8\n{student}\n')
    return path


def test_plan_shows_every_stage_and_the_whole(picturebook: CommandLine, run_file: Path) -> None:
    shown = picturebook("plan", str(run_file)).out
    assert all(word in shown for word in ("student", "evaluate", "all", "memory", "processes", "training pictures"))
    assert not (run_file.parent / "run").exists()


def test_plan_for_machines_and_for_a_bigger_setting(picturebook: CommandLine, run_file: Path) -> None:
    command = ["plan", str(run_file), "--pictures", "1000000", "--classes", "1000", "--processes", "16", "--json"]
    found = json.loads(picturebook(*command).out)
    assert (found["pictures"], found["classes"], found["processes"]) == (1_000_000, 1000, 16)
    assert found["seconds"] > 0
    assert {one["stage"] for one in found["stages"] if one["shared"]} == {"student"}
    assert found["memory_of_rows"] > 383 * 1_000_000
    assert found["memory"] == max(one["memory"] for one in found["stages"])
    assert "data.canvas_budget_gb" not in " ".join(found["notes"])


def test_the_help_names_every_kind_of_cache_entry(picturebook: CommandLine) -> None:
    shown = picturebook("cache", "clean", "--help").out
    assert [kind for kind in _KINDS if kind not in shown] == []


def test_the_cache_is_listed_and_emptied(picturebook: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("picturebook.caching.cache_folder", lambda: tmp_path)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "ab.npz").write_bytes(b"x" * 5_000_000)
    assert "ab.npz" in picturebook("cache", "list").out
    assert json.loads(picturebook("cache", "list", "--json").out)[0]["kind"] == "texts"
    assert "1 item removed, 5 MB free" in picturebook("cache", "clean", "texts").out
    assert json.loads(picturebook("cache", "list", "--json").out) == []
    assert "There is no kind of cache entry 'words'" in picturebook.refusal("cache", "clean", "words")
