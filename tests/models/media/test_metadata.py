"""Broken metadata never stops a good image; a good orientation is applied."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from gemma_lab.models.media import image_size, load_image
from gemma_lab.models.media.metadata import without_metadata

PIXELS = np.zeros((20, 40, 3), np.uint8)
PIXELS[:10, :20], PIXELS[10:, 20:] = (250, 10, 10), (10, 10, 250)
IMAGE = Image.fromarray(PIXELS)


def saved(kind, **options):
    file = io.BytesIO()
    IMAGE.save(file, kind, **options)
    return file.getvalue()


def jpeg_with(marker, payload, *, length=None):
    data = saved("JPEG", quality=95)
    size = len(payload) + 2 if length is None else length
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", size) + payload + data[2:]


def png_with(kind, payload, *, checksum=None):
    data = saved("PNG")
    sum_ = zlib.crc32(kind + payload) if checksum is None else checksum
    return data[:33] + struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", sum_) + data[33:]


def exif(*entries, tail=b""):
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4) + tail
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + directory


ORIENTATION = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0)
RATIONAL = struct.pack("<HHII", 0x11A, 10, 1, 38)

BROKEN = {
    "JPEG: an orientation, and a negative resolution": (
        jpeg_with(0xE1, exif(ORIENTATION, RATIONAL, tail=struct.pack("<ii", -1, 1))),
        True,
    ),
    "JPEG: EXIF of letters": (jpeg_with(0xE1, b"Exif\0\0" + b"x" * 50), False),
    "JPEG: EXIF that ends early": (jpeg_with(0xE1, exif(ORIENTATION, RATIONAL)[:-9]), None),
    "JPEG: an orientation of 9": (jpeg_with(0xE1, exif(struct.pack("<HHIHH", 0x112, 3, 1, 9, 0))), False),
    "JPEG: an orientation of two numbers": (
        jpeg_with(0xE1, exif(struct.pack("<HHIHH", 0x112, 3, 2, 6, 3))),
        None,
    ),
    "JPEG: an orientation of text": (
        jpeg_with(0xE1, exif(struct.pack("<HHI4s", 0x112, 2, 4, b"top\0"))),
        False,
    ),
    "JPEG: EXIF that points at itself": (jpeg_with(0xE1, exif(struct.pack("<HHII", 0x8769, 4, 1, 8))), False),
    "JPEG: an ICC profile of letters": (jpeg_with(0xE2, b"ICC_PROFILE\0\1\1" + b"x" * 30), False),
    "JPEG: one of two ICC parts": (jpeg_with(0xE2, b"ICC_PROFILE\0\2\2" + b"x" * 30), False),
    "JPEG: an empty ICC part": (jpeg_with(0xE2, b"ICC_PROFILE\0"), False),
    "JPEG: a broken MPF": (jpeg_with(0xE2, b"MPF\0II*\0\xff\xff\xff\x7f"), False),
    "JPEG: MPF of one letter": (jpeg_with(0xE2, b"MPF\0x"), False),
    "JPEG: XMP that is no XML": (
        jpeg_with(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation="x">'),
        False,
    ),
    "JPEG: XMP of bytes": (jpeg_with(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + bytes(range(256))), False),
    "JPEG: Photoshop of letters": (jpeg_with(0xED, b"Photoshop 3.0\x008BIM" + b"\xff" * 9), False),
    "JPEG: a short JFIF": (jpeg_with(0xE0, b"JFIF\0"), False),
    "PNG: EXIF of letters": (png_with(b"eXIf", b"xxxxxxxx"), False),
    "PNG: EXIF with a wrong checksum": (png_with(b"eXIf", b"II*\0\x08\0\0\0\0\0", checksum=7), False),
    "PNG: an ICC profile that is not packed": (png_with(b"iCCP", b"name\0\0" + b"x" * 30), False),
    "PNG: an ICC profile of another method": (png_with(b"iCCP", b"name\0\7" + b"x" * 30), False),
    "PNG: an ICC profile without a name": (png_with(b"iCCP", b""), False),
    "PNG: text that unpacks to 200 MB": (
        png_with(b"zTXt", b"k\0\0" + zlib.compress(bytes(200_000_000), 9)),
        False,
    ),
    "PNG: text without a key": (png_with(b"iTXt", b""), False),
    "PNG: a time of one byte": (png_with(b"tIME", b"x"), False),
    "PNG: an empty resolution": (png_with(b"pHYs", b""), False),
    "PNG: an empty gamma": (png_with(b"gAMA", b""), False),
    "PNG: short chromaticities": (png_with(b"cHRM", b"xxx"), False),
    "PNG: an empty sRGB": (png_with(b"sRGB", b""), False),
    "WebP: EXIF of letters": (saved("WEBP", lossless=True, exif=b"Exif\0\0" + b"x" * 20), False),
    "WebP: XMP and ICC of letters": (saved("WEBP", lossless=True, xmp=b"<x", icc_profile=b"xx"), False),
    "TIFF: an ICC profile of letters": (saved("TIFF", icc_profile=b"xx"), False),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.filterwarnings("error")
def test_broken_metadata_does_not_stop_an_image(name):
    data, turned = BROKEN[name]
    image = load_image(data)
    assert image_size(data) == image.size
    upright = np.asarray(IMAGE.transpose(Image.Transpose.ROTATE_270))
    if turned is None:
        turned = image.size == (20, 40)  # what survives of the orientation may be used
    expected = upright if turned else PIXELS
    assert image.size == (expected.shape[1], expected.shape[0])
    assert np.abs(np.asarray(image).astype(int) - expected).mean() < (4 if name.startswith("JPEG") else 0.01)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_that_of_pillow(kind, orientation):
    tags = Image.Exif()
    tags[0x112] = orientation
    data = saved(kind, exif=tags)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    image = load_image(data)
    assert image.size == expected.size == image_size(data)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))
    np.testing.assert_array_equal(np.asarray(load_image(Image.open(io.BytesIO(data)))), np.asarray(expected))


def test_a_profile_does_not_change_colours():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(np.asarray(load_image(saved("PNG", icc_profile=profile))), PIXELS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_without_metadata_keeps_the_pixels(kind):
    tags = Image.Exif()
    tags[0x112] = 6
    data = saved(kind, exif=tags)
    bare = without_metadata(data)
    assert len(bare) < len(data)
    again = Image.open(io.BytesIO(bare))
    assert again.getexif().get(0x112) is None
    np.testing.assert_array_equal(np.asarray(again), np.asarray(Image.open(io.BytesIO(data))))
    assert without_metadata(b"RIFF") is None


@settings(max_examples=60, deadline=None)
@given(
    payload=st.binary(max_size=80),
    marker=st.sampled_from([0xE1, 0xE2, 0xEC, 0xED, 0xEF, 0xFE]),
    head=st.sampled_from(
        [
            b"",
            b"Exif\0\0",
            b"Exif\0\0II*\0\x08\0\0\0",
            b"Exif\0\0MM\0*",
            b"ICC_PROFILE\0",
            b"MPF\0",
            b"MPF\0II*\0\x08\0\0\0",
            b"http://ns.adobe.com/xap/1.0/\0",
            b"Photoshop 3.0\0",
            b"Photoshop 3.0\x008BIM",
        ]
    ),
)
def test_random_segments_do_not_stop_an_image(payload, marker, head):
    assert sorted(load_image(jpeg_with(marker, head + payload)).size) == [20, 40]


@settings(max_examples=60, deadline=None)
@given(
    payload=st.binary(max_size=60),
    kind=st.sampled_from(
        [b"eXIf", b"iCCP", b"zTXt", b"tEXt", b"iTXt", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"tIME", b"abCd"]
    ),
    checksum=st.sampled_from([None, 0]),
)
def test_random_chunks_do_not_stop_an_image(payload, kind, checksum):
    image = load_image(png_with(kind, payload, checksum=checksum))
    np.testing.assert_array_equal(np.asarray(image), PIXELS)
