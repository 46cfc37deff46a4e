"""Put hostile files before every reader."""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import paths  # isort: skip - it tells where the next ones are
import torch
from guarded import MEMORY, SECONDS, try_all
from hostile import Corpus
from plans import planned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=3000, help="files spoilt at random, beside the planned ones")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        corpus = Corpus(root / "corpus")
        inputs = [*planned(corpus), *corpus.spoilt_data_sets(60, options.seed), *corpus.spoilt(options.num, options.seed)]
        outcomes = try_all(inputs, root)
    kinds = Counter(one["kind"] for one in outcomes)
    wrong = [one for one in outcomes if one["kind"] not in ("result", "sentence")]
    for one in wrong:
        print(f"{one['input']}: {one['kind']}\n{one['detail']}")
    counts = {"inputs": len(outcomes), "crashes": kinds["crash"], "hangs": kinds["hang"], "escapes": kinds["escape"]}
    bounds = {"seconds": SECONDS, "bytes_of_memory": MEMORY}
    paths.keep("inputs", counts | {"results": kinds["result"], "sentences": kinds["sentence"], "bounds": bounds, "wrong": wrong})


if __name__ == "__main__":
    main()
