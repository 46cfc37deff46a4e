"""Loading through transformers without its advice on the terminal, and what is said when it fails."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from picturebook.errors import ModelError


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep the libraries' advice and progress bars off the terminal; errors are raised all the same."""
    from transformers.utils import logging as transformers_logging

    loggers = [logging.getLogger(name) for name in ("sentence_transformers", "transformers", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    shows_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if shows_bars:
            transformers_logging.enable_progress_bar()


def not_loaded(kind: str, name: str, error: Exception) -> ModelError:
    """Say in one sentence that a model is not here, or is of another kind."""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
    return ModelError(
        f"The {kind} {name!r} is not on this machine and could not be fetched, or is none ({reason}). "
        "Check the name, connect once so that it is kept, or name a folder."
    )
