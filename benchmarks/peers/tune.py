"""Which flags suit the peers best on this machine: python benchmarks/peers/tune.py [--data FOLDER] [--venvs FOLDER]

Plain PyTorch with 0, 1 and 2 loading processes, each with torch.compile and without; lightly-train, which has no switch for
compilation here, with as many processes. What is fastest belongs into cases.py, as `workers` and `compiled` of "best" and "bare";
torchdistill's loop is plain PyTorch's, so it gets the same.
"""

from dataclasses import replace

from cases import CASES, CONTESTANTS, Case, Contestant
from machine import Machine
from measuring import measure_rates
from prepare import Places, shared_spec, train_teacher, work_folder, write_folders
from rounds import Length
from run import shared_parser


def variants(case: Case) -> list[Contestant]:
    """What is tried."""
    best = {contestant.peer: contestant for contestant in CONTESTANTS if contestant.setting == "best"}
    found = []
    for peer, choices in (("plain", (False, True)), ("lightly_train", (False,))):
        for compiled in choices:
            for workers in (0, 1, 2):
                setting = f"{workers} workers{', compiled' if compiled else ''}"
                names = frozenset({case.name} if compiled else ())
                found.append(replace(best[peer], setting=setting, workers=workers, compiled=names))
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
