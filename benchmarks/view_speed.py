"""Time training views by the image, and say where the time goes: python benchmarks/view_speed.py

Default options on toy canvases. Each time is the least of many calls, since other work on the machine
can only add; the parts are timed alone, so their shares need not reach 100 %.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from picturebook.data.counter import counter_uniforms
from picturebook.data.view_colour import adjust_colour
from picturebook.data.view_geometry import box_affines, random_boxes, sample_affines
from picturebook.data.views import ViewOptions, evaluation_views, training_views

CASES = [(64, 64, 64), (64, 64, 128), (32, 32, 64), (32, 32, 128), (64, 32, 128)]
"""(canvas side, view side, batch)."""
NUM_UNIFORMS = 32


def microseconds(call: Callable[[], object], batch: int) -> float:
    """Least time of one call in µs an image."""
    times = []
    for _ in range(60):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times) / batch * 1e6


def measure(canvas_size: int, image_size: int, batch: int, *, square: bool) -> list[float]:
    """Time whole training views, their parts (parameters, sampling, colour) and evaluation views."""
    options = ViewOptions()
    generator = np.random.default_rng(0)
    canvases = torch.from_numpy(generator.integers(0, 256, (batch, canvas_size, canvas_size, 3), dtype=np.uint8))
    sizes = np.full((batch, 2), canvas_size) if square else generator.integers(48, 300, (batch, 2))
    ids, views = generator.integers(-(2**63), 2**63 - 1, batch), np.arange(batch)

    def parameters() -> np.ndarray:
        uniforms = counter_uniforms(0, ids, views, NUM_UNIFORMS)
        boxes = random_boxes(uniforms[:, :4], sizes, scale=options.crop_scale, ratio=options.crop_ratio)
        return box_affines(boxes, sizes, flips=uniforms[:, 4] < options.flip)

    affines = parameters()
    images = sample_affines(canvases, affines, image_size=image_size)
    factors = torch.linspace(0.8, 1.2, batch)
    calls: list[Callable[[], object]] = [
        lambda: training_views(canvases, sizes, ids, views, seed=0, image_size=image_size, options=options),
        parameters,
        lambda: sample_affines(canvases, affines, image_size=image_size),
        lambda: adjust_colour(images, brightness=factors, contrast=factors, saturation=factors),
        lambda: evaluation_views(canvases, sizes, image_size=image_size),
    ]
    return [microseconds(call, batch) for call in calls]


def main() -> None:
    """Print a table for one and two threads."""
    print("µs an image     threads canvas view batch originals | training = parameters + sampling + colour | evaluation")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for canvas_size, image_size, batch in CASES:
            for square in (True, False):
                whole, *parts, evaluation = measure(canvas_size, image_size, batch, square=square)
                shares = "   ".join(f"{part:5.1f} ({part / whole:4.0%})" for part in parts)
                originals = "square" if square else "mixed "
                case = f"{threads:7d} {canvas_size:6d} {image_size:4d} {batch:5d} {originals}   "
                print(f"                {case} | {whole:6.1f}   {shares} | {evaluation:5.1f}")


if __name__ == "__main__":
    main()
