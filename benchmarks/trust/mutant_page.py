"""What the page says of mutants."""

from typing import Any

_FORMS = {
    "comparison": "the other way about, or with equality in or out",
    "arithmetic": "another operator",
    "and, or": "one for the other",
    "sign or not": "left out",
    "condition": "its opposite",
    "constant": "one more, half as much again, another sign, the other of true and false",
    "function": "its opposite, such as min for max",
    "keyword left out": "of a call",
    "return": "nothing",
    "statement left out": "a call, an assignment to an element or attribute, an error",
}
PAGE = """
## Mutants

Small wrong changes, one at a time, of the modules of losses, views (with mixing and crops), stores, audit and statistics (with
metrics and the permutation test), put before the tests that reach the changed line. {num} were drawn at random (seed {seed})
out of all {population} that there are, each as likely; {timed_out} of those that were noticed ran out of time. Left out are text,
types, sentences of errors, `assert`, decorators of data classes, and the device, of which tests have one.

| change | drawn |
| --- | --- |
{kinds}

Of the branches of these modules their own tests take, in percent: {branches}; of the statements they run {statement} %.

{survivors} survived, {unexplained} of them unexplained.

{listed}
"""


def section(mutation: dict[str, Any]) -> str:
    """The page's section about mutants, from what the long form kept."""
    if not mutation:
        return "\n## Mutants\n\nNot measured yet.\n"
    return PAGE.format(
        num=mutation["mutants"],
        seed=mutation["seed"],
        population=f"{mutation['population']:,}",
        timed_out=mutation["timed_out"],
        kinds="\n".join(f"| {kind}: {_FORMS[kind]} | {num} |" for kind, num in mutation["by_kind"].items()),
        branches=", ".join(f"{group} {percent:g}" for group, percent in mutation["branch_by_group"].items()),
        statement=mutation["statement"],
        survivors=mutation["survivors"],
        unexplained=mutation["unexplained"],
        listed="\n".join(_item(survivor) for survivor in mutation["survived"]),
    )


def _item(survivor: dict[str, Any]) -> str:
    place = survivor["file"].removeprefix("src/picturebook/")
    function = f", `{survivor['function']}`" if survivor["function"] else ""
    return f"- `{place}`{function}, line {survivor['line']}: `{survivor['change']}`. {survivor['reason'] or 'Not explained.'}"
