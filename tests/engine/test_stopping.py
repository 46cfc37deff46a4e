import os
import signal
from pathlib import Path

import pytest
from lines import Line, Numbers, run, training, weights

from picturebook.errors import InterruptionError
from picturebook.runs import RunFolder


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("at", [1, 6, 12])
def test_sigterm_ends_a_training_after_its_step_and_nothing_of_it_is_lost(tmp_path: Path, at: int) -> None:
    straight, resumed, numbers = Line(), Line(), Numbers()
    run(tmp_path / "straight", training(straight))
    with pytest.raises(InterruptionError, match=r"Stopped by SIGTERM\. What was done is kept") as raised:
        run(tmp_path / "run", training(Line(), progress=lambda done, total: terminate() if done == at else None))
    assert raised.value.exit_code == 75
    run(tmp_path / "run", training(resumed, numbers=numbers))
    assert numbers.asked == list(range(at, 12))
    assert weights(resumed) == weights(straight)
    ours, theirs = (RunFolder(tmp_path / name).read_metrics() for name in ("run", "straight"))
    assert [{**line, "images_per_second": 0} for line in ours] == [{**line, "images_per_second": 0} for line in theirs]
