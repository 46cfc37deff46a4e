"""Options that several commands have, and how a result is printed."""

import json
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Override one setting; may be repeated.")]
Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda or mps.")]
OfSettings = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or mps: --set device=…")]


def as_overrides(overrides: list[str] | None, **said: object) -> list[str]:
    """`--set` and the settings that have an option of their own, which come last and so win; None was not said."""
    return [*(overrides or ()), *(f"{name}={value}" for name, value in said.items() if value is not None)]


def print_result(value: Any, table: Any, as_json: bool) -> None:
    """One of the two on stdout: `value` as a line of JSON, or `table` for a person."""
    from picturebook.terminal import show

    if as_json:
        # Names on disk that are not UTF-8 come with surrogates, which are written as JSON's escapes.
        typer.echo(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace"))
    elif isinstance(table, str):
        typer.echo(table.encode("utf-8", "backslashreplace"))
    else:
        show(table)
