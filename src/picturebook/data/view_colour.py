"""What a view does to colours, with one factor an image; each image's result is independent of its batch."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Images = Float[Tensor, "batch 3 height width"]
Factors = Float[Tensor, " batch"]

_GREY = (0.299, 0.587, 0.114)
"""Luma weights of red, green and blue (ITU-R BT.601), as in Pillow's mode L."""


def adjust_colour(images: Images, *, brightness: Factors, contrast: Factors, saturation: Factors) -> Images:
    """Scale brightness, then contrast about the image's mean grey, then saturation about each pixel's grey.

    With factors b, c, s, the grey g of a pixel and its mean m over the image:

        x₁ = b x      x₂ = c x₁ + (1 - c) m(x₁)      x₃ = s x₂ + (1 - s) g(x₂)

    which is x₃ = s c b x + (1 - s) c b g(x) + (1 - c) b m(x), cut to [0, 1] once, at the end. Torchvision's ColorJitter
    cuts after each operation and shuffles their order; without the cuts in between nothing is lost that a later operation
    would bring back, and it is one pass.

    Args:
        images: RGB in [0, 1].
        brightness: [B], at least 0; 1 leaves the image, 0 is black.
        contrast: [B], at least 0; 1 leaves the image, 0 is its mean grey everywhere.
        saturation: [B], at least 0; 1 leaves the image, 0 is grey.
    """
    weights = [factor[:, None, None, None] for factor in _pixel_grey_mean_weights(brightness, contrast, saturation)]
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    grey = (red * _GREY[0]).add_(green * _GREY[1]).add_(blue * _GREY[2])
    shift = plane_means(grey)[:, :, None, None] * weights[2]
    return (images * weights[0]).add_(grey.mul_(weights[1]).add_(shift)).clamp_(0, 1)


def _pixel_grey_mean_weights(brightness: Factors, contrast: Factors, saturation: Factors) -> tuple[Factors, Factors, Factors]:
    scaled = contrast * brightness
    return saturation * scaled, (1 - saturation) * scaled, (1 - contrast) * brightness


def erase_rectangles(images: Images, rectangles: Int64[Tensor, "batch 4"]) -> Images:
    """Fill one rectangle an image with the image's own mean colour (random erasing, arXiv:1708.04896).

    Args:
        images: RGB in [0, 1].
        rectangles: [B, 4], (left, top, width, height) in pixels; width or height 0 erases nothing.
    """
    left, top, width, height = rectangles.T[:, :, None]
    columns = torch.arange(images.shape[3], device=images.device)
    rows = torch.arange(images.shape[2], device=images.device)
    inside_columns = (columns >= left) & (columns < left + width)
    inside_rows = (rows >= top) & (rows < top + height)
    inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    return torch.where(inside, plane_means(images)[:, :, None, None], images)


def plane_means(planes: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels"]:
    """Average each plane by adding halves, so that the order of the sum depends on the plane's size alone.

    `Tensor.mean` picks its order by batch size and threads, and its last bits with it.
    """
    sums, num_pixels = planes.flatten(2), planes[0, 0].numel()
    while (length := sums.shape[2]) > 1:
        half = length // 2
        folded = sums[..., :half] + sums[..., half : 2 * half]
        if length % 2:
            folded[..., 0] += sums[..., -1]
        sums = folded
    return sums[..., 0] / num_pixels
