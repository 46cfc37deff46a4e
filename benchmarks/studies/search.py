"""The search studies on validation pictures: what each form of learning gave, paired by seed with the rival of the same form.

    python benchmarks/studies/search.py

Reads the records in kept/; the test pictures are not looked at.
"""

from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev

from picturebook.study.settings import load_study
from picturebook.writing import read_json

HERE = Path(__file__).parent
STUDIES = ("search_resnet_wide", "search_25_resnet_wide")


def main() -> None:
    for name in STUDIES:
        study = load_study(HERE / f"{name}.toml")
        found = {arm: accuracies for arm in study.arms if (accuracies := _validation(HERE / "kept" / name / "runs" / arm))}
        print(f"{name}: accuracy on validation pictures, %: mean (sd)")
        for arm, accuracies in found.items():
            print(f"  {arm:40} {_spread(accuracies.values())}  n = {len(accuracies)}")
        for first, second in study.pairs:
            a, b = found.get(first, {}), found.get(second, {})
            if gains := [a[seed] - b[seed] for seed in a if seed in b]:
                print(f"  {first + ' - ' + second:40} {_spread(gains, sign='+')}  n = {len(gains)}")


def _spread(values: Iterable[float], sign: str = "") -> str:
    listed = list(values)
    spread = f" ({stdev(listed):.1f})" if len(listed) > 1 else ""
    return f"{mean(listed):{sign}5.1f}{spread}"


def _validation(folder: Path) -> dict[str, float]:
    records = {path.stem: read_json(path) for path in sorted(folder.glob("seed-*.json"))}
    return {seed: 100 * record["models"]["student"]["val"]["accuracy"] for seed, record in records.items()}


if __name__ == "__main__":
    main()
