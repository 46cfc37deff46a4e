"""Mutants put before the tests that reach them, each in a fork of a process that has imported what it needs already.

A mutant inside a function is put into the function objects of the imported module, so that whoever holds one runs it; a mutant of
what runs on import (constants, defaults, fields), or of what a test's own processes run, is imported from a copy of the source.
"""

import gc
import hashlib
import importlib
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, FunctionType

import pytest
from mutations import Mutation, mutations
from reach import ELSEWHERE, IMPORTING, Reach

_SECONDS = 90.0
"""Processor time that a mutant may take beyond ten times what its tests took without it."""
_BYTES = 8 * 2**30
"""Address space that it may take beyond what the process has when it starts."""
_UNTRIED = 99


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the mutants are tried."""

    root: Path
    """Of the checkout: pytest runs here."""
    source: str
    """Folder of the packages below it."""
    folder: Path
    """For copies and what the tests write."""
    preloaded: tuple[str, ...]
    """Modules that all tests need and no mutant is in; imported once."""
    shared: tuple[str, ...]
    """Modules beside the mutated ones that all tests import."""
    type_checked: str | None
    """What jaxtyping's import hook is to check, and with what, as pytest's option has it."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mutation, and how it is tried."""

    file: str
    mutation: Mutation
    source: str
    """Text of the file with the mutation in it."""
    tests: tuple[str, ...]
    """Those that reach it, the fastest first."""
    imported: bool
    """Whether it takes effect only where the module is imported anew."""
    seconds: float
    """Its tests', without it."""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.file, self.mutation.function, self.mutation.change

    @property
    def digest(self) -> str:
        """Of the changed text."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:16]


def draw(root: Path, files: Sequence[str], found: Reach, *, num: int, seed: int) -> tuple[list[Mutant], int]:
    """`num` of the files' mutants, drawn at random without putting back, and how many there are in all."""
    every = [(file, mutation) for file in files for mutation in mutations((root / file).read_text(encoding="utf-8"))]
    chosen = random.Random(seed).sample(every, min(num, len(every)))
    return [_mutant(root, file, mutation, found) for file, mutation in chosen], len(every)


def _mutant(root: Path, file: str, mutation: Mutation, found: Reach) -> Mutant:
    contexts = _contexts(mutation, found.lines[file])
    tests = {context.removesuffix(ELSEWHERE) for context in contexts} - {IMPORTING}
    return Mutant(
        file,
        mutation,
        mutation.applied((root / file).read_text(encoding="utf-8")),
        tuple(sorted(tests, key=lambda test: (found.seconds[test], test))),
        not mutation.in_body or any(context == IMPORTING or context.endswith(ELSEWHERE) for context in contexts),
        sum(found.seconds[test] for test in tests),
    )


def _contexts(mutation: Mutation, lines: Mapping[int, Sequence[str]]) -> set[str]:
    """What runs the mutant's lines; where no test does, the tests that run the function around it, or the module."""

    def of(first: int, last: int) -> set[str]:
        return {name for line, names in lines.items() if first <= line <= last for name in names}

    own = of(*mutation.lines) if mutation.in_body else set[str]()
    if own - {IMPORTING}:
        return own
    wider = of(*mutation.around) - {IMPORTING} or of(1, max(lines, default=1))
    return wider - {IMPORTING} | own


def ends(mutants: Sequence[Mutant], where: Surroundings, *, jobs: int) -> Iterator[tuple[Mutant, str, float]]:
    """Each mutant as it ends: killed, timed out or survived, after how many seconds. Those to be imported come first."""
    for name in where.preloaded:
        importlib.import_module(name)
    anew = [mutant for mutant in mutants if mutant.imported]
    yield from _tried(anew, where, {}, jobs)
    within = [mutant for mutant in mutants if not mutant.imported]
    yield from _tried(within, where, _functions(within, where), jobs)


def _tried(
    mutants: Sequence[Mutant], where: Surroundings, functions: "Functions", jobs: int
) -> Iterator[tuple[Mutant, str, float]]:
    if mutants:
        for control, end, _ in _forked([_control(mutants, where)], where, functions, 1):
            if end != "survived":
                raise RuntimeError(
                    f"of {len(control.tests)} tests of files without a mutant one was {end}: the harness is at fault"
                )
    yield from _forked(mutants, where, functions, jobs)


def _control(mutants: Sequence[Mutant], where: Surroundings) -> Mutant:
    """No mutant, but a file as it is, before the fastest tests of all."""
    tests = tuple(sorted({test for mutant in mutants for test in mutant.tests[:3]}))
    source = (where.root / mutants[0].file).read_text(encoding="utf-8")
    return replace(mutants[0], source=source, tests=tests, seconds=sum(mutant.seconds for mutant in mutants))


Functions = dict[str, list[FunctionType]]
"""Path of a module → its functions, wherever they are held."""


