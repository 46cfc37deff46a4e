"""What a message must not say: keys and passwords that are in the environment, or that a library quotes from its requests."""

import os
import re
from collections.abc import Mapping

_NAMES = re.compile(r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD)(_|$)", re.IGNORECASE)
"""Variables that hold secrets, as OPENAI_API_KEY, HF_TOKEN, MLFLOW_TRACKING_PASSWORD and AWS_SECRET_ACCESS_KEY do."""
_SHORTEST = 6
"""Letters of a secret; what is shorter, "none" or "x", is a stand-in, and a word of other sentences."""
_IN_ADDRESS = re.compile(r"(?<=[a-z]{2}:/)(/?)[^/\s@'\"]+@", re.IGNORECASE)
"""Name and password of an address, also of one that was taken for a path."""
_IN_HEADER = re.compile(
    r"(?P<before>\bbearer\s+|authorization\W{1,4}(?:basic|token)\s+|x-api-key\W{1,4})[^\s'\",;)}\]]+", re.IGNORECASE
)


def without_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """A text for people, logs and files, in which secrets are replaced by what they are.

    Args:
        text: a sentence or a traceback.
        environment: whose secrets are cut out wherever they stand; by default the process's own.
    """
    text = _IN_HEADER.sub(r"\g<before>[key]", _IN_ADDRESS.sub(r"\1[name]@", text))
    known = {
        value.strip(): name for name, value in (os.environ if environment is None else environment).items() if _NAMES.search(name)
    }
    for value in sorted(known, key=len, reverse=True):  # one may be a part of another
        if len(value) >= _SHORTEST:
            text = text.replace(value, f"[{known[value]}]")
    return text
