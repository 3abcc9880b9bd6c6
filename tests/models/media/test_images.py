"""Images: every source gives the same RGB image; what is not an image raises an error that says why."""

from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from gemma_lab.errors import BadMedia
from gemma_lab.models.media import image_size, load_image

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


GRAY = np.arange(6, 246, dtype=np.uint8).reshape(12, 20)
EXACT = ("L", "LA", "P", "PA", "I", "F", "I;16", "I;16L", "I;16B", "I;16N", "RGB", "RGBA", "RGBX", "CMYK")


@pytest.mark.parametrize("mode", [*EXACT, "1", "YCbCr", "HSV", "LAB", "La", "RGBa"])
def test_every_mode_gives_its_8_bit_image(mode):
    base = Image.fromarray(GRAY)
    image = {"La": base.convert("LA"), "RGBa": base.convert("RGBA")}.get(mode, base).convert(mode)
    loaded = load_image(image)
    assert (loaded.mode, loaded.size) == ("RGB", (20, 12))
    if mode == "1":
        assert set(np.unique(np.asarray(loaded))) == {0, 255}
    else:
        error = np.abs(np.asarray(loaded).astype(int) - GRAY[:, :, None])
        assert error.max() <= (0 if mode in EXACT or mode in ("La", "RGBa", "HSV") else 3)


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16B"])
def test_16_bit_images_by_their_range(mode):
    wide = GRAY.astype(np.int32) * 257
    image = Image.fromarray(wide if mode == "I" else wide.astype(">u2" if mode == "I;16B" else "<u2"))
    assert image.mode == mode
    np.testing.assert_array_equal(np.asarray(load_image(image))[:, :, 0], GRAY)


@pytest.mark.parametrize("values", [(0, 65_536), (-1, 200), (0, 2**31 - 1)])
def test_a_32_bit_image_never_wraps(values):
    image = Image.fromarray(np.array([values], np.int32))
    with pytest.raises(BadMedia, match=re.escape(f"{values[0]:g} to {values[1]:g}")):
        load_image(image)
    file = io.BytesIO()
    image.save(file, "TIFF")
    with pytest.raises(BadMedia, match=re.escape(f"{values[0]:g} to {values[1]:g}")):
        load_image(file)


def test_float_images_run_to_1_or_to_255():
    for scale in (1, 255):
        image = Image.fromarray((GRAY / 255 * scale).astype(np.float32))
        np.testing.assert_array_equal(np.asarray(load_image(image))[:, :, 0], GRAY)
    for wrong in (np.float32([[0, 256]]), np.float32([[-1, 1]]), np.float32([[np.nan, 1]])):
        with pytest.raises(BadMedia):
            load_image(Image.fromarray(wrong))


@pytest.mark.parametrize(
    "dtype",
    ["u1", "i2", "u2", ">u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">f4", "O", "c8", "U4", "M8[s]"],
)
def test_arrays_of_every_dtype_give_their_8_bit_image_or_an_error(dtype):
    array = GRAY.astype(dtype) if "f" not in dtype else (GRAY / 255).astype(dtype)
    if dtype in ("O", "c8", "U4", "M8[s]"):
        with pytest.raises(BadMedia, match="not an image"):
            load_image(array)
        return
    for each in (array, array[:, :, None], np.stack([array] * 3, axis=2), array[::-1][::-1]):
        np.testing.assert_array_equal(np.asarray(load_image(each))[:, :, 1], GRAY)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "uint16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
)
def test_tensors_of_every_dtype(dtype):
    torch = pytest.importorskip("torch")
    kind = getattr(torch, dtype)
    tensor = (
        torch.tensor(GRAY) if not kind.is_floating_point else torch.tensor(GRAY / 255, requires_grad=True)
    )
    loaded = np.asarray(load_image(tensor.to(kind)))
    assert np.abs(loaded[:, :, 0].astype(int) - GRAY).max() <= (1 if dtype == "bfloat16" else 0)
    with pytest.raises(BadMedia):
        load_image(torch.empty(4, 4, device="meta"))
    with pytest.raises(BadMedia):
        load_image(torch.zeros(4, 4, dtype=torch.complex64))


def test_a_closed_image_is_named(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(Image.fromarray(PIXELS)))
    with Image.open(path) as closed:
        pass
    with pytest.raises(BadMedia) as caught:
        load_image(closed)
    assert "copy()" in caught.value.hint
    with Image.open(path) as image:
        copied = image.copy()
    np.testing.assert_array_equal(np.asarray(load_image(copied)), PIXELS)


@pytest.mark.parametrize("transparency", [0, (1, 2, 3), b"\x00", 700, "none", (5,), None])
def test_a_transparent_colour_that_fits_or_not(transparency):
    for mode in ("L", "RGB", "P", "1"):
        image = Image.new(mode, (4, 4))
        image.info["transparency"] = transparency
        assert load_image(image).getpixel((0, 0)) in ((0, 0, 0), (255, 255, 255))


def test_a_hint_leads_to_an_image():
    for array, text, fixed in (
        (GRAY.astype(np.float32), "/ 255", lambda a: a / 255),
        (GRAY.astype(np.int32) * 257, "uint16", lambda a: a.astype(np.uint16)),
        (GRAY / 127.5 - 1, "+ 1) / 2", lambda a: (a + 1) / 2),
    ):
        with pytest.raises(BadMedia) as caught:
            load_image(array)
        assert text in caught.value.hint
        np.testing.assert_array_equal(np.asarray(load_image(fixed(array)))[:, :, 0], GRAY)


def test_a_picture_of_sixteen_levels_is_told_its_own_white():
    array = np.arange(17.0)[:, None] * np.ones(8)  # as scikit-learn's digits
    with pytest.raises(BadMedia) as caught:
        load_image(array)
    assert "If 16 is white, pass array / 16" in caught.value.hint
    assert load_image(array / 16).getextrema() == ((0, 255),) * 3


def test_sizes_come_from_headers(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (300, 200)).save(path, comment=b"x" * 60_000)
    with path.open("rb") as file:
        assert image_size(path) == image_size(file) == image_size(file) == (300, 200)
    assert image_size(PIXELS) == image_size(Image.fromarray(PIXELS)) == (20, 12)
    whole = png(Image.fromarray(np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)))
    assert image_size(whole[:5000]) == (500, 500), "the pixels are not read"


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


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_no_pixel_is_decoded_for_the_size(kind, monkeypatch):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(file, kind, **({"exif": exif} if kind in ("PNG", "JPEG", "WEBP") else {}))
    size = load_image(file).size
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    assert image_size(file) == image_size(Image.open(file)) == size
