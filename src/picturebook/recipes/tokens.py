"""The frozen image encoder of a teacher, and its tokens of every training picture, stored once."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pydantic import Field

from picturebook.caching import cache_key, short_hash
from picturebook.data.loaders import evaluation_batches
from picturebook.data.views import VIEWS_VERSION
from picturebook.engine import written_together
from picturebook.errors import DataError, OptionError, RunError
from picturebook.models.image_encoders import ImageEncoder, weights_fingerprint
from picturebook.objectives.soft_targets import SupervisedOptions
from picturebook.options import Options
from picturebook.recipes.encoders import TRAIN, teacher_encoder
from picturebook.recipes.shared_stores import lacking
from picturebook.recipes.stages import Stages
from picturebook.stores.packed import PackedArray, PackedWriter, is_stored
from picturebook.stores.sharing import CHUNK
from picturebook.types import UNLABELLED, Progress
from picturebook.writing import read_json, write_json

HELD_OUT = "held-out tokens"
"""Stage that stores what a teacher is evaluated on."""
_COST = "cost.json"
"""Beside a store's arrays: the seconds that it took."""


class EncoderOptions(Options):
    """The teacher's image encoder, which stays frozen."""

    image_encoder: str = "train"
    """A timm name or package: name (pretrained weights), a run folder, or "train": the student's architecture, trained first."""
    image_size: int | None = Field(None, ge=8)
    """Height and width that the encoder sees, in pixels; the student's by default, and views are enlarged to it."""
    token_views: int = Field(4, ge=1, le=4)
    """Views of each picture whose tokens are stored for the head's training."""
    token_budget_gb: float = Field(4.0, gt=0.0)
    """Disk that stored tokens may take, in 10^9 bytes; fewer views are stored when they would not fit."""
    supervised: SupervisedOptions = SupervisedOptions()
    """Loss of image_encoder = "train"."""

    def refuse_idle(self) -> None:
        """Refuse settings that cannot take effect.

        Raises:
            OptionError: a loss for an encoder that is not trained here, or words for one that is.
        """
        if self.image_encoder != TRAIN and self.supervised != SupervisedOptions():
            raise OptionError(
                f"teacher.supervised takes no effect with teacher.image_encoder = {self.image_encoder!r}: remove it."
            )
        if self.supervised.alignment.is_on:
            raise OptionError("teacher.supervised.alignment: words for the teacher's encoder are not read; set its weight to 0.")


def encode_pictures(stages: Stages, options: EncoderOptions) -> tuple[ImageEncoder, PackedArray]:
    """The teacher's image encoder and its tokens of every training row."""
    encoder = teacher_encoder(stages, options.image_encoder, image_size=options.image_size, supervised=options.supervised)
    encoder.eval()
    return encoder, store_tokens(stages, encoder, options)


def store_tokens(stages: Stages, encoder: ImageEncoder, options: EncoderOptions) -> PackedArray:
    """The encoder's tokens of every training row, fp16, written once per encoder, views and data, ever."""
    stages.fingerprints["image encoder"] = weights_fingerprint(encoder)
    num_views = _num_views(stages, 2 * encoder.grid[0] * encoder.grid[1] * encoder.token_width, options)
    identity = {
        **stages.view_fingerprint(),
        "data": stages.pictures.canvas_fingerprint,  # labels and classes have no part in tokens
        "encoder": stages.fingerprints["image encoder"],
        "encoder size": str(encoder.image_size),
        "views stored": str(num_views),
        "rows": short_hash(stages.pictures.ids[stages.train_rows].tobytes().hex()),
    }
    # Tokens of an encoder that this run trained are of no use to another, and go with its stages.
    shelf = stages.folder.stage("tokens") if options.image_encoder == TRAIN else stages.cache / "tokens"
    folder = shelf / cache_key(identity)
    with lacking(stages.accelerator, folder, partial(is_stored, folder, say=stages.reporter.say)) as wanted:
        if wanted:
            with stages.timed("tokens"), stages.reporter.stage("encoding pictures") as progress:
                _fill(stages, encoder, folder, identity, num_views, progress)
            if stages.accelerator.is_main_process and (took := stages.seconds.get("tokens")):
                write_json(folder / _COST, {"seconds": took})
    spared = _cost(folder) - stages.seconds.get("tokens", 0.0)
    if spared > 0:
        stages.cached_seconds["tokens"] = spared
    return PackedArray.open(folder, identity)


