import os
import signal
from pathlib import Path

import pytest
from lines import Line, Numbers, run, training, weights

from picturebook.engine import sigterm_raises
from picturebook.engine.interruption import sigterm_noted
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


def test_sigterm_raises_where_no_step_is_under_way() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptionError), sigterm_raises():
        terminate()
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_is_noted_and_counts_at_the_end_of_the_block() -> None:
    seen: list[bool] = []

    def block() -> None:
        with sigterm_noted() as came:
            seen.append(came())
            terminate()
            seen.append(came())

    with pytest.raises(InterruptionError):
        block()
    assert seen == [False, True]