def _functions(mutants: Sequence[Mutant], where: Surroundings) -> Functions:
    if where.type_checked and mutants:
        from jaxtyping import install_import_hook

        *packages, checker = where.type_checked.split(",")
        install_import_hook(packages, checker)
    sys.path.insert(0, str(where.root / where.source))
    found: Functions = {}
    for name in where.shared if mutants else ():
        importlib.import_module(name)
    for file in sorted({mutant.file for mutant in mutants}):
        importlib.import_module(_module(file, where))
        found[str(where.root / file)] = []
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename in found:
            found[thing.__code__.co_filename].append(thing)
    return found


def _module(file: str, where: Surroundings) -> str:
    return ".".join(Path(file).relative_to(where.source).with_suffix("").parts).removesuffix(".__init__")


def _forked(
    mutants: Sequence[Mutant], where: Surroundings, functions: Functions, jobs: int
) -> Iterator[tuple[Mutant, str, float]]:
    waiting, running = list(mutants)[::-1], dict[int, tuple[Mutant, float, Path]]()
    gc.freeze()  # pytest collects garbage as it ends: through all that was imported, and so copied, in every fork
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                mutant = waiting.pop()
                place = where.folder / mutant.digest
                running[_fork(mutant, where, functions, place)] = mutant, time.monotonic(), place
            time.sleep(0.02)
            for child, (mutant, begun, place) in list(running.items()):
                seconds = time.monotonic() - begun
                if seconds > 4 * _limit(mutant):
                    os.killpg(child, signal.SIGKILL)
                pid, status = os.waitpid(child, os.WNOHANG)
                if pid:
                    del running[child]
                    end = _told(os.waitstatus_to_exitcode(status), mutant, place / "output")
                    shutil.rmtree(place, ignore_errors=True)
                    yield mutant, end, seconds
    finally:
        gc.unfreeze()
        for child in running:
            os.killpg(child, signal.SIGKILL)


def _fork(mutant: Mutant, where: Surroundings, functions: Functions, place: Path) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: the child needs none of these
        child = os.fork()
    if child == 0:
        _be(mutant, where, functions, place)
    return child


def _told(code: int, mutant: Mutant, output: Path) -> str:
    unasked = [_UNTRIED, pytest.ExitCode.NO_TESTS_COLLECTED]
    if not mutant.imported:  # of one that is, pytest says so where it cannot be imported
        unasked.append(pytest.ExitCode.USAGE_ERROR)
    if code in unasked:
        raise RuntimeError(f"{mutant.key} was not tried: the harness is at fault ({code}, {output.read_text(errors='replace')})")
    return "survived" if code == 0 else "timed out" if code < 0 else "killed"


def _limit(mutant: Mutant) -> float:
    return _SECONDS + 10 * mutant.seconds


def _be(mutant: Mutant, where: Surroundings, functions: Functions, place: Path) -> None:
    """Become the mutant, and end as its tests do."""
    code = _UNTRIED
    try:
        os.setsid()
        shutil.rmtree(place, ignore_errors=True)  # of a try that was cut off
        place.mkdir(parents=True)
        _limit_resources(mutant)
        output = os.open(place / "output", os.O_CREAT | os.O_WRONLY)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(where.root)
        sys.dont_write_bytecode = True
        options = ["-x", "-q", "-p", "no:cacheprovider", "-o", "addopts=", f"--basetemp={place / 'tests'}"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # plugins were imported with what needs them
        if mutant.imported:
            _put_before_others(_copy(mutant, where, place))
            options += [f"--jaxtyping-packages={where.type_checked}"] if where.type_checked else []
        else:
            path = where.root / mutant.file
            _exchange(functions[str(path)], mutant.source, path, sys.modules[_module(mutant.file, where)])
        code = int(pytest.main([*options, *mutant.tests]))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _limit_resources(mutant: Mutant) -> None:
    seconds = int(_limit(mutant))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _BYTES, used + _BYTES))


def _copy(mutant: Mutant, where: Surroundings, place: Path) -> Path:
    """The source with the mutant in it; the other files are links, so their compiled forms hold."""
    copied = place / where.source
    shutil.copytree(where.root / where.source, copied, copy_function=os.link, ignore=shutil.ignore_patterns("*.pyc.*"))
    changed = place / mutant.file
    changed.unlink()
    changed.write_text(mutant.source, encoding="utf-8")
    for compiled in (changed.parent / "__pycache__").glob(f"{changed.stem}.*"):
        compiled.unlink()
    return copied


def _put_before_others(source: Path) -> None:
    sys.path.insert(0, str(source))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(source), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    importlib.invalidate_caches()


def _exchange(functions: list[FunctionType], source: str, path: Path, module: object) -> None:
    """Give the functions their code in the changed source."""
    whole = module.__spec__.loader.source_to_code(source.encode(), str(path))
    codes = {(code.co_qualname, code.co_firstlineno): code for code in _codes(whole)}
    before = [function.__code__ for function in functions]
    for function in functions:
        function.__code__ = codes[function.__code__.co_qualname, function.__code__.co_firstlineno]
    changed = before != [function.__code__ for function in functions]
    assert changed or source == path.read_text(encoding="utf-8"), f"no function of {path} holds the mutant"


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
