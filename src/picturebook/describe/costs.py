"""What a task would take, before anybody is asked."""

from collections.abc import Sequence
from pathlib import Path

from picturebook.data.findings import quantity
from picturebook.describe.prompts import estimate_tokens
from picturebook.describe.settings import DescribeOptions

_TOKENS_AROUND = 10
"""Of a chat's frame around a prompt."""
_TOKENS_A_PHRASE = 10
"""With its quotes and comma in a JSON list."""
_TOKENS_A_CAPTION = 20


def dry_run(options: DescribeOptions, *, address: str | None, prompts: Sequence[str], num_done: int) -> dict[str, str]:
    """Rows of what to say.

    Args:
        options: the task.
        address: of the server that is asked; None where a model on this machine writes.
        prompts: one for each request that is to be made.
        num_done: items that have a text already.
    """
    of_pictures = options.task == "captions"
    unit = "picture" if of_pictures else "class"
    a_request = _TOKENS_A_CAPTION if of_pictures else _TOKENS_A_PHRASE * (options.least + options.most) // 2
    tokens_in = sum(estimate_tokens(prompt) + _TOKENS_AROUND for prompt in prompts)
    tokens_out = a_request * len(prompts)
    rows = {
        "who writes": _who(options.model, address),
        "to do": f"{quantity(len(prompts), unit)}, {num_done:,} done already",
        "requests": f"{len(prompts):,}" + ("" if of_pictures else ", and more where an answer has to be asked for again"),
        "tokens in": f"about {tokens_in:,}" + (", pictures not counted" if of_pictures else ""),
        "tokens out": f"about {tokens_out:,}",
    }
    if options.price_in is not None and options.price_out is not None:
        cost = (tokens_in * options.price_in + tokens_out * options.price_out) / 1e6
        rows["cost"] = f"about {cost:,.4f}, in the currency of the prices"
    else:
        unpriced = "give --price-in and --price-out, of a million tokens each"
        rows["cost"] = "the time of this machine" if address is None else unpriced
    rows["a prompt"] = (prompts[0] or "none: the captioner's own way") if prompts else "none: everything is done"
    rows["dry run"] = "nothing was asked, nothing was written"
    return rows


def _who(model: str, address: str | None) -> str:
    if address is not None:
        return f"{model} at {address}"
    # A mistyped folder reads like a name of the hub's.
    return f"{model}, on this machine" + ("" if Path(model).is_dir() else " (no folder: the hub's model of that name)")
