"""What a view does to colours, with one factor an image; each image's result is independent of its batch."""

import torch
from jaxtyping import Bool, Float, Int64
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


def shift_hue(images: Images, turns: Factors) -> Images:
    """Turn the hue of HSV by `turns` of the colour circle; value and saturation stay, and greys do.

    With value v, chroma c and hue h in sixths of the circle, the channels are v - c max(0, min(k, 4 - k, 1)) for
    k = (n + h) mod 6 with n = 5, 3, 1 (red, green, blue).

    Args:
        images: RGB in [0, 1].
        turns: [B], in [-1, 1]; 1/3 takes red to green.
    """
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    divisor = torch.where(chroma > 0, chroma, 1)
    of_red, of_green, of_blue = (green - blue) / divisor, (blue - red) / divisor + 2, (red - green) / divisor + 4
    hue = torch.where(value == red, of_red, torch.where(value == green, of_green, of_blue)) + (turns * 6)[:, None, None]
    places = [place - torch.floor(place / 6) * 6 for place in (hue + 5, hue + 3, hue + 1)]
    return torch.stack([value - chroma * torch.minimum(place, 4 - place).clamp(0, 1) for place in places], dim=1).clamp_(0, 1)


def solarise(images: Images, thresholds: Factors) -> Images:
    """Invert the channel values of at least the image's threshold, as Pillow's solarize.

    Args:
        images: RGB in [0, 1].
        thresholds: [B], in [0, 1]; 0 inverts all, 1 nothing but full channels.
    """
    return torch.where(images >= thresholds[:, None, None, None], 1 - images, images)


def posterise(images: Images, bits: Int64[Tensor, " batch"]) -> Images:
    """Keep the highest `bits` (1 … 8) of each channel's 8 bits, as Pillow's posterize; values are rounded to 8 bits first."""
    steps = (2.0 ** (8 - bits))[:, None, None, None]
    return (images * 255).round_().div_(steps).floor_().mul_(steps).div_(255)


def stretch_contrast(images: Images) -> Images:
    """Stretch each channel to 0 … 1 (Pillow's autocontrast without a cutoff); a channel of one value stays."""
    least, greatest = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    extent = greatest - least
    return torch.where(extent > 0, (images - least) / torch.where(extent > 0, extent, 1), images).clamp_(0, 1)


def equalise(images: Images) -> Images:
    """Even out each channel's histogram over its 8-bit values, by the integer arithmetic of Pillow's equalize.

    With counts h of the values and s = (pixels - count of the greatest value) div 255, value i becomes
    (s div 2 + Σ_{j<i} h_j) div s; a channel with s = 0 stays as it is.
    """
    bytes_ = (images * 255).round_().long().flatten(2)
    counts = torch.zeros(*bytes_.shape[:2], 256, dtype=torch.long, device=images.device)
    counts.scatter_add_(2, bytes_, torch.ones_like(bytes_))
    greatest = counts.gather(2, bytes_.amax(2, keepdim=True))
    steps = (bytes_.shape[2] - greatest) // 255
    divisor = steps.clamp(min=1)
    table = ((counts.cumsum(2) - counts + divisor // 2) // divisor).clamp_(max=255)
    evened = table.gather(2, bytes_).view_as(images).to(images.dtype) / 255
    return torch.where(steps[..., None] > 0, evened, images)


def erase_rectangles(images: Images, rectangles: Int64[Tensor, "batch 4"]) -> Images:
    """Fill one rectangle an image with the image's own mean colour (random erasing, arXiv:1708.04896).

    Args:
        images: RGB in [0, 1].
        rectangles: [B, 4], (left, top, width, height) in pixels; width or height 0 erases nothing.
    """
    inside = inside_rectangles(rectangles, height=images.shape[2], width=images.shape[3])
    return torch.where(inside, plane_means(images)[:, :, None, None], images)


def inside_rectangles(
    rectangles: Int64[Tensor, "batch 4"], *, height: int, width: int
) -> Bool[Tensor, "batch 1 {height} {width}"]:
    """Say which pixels lie in each image's rectangle.

    Args:
        rectangles: [B, 4], (left, top, width, height) in pixels; width or height 0 holds none.
        height: of the images, in pixels.
        width: of the images, in pixels.
    """
    left, top, columns_inside, rows_inside = rectangles.T[:, :, None]
    columns = torch.arange(width, device=rectangles.device)
    rows = torch.arange(height, device=rectangles.device)
    inside_columns = (columns >= left) & (columns < left + columns_inside)
    inside_rows = (rows >= top) & (rows < top + rows_inside)
    inside: Bool[Tensor, "batch 1 {height} {width}"] = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    return inside


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