def held_out_tokens(stages: Stages, encoder: ImageEncoder, options: EncoderOptions, *, spent: int) -> PackedArray | None:
    """The encoder's tokens of the labelled validation and test pictures, as these are evaluated, fp16, stored once for all runs.

    Args:
        stages: the run.
        encoder: the teacher's.
        options: the encoder's.
        spent: bytes of the budget that other tokens have.

    Returns:
        None for an encoder that this run trained, which no other run asks, and where budget or cache do not take them.
    """
    rows = np.concatenate([stages.pictures.rows[split] for split in ("val", "test")])
    rows = rows[stages.pictures.labels[rows] != UNLABELLED]
    record = (encoder.grid[0] * encoder.grid[1], encoder.token_width)
    room = options.token_budget_gb * 1e9 - spent
    if options.image_encoder == TRAIN or not 0 < 2 * record[0] * record[1] * len(rows) <= room:
        return None
    ids, side = stages.pictures.ids[rows], stages.options.student.image_size
    identity = {
        "views": f"{VIEWS_VERSION} of evaluation, side {side}",
        "data": stages.pictures.canvas_fingerprint,
        "encoder": weights_fingerprint(encoder),
        "encoder size": str(encoder.image_size),
        "rows": short_hash(np.sort(ids).tobytes().hex()),
    }
    folder = stages.cache / "tokens" / cache_key(identity)
    if not folder.is_dir() and folder.parent.is_dir() and not os.access(folder.parent, os.W_OK):
        return None
    start = partial(PackedWriter.start, folder, ids=ids, num_views=1, record=record, dtype=np.float16, fingerprint=identity)
    with lacking(stages.accelerator, folder, partial(is_stored, folder, say=stages.reporter.say)) as wanted:
        if wanted:
            with stages.timed(HELD_OUT), stages.reporter.stage("encoding held-out pictures") as progress:
                _fill_held_out(stages, encoder, start, rows, progress)
    return PackedArray.open(folder, identity)


def _fill_held_out(
    stages: Stages, encoder: ImageEncoder, start: Callable[[], PackedWriter], rows: np.ndarray, progress: Progress
) -> None:
    side, place = stages.options.student.image_size, dict(zip(stages.pictures.ids[rows].tolist(), rows.tolist(), strict=True))
    with written_together(stages.accelerator, start) as writer, torch.no_grad():
        missing = np.array([place[one] for one in writer.missing()[0].tolist()], dtype=np.int64)
        batches = evaluation_batches(stages.pictures, missing, image_size=side, device=stages.device, batch_size=CHUNK)
        for done, batch in enumerate(batches, start=1):
            assert batch.images is not None
            writer.write(batch.ids.numpy(), batch.views.numpy(), encoder.tokens(batch.images).float().cpu().numpy())
            progress(min(done * CHUNK, len(missing)), len(missing))


def _cost(folder: Path) -> float:
    """Seconds that a store took whoever made it; 0 where that is not known."""
    try:
        return float(read_json(folder / _COST)["seconds"])
    except (RunError, KeyError, TypeError, ValueError):
        return 0.0


def _fill(
    stages: Stages, encoder: ImageEncoder, folder: Path, identity: dict[str, str], num_views: int, progress: Progress
) -> None:
    start = partial(
        PackedWriter.start,
        folder,
        ids=stages.pictures.ids[stages.train_rows],
        num_views=num_views,
        record=(encoder.grid[0] * encoder.grid[1], encoder.token_width),
        dtype=np.float16,
        fingerprint=identity,
    )
    accelerator = stages.accelerator
    with written_together(accelerator, start) as writer, torch.no_grad(), accelerator.autocast():
        for batch in stages.replay(*writer.missing(), progress=progress):
            assert batch.images is not None
            tokens = encoder.tokens(batch.images)
            writer.write(batch.ids.numpy(), batch.views.numpy(), tokens.float().cpu().numpy())


def _num_views(stages: Stages, record_bytes: int, options: EncoderOptions) -> int:
    distinct, num = stages.options.train.distinct_views, stages.num_stored
    views = affordable_views(options, distinct_views=distinct, record_bytes=record_bytes, num_pictures=num)
    if views < (wanted := min(options.token_views, distinct)):
        stages.reporter.say(
            f"{views} instead of {wanted} views of image tokens are stored, to stay within {options.token_budget_gb} GB."
        )
    return views


def affordable_views(options: EncoderOptions, *, distinct_views: int, record_bytes: int, num_pictures: int) -> int:
    """Views whose tokens are stored: as many as are asked for and shown, or fewer that stay within the budget.

    Args:
        options: the encoder's.
        distinct_views: views of each picture that the student is shown.
        record_bytes: of the tokens of one view of one picture.
        num_pictures: training pictures.

    Raises:
        DataError: the budget holds no view of all pictures.
    """
    bytes_a_view = record_bytes * num_pictures
    affordable = int(options.token_budget_gb * 1e9 // bytes_a_view)
    if affordable < 1:
        raise DataError(
            f"One view's image tokens take {bytes_a_view / 1e9:.1f} GB, the budget is {options.token_budget_gb} GB: "
            "raise teacher.token_budget_gb, or lower teacher.image_size."
        )
    return min(options.token_views, distinct_views, affordable)
