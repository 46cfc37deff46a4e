"""The search studies on their validation pictures: what each form of learning gave, paired by seed with the image-only teacher's.

    python benchmarks/studies/search.py

Reads the records in kept/; the test pictures are not looked at.
"""

from pathlib import Path
from statistics import mean, stdev

from picturebook.study.settings import load_study
from picturebook.writing import read_json

HERE = Path(__file__).parent
STUDIES = ("search_resnet_wide", "search_25_resnet_wide")


def main() -> None:
    for name in STUDIES:
        study = load_study(HERE / f"{name}.toml")
        accuracies = {arm: _validation(HERE / "kept" / name / "runs" / arm) for arm in study.arms}
        base = accuracies[str(study.baseline)]
        print(f"{name}: accuracy on validation pictures, %")
        for arm, found in accuracies.items():
            if not found:
                continue
            spread = f" ({stdev(found.values()):.1f})" if len(found) > 1 else ""
            gains = [found[seed] - base[seed] for seed in found.keys() & base.keys()]
            gain = f"  over {study.baseline}: {mean(gains):+.1f}" if gains else ""
            print(f"  {arm:24} {mean(found.values()):5.1f}{spread}  n = {len(found)}{gain}")


def _validation(folder: Path) -> dict[str, float]:
    records = {path.stem: read_json(path) for path in sorted(folder.glob("seed-*.json"))}
    return {seed: 100 * record["models"]["student"]["val"]["accuracy"] for seed, record in records.items()}


if __name__ == "__main__":
    main()
