"""Media: images, videos and sounds as programs write them, and as they break."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from support.video_files import ANIMATIONS, animation, mp3_with_cover, numbers, video_file

import gemma_lab as gl
from corpus.row import Corpus, Row
from gemma_lab.errors import BadMedia

GRAY = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
COLOURS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)
BURSTS = [0, 0.03, 0.07, 0.1, 0.13, 5, 5.03, 5.07, 5.1, 5.13]
EVEN = [n / 10 for n in range(10)]
LONG = [n / 10 for n in range(20)]
JITTER = [0.0, *(round(n / 30 + 0.008 * (-1) ** (n * n // 3), 3) for n in range(1, 30))]
LONGEST = 16_000 * 30


def _saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _image(name: str, make: Callable[[], Any], expected: np.ndarray[Any, Any], *, within: float = 0) -> Row:
    """Return a row: the image must have these pixels, gray or RGB."""

    def check(image: Image.Image) -> bool:
        pixels = expected if expected.ndim == 3 else expected[:, :, None].repeat(3, axis=2)
        loaded = np.asarray(image).astype(int)
        return loaded.shape == pixels.shape and np.abs(loaded - pixels).max() <= within

    return Row(name, lambda _: gl.load_image(make()), check=check)


def _bad(name: str, load: Callable[..., Any], make: Callable[[], Any], *holds: str, **options: Any) -> Row:
    return Row(name, lambda _: load(make(), **options), raises=BadMedia, holds=holds)


def _video(
    name: str,
    make: Callable[[], Any],
    times: Sequence[float],
    frames: Sequence[int] | None = None,
    *,
    within: float = 2e-3,
    **options: Any,
) -> Row:
    """Return a row: the video must have these times, and these frames by their gray; all by default."""

    def check(video: Any) -> bool:
        shown = list(range(len(times))) if frames is None else list(frames)
        close = len(video.times) == len(times) and np.abs(np.subtract(video.times, times)).max() <= within
        return bool(close) and (not shown or numbers(video) == shown)

    return Row(name, lambda _: gl.load_video(make(), **options), check=check)


def _sound(name: str, make: Callable[[], Any], expected: Any = TONE, *, within: float = 1e-4) -> Row:
    return Row(
        name,
        lambda _: gl.load_audio(make()),
        check=lambda sound: (
            len(sound.samples) == len(expected) and np.abs(sound.samples - expected).max() <= within
        ),
    )


def _one_call(verb: str, argument: str, make: Callable[[Corpus], Any]) -> Row:
    """Return a row: one medium passed bare to a verb is one medium."""

    def run(corpus: Corpus) -> int:
        return int(getattr(corpus.edge, verb)("What?", **{argument: make(corpus)}).prompt_tokens)

    def both(corpus: Corpus) -> tuple[int, int]:
        listed = getattr(corpus.edge, verb)("What?", **{argument: [make(corpus)]}).prompt_tokens
        return run(corpus), int(listed)

    return Row(f"{verb}: {argument} {make.__name__}", both, check=lambda counts: counts[0] == counts[1])


def _exif_jpeg() -> bytes:
    """Return a JPEG whose EXIF data have an orientation, and a resolution that Pillow cannot write anew."""
    jpeg = _saved(Image.new("RGB", (40, 20), "red"), "JPEG")
    entries = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0) + struct.pack("<HHII", 0x11A, 10, 1, 38)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4) + struct.pack("<ii", -1, 1)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def _png_with(kind: bytes, payload: bytes, checksum: int | None = None) -> bytes:
    data = _saved(Image.fromarray(COLOURS))
    checksum = zlib.crc32(kind + payload) if checksum is None else checksum
    chunk = struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", checksum)
    return data[:33] + chunk + data[33:]


def _gif_held() -> bytes:
    """Return a GIF of five frames, of which Pillow merges equal neighbours and the last is held for 3 s."""
    frames = [Image.new("RGB", (96, 96), (8 * n,) * 3) for n in (0, 0, 1, 1, 2)]
    return animation([100] * 4 + [3000], "GIF", frames)


def _closed() -> Image.Image:
    with Image.open(io.BytesIO(_saved(Image.fromarray(GRAY)))) as image:
        return image


def _closed_file() -> io.BytesIO:
    file = io.BytesIO(b"x")
    file.close()
    return file


def _just_written() -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(COLOURS).save(file, "PNG")
    return file


def _data_uri() -> str:
    return "data:image/png;base64," + base64.b64encode(_saved(Image.fromarray(COLOURS))).decode()


def _bfloat16(array: Any) -> Any:
    import torch

    return torch.tensor(array).to(torch.bfloat16)


def _wav(samples: Any = TONE, size: int | None = None) -> bytes:
    data = gl.load_audio((samples, 16_000)).wav()
    return data if size is None else data[:40] + struct.pack("<I", size) + data[44:]


def _matrix(a: int, b: int, c: int, d: int) -> bytes:
    one = 1 << 16
    marked = Image.new("RGB", (64, 48))
    marked.paste((255, 255, 255), (0, 0, 32, 24))  # the upper left quarter is white
    values = [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30]
    return video_file([0, 0.1], "mp4 mpeg4", frames=[marked] * 2, matrix=values)


def _corner(video: Any) -> tuple[tuple[int, int], str]:
    """Return the size of a video, and which of its quarters is white."""
    pixels = np.asarray(video.frames[0].convert("L"), float)
    rows, columns = np.argwhere(pixels > 128).mean(axis=0) / pixels.shape
    return video.size, f"{'upper' if rows < 0.5 else 'lower'} {'left' if columns < 0.5 else 'right'}"


def path_of_an_image(corpus: Corpus) -> Any:
    return str(corpus.media / "digits" / "7.png")


def open_image(corpus: Corpus) -> Any:
    return (corpus.media / "digits" / "7.png").open("rb")


def image_in_memory(corpus: Corpus) -> Any:
    return io.BytesIO((corpus.media / "digits" / "7.png").read_bytes())


def image_memoryview(corpus: Corpus) -> Any:
    return memoryview((corpus.media / "digits" / "7.png").read_bytes())


def array_of_6_rows(corpus: Corpus) -> Any:
    return np.zeros((6, 9, 3), np.uint8)


def sound_and_rate(corpus: Corpus) -> Any:
    return TONE, 16_000


def rate_and_sound(corpus: Corpus) -> Any:
    return 16_000, TONE


def open_sound(corpus: Corpus) -> Any:
    return (corpus.media / "speech" / "en-207.wav").open("rb")


_PIL = Image.fromarray(GRAY)
_MODES = (
    "L",
    "LA",
    "P",
    "PA",
    "I",
    "F",
    "I;16",
    "I;16L",
    "I;16B",
    "I;16N",
    "RGB",
    "RGBA",
    "RGBX",
    "CMYK",
    "HSV",
)
_INTEGERS = ("u1", "i2", "u2", ">u2", "i4", "u4", "i8", "u8")
_DISPLAYED = {
    "as it is": ((1, 0, 0, 1), (64, 48), "upper left"),
    "mirrored": ((-1, 0, 0, 1), (64, 48), "upper right"),
    "upside down mirrored": ((1, 0, 0, -1), (64, 48), "lower left"),
    "half a turn": ((-1, 0, 0, -1), (64, 48), "lower right"),
    "a quarter clockwise": ((0, 1, -1, 0), (48, 64), "upper right"),
    "a quarter anticlockwise": ((0, -1, 1, 0), (48, 64), "lower left"),
    "transposed": ((0, 1, 1, 0), (48, 64), "upper left"),
    "transverse": ((0, -1, -1, 0), (48, 64), "lower right"),
}

IMAGES = [
    *(_image(f"image: PIL mode {mode}", lambda mode=mode: _PIL.convert(mode), GRAY) for mode in _MODES),
    *(
        _image(f"image: PIL mode {mode}", lambda mode=mode: _PIL.convert(mode), GRAY, within=3)
        for mode in ("YCbCr", "LAB")
    ),
    _image("image: PIL mode La", lambda: _PIL.convert("LA").convert("La"), GRAY),
    _image("image: PIL mode RGBa", lambda: _PIL.convert("RGBA").convert("RGBa"), GRAY),
    _image("image: PIL mode 1", lambda: _PIL.point(lambda v: 255 * (v > 100), "1"), 255 * (GRAY > 100)),
    *(
        _image(f"image: array of {dtype}", lambda dtype=dtype: GRAY.astype(dtype), GRAY)
        for dtype in _INTEGERS
    ),
    *(
        _image(f"image: array of {dtype}, 0 to 1", lambda dtype=dtype: (GRAY / 255).astype(dtype), GRAY)
        for dtype in ("f2", "f4", "f8")
    ),
    _image("image: array of booleans", lambda: GRAY > 100, 255 * (GRAY > 100)),
    _image("image: 16 bits", lambda: GRAY.astype(np.uint16) * 257, GRAY),
    _image("image: 16-bit PIL mode I", lambda: Image.fromarray(GRAY.astype(np.int32) * 257), GRAY),
    _image("image: 16-bit PNG", lambda: _saved(Image.fromarray(GRAY.astype(np.uint16) * 257)), GRAY),
    _image("image: bfloat16 tensor", lambda: _bfloat16(GRAY / 255), GRAY, within=1),
    _image("image: just written to memory", _just_written, COLOURS),
    _image("image: data URI", _data_uri, COLOURS),
    _image(
        "image: transparent on white", lambda: Image.new("RGBA", (4, 4), (255, 0, 0, 0)), np.full((4, 4), 255)
    ),
    Row(
        "image: EXIF that cannot be written anew", lambda _: gl.load_image(_exif_jpeg()).size, equals=(20, 40)
    ),
    *(
        _image(
            f"image: PNG with a broken {kind.decode()}",
            lambda kind=kind: _png_with(kind, b"\xff\0\0x", 1),
            COLOURS,
        )
        for kind in (b"eXIf", b"iCCP", b"iTXt", b"zTXt", b"pHYs", b"tIME")
    ),
    _bad(
        "image: mode I beyond 16 bits",
        gl.load_image,
        lambda: Image.fromarray(np.array([[0, 65_536]], np.int32)),
        "65536",
    ),
    _bad(
        "image: mode I below 0", gl.load_image, lambda: Image.fromarray(np.array([[-1, 5]], np.int32)), "-1"
    ),
    _bad("image: closed", gl.load_image, _closed, "copy()"),
    _bad("image: closed file", gl.load_image, _closed_file, "closed"),
    _bad("image: open as text", gl.load_image, lambda: io.StringIO("x"), "str"),
    _bad("image: floats to 255", gl.load_image, lambda: GRAY.astype(np.float32), "239", "/ 255"),
    _bad("image: NaN", gl.load_image, lambda: np.full((4, 4), np.nan), "NaN"),
    _bad(
        "image: channels first", gl.load_image, lambda: np.zeros((3, 8, 9), np.uint8), "(3, 8, 9)", "moveaxis"
    ),
    _bad("image: half a file", gl.load_image, lambda: _saved(Image.fromarray(COLOURS))[:300], "broken"),
    _bad("image: no bytes", gl.load_image, lambda: b"", "empty"),
    _bad("image: an address", gl.load_image, lambda: "https://example.org/cat.png", "downloads nothing"),
    _bad("image: a data URI that is none", gl.load_image, lambda: "data:image/png;base64,%%%", "data URI"),
    _bad("image: a number", gl.load_image, lambda: 7, "int"),
    _bad("image: None", gl.load_image, lambda: None, "NoneType"),
]

VIDEOS = [
    _video("video: h264 MP4, two bursts", lambda: video_file(BURSTS), BURSTS),
    _video(
        "video: mpeg4 MP4, last frame held", lambda: video_file([*EVEN[:9], 6], "mp4 mpeg4"), [*EVEN[:9], 6]
    ),
    _video("video: h264 MP4, even", lambda: video_file(EVEN), EVEN),
    _video(
        "video: h264 MP4, slides", lambda: video_file([3 * n for n in range(10)]), [3 * n for n in range(10)]
    ),
    _video("video: MKV, two bursts", lambda: video_file(BURSTS, "mkv h264"), BURSTS),
    _video("video: WebM, two bursts", lambda: video_file(BURSTS, "webm vp8"), BURSTS),
    _video("video: VP9, two bursts", lambda: video_file(BURSTS, "webm vp9"), BURSTS),
    _video("video: AVI, two bursts", lambda: video_file(BURSTS, "avi mpeg4"), BURSTS),
    _video("video: MPEG-TS, two bursts", lambda: video_file(BURSTS, "ts h264"), BURSTS),
    _video(
        "video: GIF, last frame held",
        lambda: animation([80] * 9 + [3000], "GIF"),
        [0.08 * n for n in range(10)],
    ),
    _video(
        "video: GIF, first frame held",
        lambda: animation([1500] + [80] * 9, "GIF"),
        [0, *(1.5 + 0.08 * n for n in range(9))],
    ),
    _video("video: GIF, equal neighbours merged", _gif_held, [0, 0.2, 0.4]),
    *(
        _video(
            f"video: {kind} animation",
            lambda kind=kind: animation([50, 300, 20, 1000], kind),
            [0, 0.05, 0.35, 0.37],
        )
        for kind in ANIMATIONS
    ),
    *(
        _video(
            f"video: {kind}, first frame at 10 s",
            lambda kind=kind: video_file([10 + t for t in LONG], kind),
            LONG,
        )
        for kind in ("mkv h264", "webm vp8", "mp4 h264")
    ),
    *(
        _video(f"video: {kind}, 10 s of sound", lambda kind=kind: video_file(LONG, kind, sound=10), LONG)
        for kind in ("mkv h264", "webm vp8")
    ),
    _video("video: jitter", lambda: video_file(JITTER), JITTER),
    _video("video: MP3 with a cover", mp3_with_cover, [0], []),
    _video(
        "video: by time, the last frame not after it",
        lambda: video_file(BURSTS),
        [0, 0.13, 5],
        [0, 4, 5],
        fps=1,
    ),
    _video("video: from within a held frame", lambda: video_file(BURSTS), [0.13], [4], start=3, stop=4),
    _video("video: the last frame", lambda: animation([80] * 9 + [3000], "GIF"), [0.72], [9], start=2),
    *(
        Row(
            f"video: displayed {name}",
            lambda _, matrix=matrix: _corner(gl.load_video(_matrix(*matrix))),
            equals=(size, corner),
        )
        for name, (matrix, size, corner) in _DISPLAYED.items()
    ),
    _video("video: frames and a numpy rate", lambda: ([_PIL] * 4, np.int64(2)), [0, 0.5, 1, 1.5], []),
    _bad("video: after its end", gl.load_video, lambda: video_file(EVEN), "0.93 s", start=9),
    _bad("video: frames without a rate", gl.load_video, lambda: [_PIL], "1 frames"),
    _bad("video: frames of two sizes", gl.load_video, lambda: ([_PIL, Image.new("L", (5, 5))], 1), "5 × 5"),
    _bad("video: a sound", gl.load_video, _wav, "no video stream"),
    _bad("video: letters", gl.load_video, lambda: b"letters" * 99, "693"),
    _bad("video: half a GIF", gl.load_video, lambda: animation([80] * 9, "GIF")[:200], "broken"),
    _bad("video: one image", gl.load_video, lambda: _PIL, "Image"),
    _bad("video: half a frame per second", gl.load_video, lambda: video_file(EVEN), "frames=0.5", frames=0.5),
]

SOUNDS = [
    _sound("sound: samples and rate", lambda: (TONE, 16_000)),
    _sound("sound: rate and samples", lambda: (16_000, TONE)),
    _sound("sound: a numpy rate", lambda: (TONE, np.int64(16_000))),
    _sound("sound: int16, as scipy reads it", lambda: (16_000, np.round(TONE * 32_768).astype(np.int16))),
    _sound("sound: bfloat16 tensor", lambda: (_bfloat16(TONE), 16_000), within=3e-3),
    _sound("sound: WAV of unknown size 0", lambda: _wav(size=0)),
    _sound("sound: WAV of unknown size 2³² − 1", lambda: _wav(size=0xFFFFFFFF)),
    _sound("sound: WAV, open and read before", lambda: (file := io.BytesIO(_wav()), file.read())[0]),
    _sound("sound: channels first", lambda: (np.stack([TONE, TONE]), 16_000)),
    _sound("sound: stereo of one side", lambda: (np.stack([TONE, 0 * TONE], axis=1), 16_000), TONE / 2),
    _bad(
        "sound: 30.01 s",
        gl.load_audio,
        lambda: (np.zeros(LONGEST + 160, np.float32), 16_000),
        "30.01",
        "2 parts",
    ),
    _bad("sound: WAV without samples", gl.load_audio, lambda: _wav()[:40] + bytes(4), "empty"),
    _bad("sound: int64", gl.load_audio, lambda: (np.zeros(16_000, np.int64), 16_000), "int64"),
    _bad("sound: 16-bit values as floats", gl.load_audio, lambda: (TONE * 30_000, 16_000), "32,768"),
    _bad("sound: no rate", gl.load_audio, lambda: TONE, "(16000,)"),
    _bad("sound: rate of 0", gl.load_audio, lambda: (TONE, 0), "rate=0"),
    _bad("sound: infinity", gl.load_audio, lambda: (np.full(16_000, np.inf), 16_000), "infinity"),
    _bad("sound: a video without sound", gl.load_audio, lambda: video_file(EVEN), "no sound"),
]

VERBS = [
    *(
        _one_call("cost", "images", make)
        for make in (path_of_an_image, open_image, image_in_memory, image_memoryview, array_of_6_rows)
    ),
    *(_one_call("cost", "audio", make) for make in (sound_and_rate, rate_and_sound, open_sound)),
]

ROWS = [*IMAGES, *VIDEOS, *SOUNDS, *VERBS]
