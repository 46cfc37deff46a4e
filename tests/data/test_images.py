import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from picturebook.data import images
from picturebook.data.images import Broken, decode, open_rgb


def encoded(image: Image.Image, format_: str = "PNG", **arguments: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **arguments)
    return buffer.getvalue()


def noise(height: int = 12, width: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_a_plain_picture_of_the_canvas_size_is_its_own_canvas() -> None:
    pixels = noise(8, 8)
    decoded = decode(encoded(Image.fromarray(pixels)), 8)
    np.testing.assert_array_equal(decoded.canvas, pixels)
    assert (decoded.height, decoded.width, decoded.converted) == (8, 8, ())


def test_a_canvas_is_the_whole_picture_squeezed_with_antialiasing() -> None:
    pixels = np.zeros((16, 64, 3), dtype=np.uint8)
    pixels[:, 1::2] = 255  # stripes of one pixel: without antialiasing they would stay black or white
    pixels[:, 32:] = 255
    decoded = decode(encoded(Image.fromarray(pixels)), 8)
    assert (decoded.height, decoded.width) == (16, 64)
    assert np.abs(decoded.canvas[:, :3].astype(int) - 127).max() < 16
    assert decoded.canvas[:, 5:].min() > 240


def test_a_large_jpeg_decoded_at_a_fraction_gives_nearly_the_same_canvas() -> None:
    ramp = np.linspace(0, 255, 512)
    pixels = np.stack([np.tile(ramp, (512, 1)), np.tile(ramp[:, None], (1, 512)), np.full((512, 512), 90.0)], axis=2)
    data = encoded(Image.fromarray(pixels.astype(np.uint8)), "JPEG", quality=95)
    whole = np.asarray(open_rgb(data).resize((16, 16), Image.Resampling.BICUBIC)).astype(int)
    decoded = decode(data, 16)
    assert (decoded.height, decoded.width) == (512, 512)
    assert np.abs(decoded.canvas - whole).max() <= 4


@pytest.mark.parametrize("opacity", [0, 128])
def test_transparency_is_laid_on_white(opacity: int) -> None:
    image = Image.new("RGBA", (8, 8), (200, 0, 0, opacity))
    decoded = decode(encoded(image), 8)
    assert decoded.converted == ("alpha",)
    assert decoded.canvas[0, 0].tolist() == pytest.approx([255 - 55 * opacity / 255, *[255 - opacity] * 2], abs=1)


def test_an_opaque_alpha_channel_is_not_worth_a_note() -> None:
    decoded = decode(encoded(Image.new("RGBA", (8, 8), (200, 0, 0, 255))), 8)
    assert decoded.converted == ()
    assert decoded.canvas[0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize("as_bytes", [True, False])
def test_a_transparent_palette_is_laid_on_white(as_bytes: bool) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    decoded = decode(encoded(image, transparency=b"\xff\x00" if as_bytes else 1), 8)
    assert decoded.converted == ("palette with transparency",)
    assert decoded.canvas[0, 0].tolist() == [255, 255, 255]


def test_grey_becomes_three_equal_channels() -> None:
    decoded = decode(encoded(Image.new("L", (8, 8), 77)), 8)
    assert decoded.converted == ("grey",)
    assert (decoded.canvas == 77).all()


def test_cmyk_becomes_rgb() -> None:
    decoded = decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100), 8)
    assert decoded.converted == ("CMYK",)
    assert np.abs(decoded.canvas[4, 4].astype(int) - [255, 0, 0]).max() < 6


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(format_: str) -> None:
    values = np.full((8, 8), 0x8080, dtype=np.uint16)
    decoded = decode(encoded(Image.fromarray(values), format_), 8)
    assert decoded.converted == ("16-bit", "grey")
    assert (decoded.canvas == 128).all()


def test_sixteen_bit_colour_is_noted() -> None:
    rows = b"".join(b"\0" + struct.pack(">HHH", 0xFFFF, 0x8080, 0) * 8 for _ in range(8))
    plain = png_header(8, 8)
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in parts]
    decoded = decode(plain[:8] + b"".join(chunks), 8)
    assert decoded.converted == ("16-bit",)
    assert decoded.canvas[0, 0].tolist() == [255, 128, 0]


def test_float_pixels_have_no_known_range() -> None:
    with pytest.raises(Broken, match="pixels of unknown range"):
        decode(encoded(Image.new("F", (8, 8), 0.5), "TIFF"), 8)


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(format_: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    arguments = {"lossless": True} if format_ == "WEBP" else {}
    decoded = decode(encoded(frames[0], format_, save_all=True, append_images=frames[1:], **arguments), 8)
    assert decoded.converted == ("animated, first frame taken",)
    assert decoded.canvas[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_exif_rotation_is_applied_to_pixels_and_sizes(orientation: int, format_: str) -> None:
    from PIL import ImageOps

    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:8, :8] = (255, 0, 0)
    pixels[8:, :8] = (0, 255, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(pixels), format_, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    decoded = decode(data, 8)
    assert decoded.converted == ("EXIF-rotated",)
    assert (decoded.width, decoded.height) == expected.size
    squeezed = np.asarray(expected.resize((8, 8), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(decoded.canvas - squeezed).max() <= (2 if format_ == "PNG" else 40)
    np.testing.assert_array_equal(np.asarray(open_rgb(data)), np.asarray(expected))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "zero-byte file"),
        (b"these are words", "not an image"),
        (encoded(Image.fromarray(noise(64, 64)))[:6000], "truncated file"),
        (encoded(Image.fromarray(noise(64, 64)), "JPEG")[:1500], "truncated file"),
        (png_header(50_000, 50_000), "decompression bomb"),
        (png_header(11_000, 11_000), "decompression bomb"),
    ],
)
def test_a_broken_file_has_a_kind(data: bytes, kind: str) -> None:
    for reader in (lambda: decode(data, 8), lambda: open_rgb(data)):
        with pytest.raises(Broken) as caught:
            reader()
        assert caught.value.kind == kind


def test_a_bomb_is_refused_before_its_pixels_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    monkeypatch.setattr(Image.Image, "load", lambda _self: pytest.fail("decoded"))
    with pytest.raises(Broken, match="decompression bomb"):
        decode(encoded_before, 8)


encoded_before = encoded(Image.fromarray(noise(16, 16)))


def test_postscript_is_not_handed_to_an_interpreter() -> None:
    with pytest.raises(Broken, match="not an image"):
        decode(encoded(Image.fromarray(noise()), "EPS"), 8)


def test_bytes_damaged_anywhere_are_decoded_or_broken_and_nothing_else() -> None:
    generator = np.random.default_rng(1)
    num_broken = 0
    for format_ in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"):
        exif = {"exif": Image.Exif()} if format_ in {"JPEG", "PNG"} else {}
        data = encoded(Image.fromarray(noise()), format_, **exif)
        for _ in range(40):
            damaged = bytearray(data)
            for place in generator.integers(0, min(len(data), 120), 3):
                damaged[place] = generator.integers(256)
            try:
                decode(bytes(damaged), 8)
            except Broken:
                num_broken += 1
    assert 0 < num_broken < 280


def test_threads_leave_the_warning_filters_as_they_were() -> None:
    before = list(warnings.filters)
    data = encoded(Image.fromarray(noise()))
    threads = [threading.Thread(target=lambda: [decode(data, 8) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before
