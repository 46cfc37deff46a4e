"""What a task would take, before anybody is asked."""

from collections.abc import Sequence

from picturebook.data.findings import quantity
from picturebook.describe.prompts import estimate_tokens
from picturebook.describe.settings import DescribeOptions

_TOKENS_AROUND = 10
"""Of a chat's frame around a prompt."""
_TOKENS_A_PHRASE = 10
"""With its quotes and comma in a JSON list."""
_TOKENS_A_CAPTION = 20


def dry_run(options: DescribeOptions, *, who: str, prompts: Sequence[str], num_done: int) -> dict[str, str]:
    """Rows of what to say.

    Args:
        options: the task.
        who: answers.
        prompts: one for each request that is to be made.
        num_done: items that have a text already.
    """
    unit = "picture" if options.task == "captions" else "class"
    a_request = _TOKENS_A_CAPTION if options.task == "captions" else _TOKENS_A_PHRASE * (options.least + options.most) // 2
    tokens_in = sum(estimate_tokens(prompt) + _TOKENS_AROUND for prompt in prompts)
    tokens_out = a_request * len(prompts)
    rows = {
        "who writes": who,
        "to do": f"{quantity(len(prompts), unit)}, {num_done:,} done already",
        "requests": f"{len(prompts):,}, and more where an answer has to be asked for again",
        "tokens in": f"about {tokens_in:,}" + (", pictures not counted" if options.task == "captions" else ""),
        "tokens out": f"about {tokens_out:,}",
    }
    if options.price_in is not None and options.price_out is not None:
        cost = (tokens_in * options.price_in + tokens_out * options.price_out) / 1e6
        rows["cost"] = f"about {cost:,.4f}, in the currency of the prices"
    rows["a prompt"] = (prompts[0] or "none: the captioner's own way") if prompts else "none: everything is done"
    rows["dry run"] = "nothing was asked, nothing was written"
    return rows
