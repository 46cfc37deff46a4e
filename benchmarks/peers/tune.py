"""Which flags suit the peers best on this machine: python benchmarks/peers/tune.py [--data FOLDER] [--venvs FOLDER]

Plain PyTorch and lightly-train at their best flags of cases.py with 0, 1 and 2 loading processes, in the other precision, and
plain PyTorch with torch.compile, for which lightly-train has no switch here. What is fastest belongs into cases.py, as `workers`,
`bf16` and `compiled` of "best" and "bare"; torchdistill's loop is plain PyTorch's, so it gets the same.
"""

from dataclasses import replace
from typing import Any

from cases import BF16, CASES, CONTESTANTS, Case, Contestant
from machine import Machine
from measuring import measure_rates
from prepare import Places, shared_spec, train_teacher, work_folder, write_folders
from rounds import Length
from run import shared_parser


def variants(case: Case) -> list[Contestant]:
    """What is tried: one thing changed at a time."""
    best = {contestant.peer: contestant for contestant in CONTESTANTS if contestant.setting == "best"}
    found = []
    for peer in ("plain", "lightly_train"):
        tried: dict[str, dict[str, Any]] = {f"{workers} workers": {"workers": workers} for workers in (0, 1, 2)}
        tried["fp32" if BF16 else "bf16"] = {"bf16": not BF16}
        if peer == "plain":
            tried["compiled"] = {"compiled": frozenset({case.name})}
        found += [replace(best[peer], setting=setting, **changes) for setting, changes in tried.items()]
    return found


def main() -> None:
    arguments = shared_parser("Which flags suit the peers best.").parse_args()
    places = Places(work_folder(arguments.data, arguments.work))
    machine = Machine(arguments.venvs, places.work, arguments.threads)
    num_classes = write_folders(arguments.data, places)
    for case in (case for case in CASES if case.name in arguments.cases):
        teacher = train_teacher(case, places, epochs=0, threads=arguments.threads)
        spec = shared_spec(case, places, teacher, num_classes=num_classes, threads=arguments.threads)
        measured = measure_rates(machine, case, spec, variants(case), rounds=arguments.rounds, length=Length())
        for name in sorted(measured.rates.by_name, key=measured.rates.median, reverse=True):
            print(f"{case.name:10} {name:32} {measured.rates.median(name):8.0f} images/s")


if __name__ == "__main__":
    main()
