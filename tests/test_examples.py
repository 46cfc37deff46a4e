import json
import runpy
from pathlib import Path

import pytest

import picturebook
from picturebook.errors import RunError
from picturebook.runs import RunFolder

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_objective.py"
TOY = {
    "device": "cpu",
    "precision": "fp32",
    "data.canvas_size": 16,
    "student.image_size": 16,
    "student.model": "resnet10t",
    "student.model_args": {"channels": [8, 8, 8, 8]},
    "student.init": "scratch",
    "train.epochs": 2,
    "train.batch_size": 16,
}


def test_the_example_of_an_own_objective_trains_as_any_recipe_and_goes_on_where_it_was(
    toy_data: Path, toy_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main = runpy.run_path(str(EXAMPLE))["main"]
    monkeypatch.setenv("PICTUREBOOK_CACHE", str(toy_cache))
    out = tmp_path / "run"
    main([str(toy_data), str(out), "--set", json.dumps(TOY)])
    assert "% of the test pictures, 3 classes" in capsys.readouterr().out
    run = RunFolder.open(out)
    assert json.loads(run.results.read_text())["recipe"] == "own"
    first, last = run.read_metrics()[0], run.read_metrics()[-1]
    assert 0.0 < first["focal"] < first["cross_entropy"]
    assert last["stage"] == "student"
    assert run.damage() is None
    before = run.results.read_bytes()
    main([str(toy_data), str(out), "--set", json.dumps(TOY)])
    assert run.results.read_bytes() == before
    with pytest.raises(RunError, match=r"objective is 'FocalLoss' there"):
        picturebook.train(lambda student: student, str(toy_data), out=out, settings=TOY, resume=True)
