"""Kill runs at random moments, in each stage and by each kind, and compare how they end."""

import argparse
import tempfile
from pathlib import Path

import paths  # isort: skip - it tells where the next ones are
import pytest
import torch
from kill_plan import LONG_NUM, LONG_SEEDS, plan, trials
from killing import summary
from toy_world import make_units_small


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=LONG_NUM, help="trials a seed; one in four is struck twice")
    parser.add_argument("--seeds", type=int, nargs="+", default=LONG_SEEDS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    done, total = [], options.num * len(options.seeds)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        make_units_small(patch)
        for seed in options.seeds:
            for trial in trials(Path(folder) / str(seed), plan(options.num, seed), seed):
                done.append(trial)
                told = "; ".join(trial.problems) or "as undisturbed"
                print(f"{len(done)}/{total} {trial.job}, {trial.stage}, {trial.kind}: {told}", flush=True)
    paths.keep("kills", summary(done) | {"trials": len(done), "seeds": list(options.seeds)})


if __name__ == "__main__":
    main()
