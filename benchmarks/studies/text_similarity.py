"""Do classes whose words are alike look alike? What a prior from texts can hope for, before anything is trained on it.

    python benchmarks/studies/text_similarity.py RUN [--descriptions FILE]

RUN is a finished run that read no words (`supervised`, `distil`). Its validation answers give, for each pair of classes, how much
probability pictures of one leave to the other (both ways, mean). Printed is Spearman's correlation of that with the cosine of the
classes' texts, over all pairs; p by permuting the classes. Under .2 a prior from texts is smoothing like any other.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from picturebook.data.texts import TextOptions, class_texts
from picturebook.models.text_encoders import load_text_encoder
from picturebook.runs import RunFolder
from picturebook.writing import read_json

TEXT_ENCODER = "package:all-MiniLM-L6-v2"
NUM_PERMUTATIONS = 2000


def confusion(run: RunFolder, num_classes: int) -> np.ndarray:
    """Mean probability of class j on validation pictures of class i, the same both ways."""
    with np.load(run.predictions) as kept:
        logits, labels = torch.from_numpy(kept["val_logits"]).float(), torch.from_numpy(kept["val_labels"])
    answers = logits.softmax(dim=1)
    means = torch.stack([answers[labels == index].mean(dim=0) for index in range(num_classes)]).numpy()
    return (means + means.T) / 2


def similarity(options: TextOptions, classes: list[str]) -> np.ndarray:
    """Cosine of the classes' texts, less the mean text."""
    encoder = load_text_encoder(TEXT_ENCODER)
    texts = class_texts(options, classes).sentences
    ends = np.cumsum([0, *map(len, texts)])
    vectors = encoder.encode([sentence for text in texts for sentence in text])
    means = torch.stack([vectors[start:end].mean(dim=0) for start, end in pairwise(ends)])
    units = torch.nn.functional.normalize(means - means.mean(dim=0), dim=1)
    return (units @ units.T).numpy()


def correlation(seen: np.ndarray, told: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """Spearman's correlation over pairs of classes, and the share of permuted classes that reach it."""
    upper = np.triu_indices(len(seen), k=1)
    found = spearmanr(seen[upper], told[upper]).statistic
    generator = np.random.default_rng(seed)
    orders = (generator.permutation(len(seen)) for _ in range(NUM_PERMUTATIONS))
    chance = [spearmanr(seen[upper], told[np.ix_(order, order)][upper]).statistic for order in orders]
    return float(found), (1 + sum(value >= found for value in chance)) / (1 + NUM_PERMUTATIONS)


def _unseen(run: RunFolder, classes: list[str]) -> list[str]:
    with np.load(run.predictions) as kept:
        counts = np.bincount(kept["val_labels"], minlength=len(classes))
    return [name for name, count in zip(classes, counts, strict=True) if not count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--descriptions", type=Path, help="JSON file, class name → list of sentences")
    arguments = parser.parse_args()
    run = RunFolder.open(arguments.run)
    classes = read_json(run.classes)
    if missing := _unseen(run, classes):
        parser.error(f"no validation picture of {', '.join(missing)}: nothing is known of these classes")
    asked = {"names": TextOptions()}
    if arguments.descriptions:
        asked["descriptions"] = TextOptions(source="descriptions", descriptions=str(arguments.descriptions))
    seen = confusion(run, len(classes))
    for name, options in asked.items():
        rho, p = correlation(seen, similarity(options, classes))
        print(f"{name}: Spearman {rho:.3f} over {len(classes) * (len(classes) - 1) // 2} pairs of classes, p = {p:.4f}")


if __name__ == "__main__":
    main()
