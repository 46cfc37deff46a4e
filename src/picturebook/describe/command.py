"""`picturebook describe DATA`: from settings to a file of texts and a few words about it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from picturebook.data.findings import first_names
from picturebook.data.shards import find_shards
from picturebook.data.tables import Table, read_table
from picturebook.describe.captions import EMPTY, caption_prompt, write_captions
from picturebook.describe.classes import Answering, check_class_list, class_prompt, write_class_list, write_class_texts
from picturebook.describe.costs import dry_run
from picturebook.describe.endpoint import URL_VARIABLES, Endpoint, Server, Waiting
from picturebook.describe.records import Records, strangers
from picturebook.describe.settings import DescribeOptions
from picturebook.errors import DataError, OptionError
from picturebook.interruption import sigterm_raises
from picturebook.models.captioners import load_captioner
from picturebook.models.language_models import load_language_model
from picturebook.options import apply_override, validate
from picturebook.types import Reporter

_CAPTION_TOKENS, _ANSWER_TOKENS = 64, 512
_TEMPERATURE = 0.7


def read_settings(data: str, overrides: Sequence[str], *, captions: bool, classes: bool, **settings: Any) -> DescribeOptions:
    """Settings from what was typed.

    Args:
        data: the data root.
        overrides: settings of [data], "columns.label=species" and the like.
        captions: write captions.
        classes: write class texts; exactly one of the two.
        **settings: the other fields of DescribeOptions; None where one was not given.

    Raises:
        OptionError: both or none of captions and classes, or a setting is impossible or takes no effect.
    """
    if captions == classes:
        raise OptionError("describe: say --captions (a text a picture) or --classes (phrases a class), one of the two.")
    root: dict[str, Any] = {"root": data}
    for override in overrides:
        apply_override(root, override.removeprefix("data."))
    given = {name: value for name, value in settings.items() if value is not None}
    task = "captions" if captions else "classes"
    return validate(DescribeOptions, {"task": task, "data": root, **given}, source="describe")


def describe(
    options: DescribeOptions,
    *,
    reporter: Reporter,
    environment: Mapping[str, str] = os.environ,
    waiting: Waiting | None = None,
) -> dict[str, str]:
    """Write the texts that are missing, or say what that would take.

    Args:
        options: what to write.
        reporter: shows progress.
        environment: holds the key and the URL of an endpoint.
        waiting: how time passes between tries at an endpoint.

    Returns:
        Rows for a person: what was written, what failed and why (there is a row "failed" where something did), and how to use it.

    Raises:
        OptionError: a setting cannot take effect.
        DataError, TextError: the data cannot be read.
        StoreError: the file is of another task, model or prompt, or is written by another process.
        ModelError: the model or the endpoint cannot be used, or failed too often in a row; what is done is kept.
        InterruptionError: SIGTERM came; what is done is kept.
    """
    with sigterm_raises():
        needs_labels = options.task == "classes" or "{label}" in options.template
        table = read_table(options.data, to_train=False, needs_labels=needs_labels)
        if options.task == "captions":
            return _describe_pictures(options, table, reporter)
        return _describe_classes(options, table, reporter, _find_server(options, environment), waiting)


def _describe_pictures(options: DescribeOptions, table: Table, reporter: Reporter) -> dict[str, str]:
    max_tokens = options.max_tokens or _CAPTION_TOKENS
    records = Records(Path(options.out_file), key="file_name", settings=_settings(options, "transformers", max_tokens, 0.0))
    missing = set(records.missing(table.names))
    if options.dry_run:
        asked = [caption_prompt(options.template, table, row) for row, name in enumerate(table.names) if name in missing]
        done = len(table.names) - len(missing)
        return dry_run(options, address=None, prompts=[p for p in asked if p is not None], num_done=done)
    start, failed = monotonic(), {}
    with records:
        if missing:
            captioner = load_captioner(options.model, max_tokens=max_tokens, device=options.device)
            records.check("weights", captioner.fingerprint)
            with reporter.stage("captioning") as progress:
                failed = write_captions(
                    captioner, table, records, template=options.template, batch_size=options.batch_size, progress=progress
                )
    rows = _outcome(options, records, table.names, failed, seconds=monotonic() - start, num=len(missing))
    return rows | ({"use": _caption_use(options)} if records.lines else {})


def _describe_classes(
    options: DescribeOptions, table: Table, reporter: Reporter, server: Server | None, waiting: Waiting | None
) -> dict[str, str]:
    if not table.classes:
        raise DataError(f"{options.data.root} names no class: --classes needs labels.")
    path = Path(options.out_file)
    settings = _settings(options, "endpoint", options.max_tokens, options.temperature)
    if server is None:
        temperature = _TEMPERATURE if options.temperature is None else options.temperature
        settings = _settings(options, "transformers", options.max_tokens or _ANSWER_TOKENS, temperature)
    records = Records(path, key="class", settings=settings)
    missing = records.missing(table.classes)
    if options.dry_run:
        prompts = [class_prompt(options, name, table.classes) for name in missing]
        address = None if server is None else server.address
        return dry_run(options, address=address, prompts=prompts, num_done=len(table.classes) - len(missing))
    class_list = path.with_suffix(".json")
    check_class_list(class_list, records)
    start, failed = monotonic(), {}
    with records:
        try:
            if missing:
                with (
                    _language_model(options, settings, server, waiting, records) as model,
                    reporter.stage("describing") as progress,
                ):
                    failed = write_class_texts(model, table.classes, records, options=options, progress=progress)
        finally:
            write_class_list(class_list, table.classes, records)
    rows = _outcome(options, records, table.classes, failed, seconds=monotonic() - start, num=len(missing))
    use = f"text.source = 'descriptions', text.descriptions = {str(class_list)!r}"
    return rows | ({"use": use} if records.lines else {})


def _caption_use(options: DescribeOptions) -> str:
    if not Path(options.data.root).is_dir() or find_shards(options.data.root) is not None:
        return f"add the texts to the data as a column (docs/describe.md says how), text.kind = {options.kind!r}"
    # A relative path would start at the data root.
    return f"data.metadata = {str(Path(options.out_file).resolve())!r}, text.source = 'column', text.kind = {options.kind!r}"


def _settings(options: DescribeOptions, by: str, max_tokens: int | None, temperature: float | None) -> dict[str, Any]:
    """What all lines of one file share: two files that differ here were written by different hands."""
    return {
        "task": options.task,
        "kind": options.kind,
        "by": by,
        "model": options.model,
        "template": options.template,
        "max_tokens": max_tokens,
        "temperature": temperature,
    }


def _find_server(options: DescribeOptions, environment: Mapping[str, str]) -> Server | None:
    url = options.endpoint
    if url is None and not Path(options.model).is_dir():
        url = next((environment[name] for name in URL_VARIABLES if environment.get(name)), None)
    if url:
        if options.device != "auto":
            raise OptionError(f"--device takes effect with a model on this machine only, and {url} is asked.")
        return Server.find(url, environment)
    for name in ("timeout", "price_in"):
        if getattr(options, name) != DescribeOptions.model_fields[name].default:
            raise OptionError(f"--{name.replace('_', '-')} takes effect with an endpoint only, and none is named.")
    return None


@contextmanager
def _language_model(
    options: DescribeOptions, settings: dict[str, Any], server: Server | None, waiting: Waiting | None, records: Records
) -> Iterator[Answering]:
    if server is None:
        model = load_language_model(
            options.model, max_tokens=settings["max_tokens"], temperature=settings["temperature"], device=options.device
        )
        records.check("weights", model.fingerprint)
        yield model
        return
    with Endpoint(
        server,
        options.model,
        timeout=options.timeout,
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        waiting=waiting,
    ) as endpoint:
        yield endpoint


def _outcome(
    options: DescribeOptions, records: Records, items: Sequence[str], failed: Mapping[str, str], *, seconds: float, num: int
) -> dict[str, str]:
    unit = "pictures" if options.task == "captions" else "classes"
    num_with = len(items) - len(records.missing(items))
    rows = {"written": f"{options.out_file}: {num_with:,} of {len(items):,} {unit}"}
    if num:
        rows["this time"] = f"{num - len(failed):,} in {seconds:.1f} s, {(num - len(failed)) / max(seconds, 1e-9):.2f} a second"
    # A picture that cannot be read or has no label for its prompt is no failure of who writes, unless all are such.
    hopeless = [name for name in sorted(failed) if options.task == "captions" and failed[name] != EMPTY] if num_with else []
    if hopeless:
        rows["left out"] = f"{_reasons(hopeless, failed)}. Once they are mended, the same command asks for them"
    if again := sorted(failed.keys() - set(hopeless)):
        rows["failed"] = f"{_reasons(again, failed)}. Their lines say why; the same command asks for them again"
    if unknown := strangers(records, items):
        rows["also"] = unknown
    return rows


def _reasons(names: Sequence[str], failed: Mapping[str, str]) -> str:
    return first_names(f"{name}: {failed[name]}" for name in names)
