"""Distillation by picturebook and by others, side by side: python benchmarks/peers/run.py [--data FOLDER] [--venvs FOLDER]

First, once: python benchmarks/peers/environments.py, which makes an environment for each peer. Then, on a machine that does
nothing else, about twenty minutes (three with --quick). Writes a file for each target into
benchmarks/peers/results/ and all that was measured into benchmarks/peers/rates.json. docs/peers.md says how each peer is run.
"""

import argparse
import os
from pathlib import Path

import page
from cases import CASES, CONTESTANTS
from environments import VENVS, versions
from machine import HERE, REPOSITORY, Machine
from measuring import measure_rates, measure_seconds
from prepare import Places, shared_spec, train_teacher, work_folder, write_folders, write_toy_pictures
from rounds import Length
from tables import device_name, raw, say_case, say_seconds, write_records

_TEACHER_EPOCHS, _EPOCHS, _ACCURACY = 10, 6, 0.25
"""Of the training to an accuracy, with ResNet-8: enough to tell the tools apart, not to tell what students are worth."""
QUICK = Length(seconds=1.0, least=2, warm=1)


def shared_parser(description: str) -> argparse.ArgumentParser:
    """The options that this program and tune.py have in common."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data" / "emoji64", help="pictures, as picturebook reads them")
    parser.add_argument("--venvs", type=Path, default=VENVS, help="folder of the peers' environments")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs" / "peers", help="folder for files that may be deleted")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", default=[case.name for case in CASES], choices=[case.name for case in CASES])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each process")
    return parser


def read_arguments() -> argparse.Namespace:
    parser = shared_parser("Peers, side by side.")
    parser.add_argument("--toy", action="store_true", help="coloured noise in place of --data, to see whether all runs")
    parser.add_argument("--out", type=Path, help="folder of results/ and rates.json; here by default, for a toy the work folder")
    parser.add_argument("--peers", nargs="+", default=sorted({c.peer for c in CONTESTANTS}), help="picturebook is always there")
    parser.add_argument("--quick", action="store_true", help="one short round of defaults and best flags alone")
    return parser.parse_args()


def main() -> None:
    arguments = read_arguments()
    peers = {"picturebook", *arguments.peers}
    settings = ("defaults", "best") if arguments.quick else {contestant.setting for contestant in CONTESTANTS}
    contestants = [one for one in CONTESTANTS if one.peer in peers and one.setting in settings]
    places = Places(work_folder(Path("toy") if arguments.toy else arguments.data, arguments.work))
    machine = Machine(arguments.venvs, places.work, arguments.threads)
    machine.refuse_missing_environments(contestants)
    root = write_toy_pictures(places.work / "toy") if arguments.toy else arguments.data
    num_classes = write_folders(root, places)
    out, device = arguments.out or (places.work if arguments.toy else HERE), device_name(arguments.threads)
    rounds, length = (1, QUICK) if arguments.quick else (arguments.rounds, Length())
    measured, seconds = {}, {}
    for case in (case for case in CASES if case.name in arguments.cases):
        learnt = case.name == "resnet8" and not arguments.quick
        teacher = train_teacher(case, places, epochs=_TEACHER_EPOCHS if learnt else 0, threads=arguments.threads)
        spec = shared_spec(case, places, teacher, num_classes=num_classes, threads=arguments.threads)
        measured[case.name] = measure_rates(machine, case, spec, contestants, rounds=rounds, length=length)
        say_case(case, contestants, measured[case.name])
        write_records(out / "results", contestants, measured, device=device)
        if learnt:
            trained = [contestant for contestant in contestants if contestant.setting in ("defaults", "best")]
            seconds = measure_seconds(machine, case, spec, trained, epochs=_EPOCHS, accuracy=_ACCURACY)
            say_seconds(seconds, accuracy=_ACCURACY)
    rates = raw(
        out / "rates.json",
        measured,
        seconds,
        accuracy=_ACCURACY,
        device=device,
        versions=versions(machine.venvs, peers),
    )
    if out == HERE and not arguments.quick:
        page.rewrite(page.PAGE, rates)


if __name__ == "__main__":
    main()
