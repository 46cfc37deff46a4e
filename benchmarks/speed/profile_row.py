"""Say where a row's time goes: python benchmarks/speed/profile_row.py ROW, for example stored_resnet18

Prints both sides' operations by their own time, and what Python spent in picturebook's functions on our side. A pipeline's stages
are in its row's file; memory's peaks are too.
"""

import cProfile
import json
import pstats
import sys
import tempfile
from pathlib import Path

from measure import ROWS, STEPS
from timing import RESULTS
from torch.profiler import ProfilerActivity, profile

_TURNS = 3
_LINES = 15


def main() -> None:
    """Profile the row that the command line names."""
    if len(sys.argv) != 2 or sys.argv[1] not in ROWS:
        raise SystemExit(f"Say one row: {', '.join(ROWS)}.")
    name = sys.argv[1]
    kind, _, family = name.partition("_")
    if kind not in STEPS:
        path = RESULTS / f"{name}.json"
        raise SystemExit(json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=1) if path.is_file() else "not measured")
    with tempfile.TemporaryDirectory() as place:
        sides = dict(zip(("ours", "bare"), STEPS[kind][0](Path(place), family), strict=True))
        for title, step in sides.items():
            step()
            with profile(activities=[ProfilerActivity.CPU]) as found:
                for _ in range(_TURNS):
                    step()
            print(f"{title}, {_TURNS} steps")
            print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=_LINES, max_name_column_width=40))
        python = cProfile.Profile()
        python.runcall(lambda: [sides["ours"]() for _ in range(_TURNS)])
        pstats.Stats(python).sort_stats("cumulative").print_stats("picturebook", _LINES)


if __name__ == "__main__":
    main()
