"""Mixing a view with a view of another picture: mixup (arXiv:1710.09412) and cutmix (arXiv:1905.04899).

What is mixed into a view is a pure function of its (sample id, view number), the seed and the set of pictures that partners
are drawn from, so a mix replays like a view. Deviations from the sources: the partner is drawn from the whole set, where
they shuffle the batch; the share is uniform in [0, 1], which is their Beta(1, 1); and cutmix's square lies inside the view,
where theirs is cut at the edge and the share corrected, so that small ones are more frequent.
"""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from picturebook.data.counter import counter_uniforms
from picturebook.data.view_colour import inside_rectangles
from picturebook.types import to_device

Images = Float[Tensor, "batch 3 height width"]
Rows = Int64[np.ndarray, " rows"]

_STREAM = 1
_KIND, _SHARE, _PARTNER, _PARTNER_VIEW, _LEFT, _TOP = range(6)
_NUM_UNIFORMS = 6


class Partners:
    """The pictures that partners are drawn from, in the order of their ids, so that it is the set alone that counts.

    Args:
        ids: [n], sample ids of all pictures.
        rows: [m], at least one place in them.
    """

    def __init__(self, ids: Int64[np.ndarray, " pictures"], rows: Rows) -> None:
        assert len(rows), "partners are drawn from one picture at least"
        order = np.argsort(ids[rows], kind="stable")
        self.rows = rows[order]
        self.fingerprint = blake2b(ids[self.rows].tobytes(), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Mixes:
    """What is mixed into the views of a batch."""

    places: Int64[np.ndarray, " mixed"]
    """Places in the batch that get a partner, ascending; all fields below are of these."""
    rows: Int64[np.ndarray, " mixed"]
    """The partners' places among the pictures."""
    views: Int64[np.ndarray, " mixed"]
    """The partners' view numbers, in [0, 2⁵³)."""
    share: Float64[np.ndarray, " mixed"]
    """How much of the mix is the sample's own picture."""
    boxes: Int64[np.ndarray, "mixed 4"]
    """(left, top, width, height) of what cutmix pastes, in pixels; all 0 for mixup."""


def draw_mixes(
    seed: int,
    ids: Int64[np.ndarray, " batch"],
    views: Int64[np.ndarray, " batch"],
    partners: Partners,
    *,
    mixup: float,
    cutmix: float,
    image_size: int,
) -> Mixes:
    """Draw who is mixed with whom, how and how much.

    Args:
        seed: of the run; any integer.
        ids: [B], sample ids.
        views: [B], view numbers.
        partners: whom to draw from; a picture may meet itself, in another view.
        mixup: probability of mixup.
        cutmix: probability of cutmix; the two sum to 1 at most.
        image_size: side of the views in pixels.
    """
    uniforms = counter_uniforms(seed, ids, views, _NUM_UNIFORMS, stream=_STREAM)
    places = np.flatnonzero(uniforms[:, _KIND] < mixup + cutmix)
    uniforms = uniforms[places]
    pasted = uniforms[:, _KIND] >= mixup
    sides = np.rint(image_size * np.sqrt(1 - uniforms[:, _SHARE])).astype(np.int64) * pasted
    corners = np.floor(uniforms[:, _LEFT : _TOP + 1] * (image_size - sides + 1)[:, None]).astype(np.int64) * pasted[:, None]
    boxes = np.stack((*corners.T, sides, sides), axis=1)
    return Mixes(
        places=places,
        rows=partners.rows[np.floor(uniforms[:, _PARTNER] * len(partners.rows)).astype(np.int64)],
        views=(uniforms[:, _PARTNER_VIEW] * 2.0**53).astype(np.int64),
        share=np.where(pasted, 1 - sides**2 / image_size**2, uniforms[:, _SHARE]),
        boxes=boxes,
    )


def mix_images(images: Images, partners: Float[Tensor, "mixed 3 height width"], mixes: Mixes) -> Images:
    """Mix the partners' views into those of `mixes.places`: share x own + (1 - share) x partner, by pixel values or by area.

    Args:
        images: [B, 3, H, W], RGB in [0, 1]; left as they are.
        partners: [M, 3, H, W], the partners' views in the order of `mixes.places`.
        mixes: as drawn for these images.
    """
    device = images.device
    places, boxes = to_device(mixes.places, device), to_device(mixes.boxes, device)
    share = to_device(mixes.share.astype(np.float32), device)[:, None, None, None]
    pasted = inside_rectangles(boxes, height=images.shape[2], width=images.shape[3])
    own = torch.where((boxes[:, 2] > 0)[:, None, None, None], (~pasted).float(), share)
    mixed = images.clone()
    mixed[places] = (images[places] * own).add_(partners * (1 - own)).clamp_(0, 1)
    return mixed
