"""Pictures in: every source gives the same RGB picture, and what is no picture says so."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gemma_lab.errors import BadMedia
from gemma_lab.models.media import load_image

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def png(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def test_path_bytes_file_image_and_array_are_the_same_picture(tmp_path):
    data = png(Image.fromarray(PIXELS))
    path = tmp_path / "bild – صورة.png"
    path.write_bytes(data)
    with path.open("rb") as file:
        sources = [
            path,
            str(path),
            data,
            bytearray(data),
            file,
            Image.fromarray(PIXELS),
            PIXELS,
            PIXELS / 255,
        ]
        for source in sources:
            image = load_image(source)
            assert image.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(image), PIXELS)


def test_arrays_of_every_kind():
    gray = PIXELS[:, :, 0]
    for array in (gray, gray[:, :, None], gray / 255.0, gray.astype(np.uint16) * 257, gray.astype(int)):
        np.testing.assert_array_equal(np.asarray(load_image(array))[:, :, 1], gray)
    assert load_image(gray > 100).getextrema() == ((0, 255),) * 3
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(np.asarray(load_image(torch.tensor(PIXELS))), PIXELS)


def test_transparency_lies_on_white():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    half = np.zeros((4, 4, 2), np.uint8)
    for source in (clear, png(clear), clear.convert("LA"), half):
        assert load_image(source).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 0)
    assert load_image(png(palette, transparency=0)).getpixel((0, 0)) == (255, 255, 255)


def test_a_photo_taken_sideways_is_turned_upright():
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(file, "JPEG", exif=exif)
    assert load_image(file.getvalue()).size == (12, 20)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_every_mode_becomes_rgb(mode):
    image = load_image(Image.new(mode, (5, 4)))
    assert (image.mode, image.size) == ("RGB", (5, 4))
    dark = {"YCbCr": (0, 135, 0), "CMYK": (255, 255, 255)}  # zeros are no luma in one, no ink in the other
    assert image.getpixel((0, 0)) == dark.get(mode, (0, 0, 0))


def test_the_source_may_change_afterwards():
    image = Image.new("RGB", (4, 4), "red")
    kept = load_image(image)
    image.paste("blue", (0, 0, 4, 4))
    assert kept.getpixel((0, 0)) == (255, 0, 0)


def bomb() -> bytes:
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 12_000, 10_000, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (b"", "empty"),
        (b"GIF, but not really", "begins with b'GIF, but'"),
        (png(Image.fromarray(PIXELS))[:300], "broken"),
        (bomb(), "120 Mpx"),
        ("no/such/file.png", "No such file"),
        ("a\0b.png", "cannot be read"),
        (".", "cannot be read"),
        ("https://example.org/cat.png", "downloads nothing"),
        (io.StringIO("text"), "returns str"),
        (42, "int is not an image"),
        (None, "NoneType is not an image"),
        (np.zeros((3, 8, 9), np.uint8), r"shape \(3, 8, 9\)"),
        (np.zeros((1, 8, 9, 3), np.uint8), r"array\[0\]"),
        (np.zeros((0, 5)), "empty"),
        (np.full((8, 8), 16.0), "from 16 to 16"),
        (np.arange(64.0).reshape(8, 8) / 4, "from 0 to 15.75"),
        (np.full((8, 8), np.nan), "NaN"),
        (np.full((8, 8), -1), "from -1"),
        (np.full((8, 8), "a"), "not an image"),
    ],
)
def test_what_is_no_picture_says_what_it_is_and_what_to_do(source, says):
    with pytest.raises(BadMedia, match=says) as caught:
        load_image(source)
    assert caught.value.hint
