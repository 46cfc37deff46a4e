"""An objective of one's own, trained by picturebook's engine: the focal loss (Lin et al., 2017, arXiv:1708.02002).

    python examples/own_objective.py birds/ runs/focal

Pictures that the student is sure of count less: the cross-entropy of each picture is weighted by (1 − p)^γ, where p is what
the student gives to the true class.
"""

import argparse
import json
from collections.abc import Sequence

import picturebook


class FocalLoss(picturebook.Objective):
    """(1 − p)^γ · cross-entropy, a mean over the batch."""

    def __init__(self, student: picturebook.ImageEncoder, gamma: float = 2.0) -> None:
        super().__init__()
        self.student = student
        self.gamma = gamma

    def forward(self, batch: picturebook.Batch) -> picturebook.Loss:
        log_probs = self.student(batch.images).float().log_softmax(dim=1)
        log_p = log_probs.gather(1, batch.labels[:, None])[:, 0]
        focal = -((1.0 - log_p.exp()) ** self.gamma * log_p).mean()
        return picturebook.Loss(focal, {"focal": focal.detach(), "cross_entropy": -log_p.detach().mean()})


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and say how many test pictures are named rightly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="class folders, a folder with metadata.csv, a parquet file")
    parser.add_argument("out", help="the run's folder; an interrupted run there is gone on with")
    parser.add_argument("--set", dest="settings", type=json.loads, default={}, help='{"train.epochs": 5, …}, as JSON')
    given = parser.parse_args(arguments)
    classifier = picturebook.train(FocalLoss, given.data, out=given.out, settings=given.settings, resume=True)
    assert classifier.run_ is not None
    models = json.loads((classifier.run_ / "results.json").read_text())["models"]
    print(f"{models['student']['test']['accuracy']:.1%} of the test pictures, {len(classifier.classes_)} classes")


if __name__ == "__main__":
    main()
