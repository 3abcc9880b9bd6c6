"""Traces made up for the tests of the routing explorer: the real classes with invented numbers."""

from __future__ import annotations

import re
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from gemma_lab.models.tokens.table import TokenTable
from gemma_lab.trace.records.generation import Generation
from gemma_lab.trace.records.routing import Routing
from gemma_lab.trace.trace import Trace

Row = dict[str, Any]

ARABIC = "اكتب جملة قصيرة عن العدد سبعة، ثم ترجمها إلى الإنجليزية."
ANSWER = "سبعة نجوم تلمع فوق البحر.\nSeven stars shine over the sea."
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "</style><style>.gl{display:none}</style>",
    "\u202eevil\u2066 reversed",
    "nul\x00 bell\x07 escape\x1b[31m",
    "{{constructor.constructor('alert(3)')()}}",
    "x" * 3000,
]

_CONTROL = re.compile(r"<\|?[a-z]+\|?>")
_FORMAT = {"user\n", "model\n", "\n"}


def words(text: str, *, role: str = "user", generated: bool = False) -> list[Row]:
    """Return rows of a text cut before each space and at punctuation, as a tokenizer would."""
    parts = re.findall(r"\n|\s?[\w]+|\s?[^\w\s]", text)
    return [row(part, role=role, generated=generated) for part in parts]


def row(text: str, /, *, role: str = "user", **more: Any) -> Row:
    """Return one token: control tokens show nothing, the words of the chat format are nobody's."""
    control = _CONTROL.fullmatch(text) is not None
    script, direction = _writing("" if control else text)
    return {
        "id": zlib.crc32(text.encode(errors="replace")) % 250_000,
        "piece": text.replace(" ", "▁"), "text": "" if control else text, "role": role, "medium": -1,
        "frame": -1,
        "modality": "special" if control or more.pop("format", False) else "text", "box": (-1, -1, -1, -1),
        "time": (-1, -1), "script": script, "direction": direction, "generated": False,
    } | more  # fmt: skip


def turn(role: str, body: list[Row], *, open_end: bool = False) -> list[Row]:
    """Return one turn of the chat format."""
    opening = [
        row("<|turn>", role=role),
        row(role, role=role, format=True),
        row("\n", role=role, format=True),
    ]
    closing = [row("<turn|>", role=role), row("\n", role="", format=True)]
    return [*opening, *body, *([] if open_end else closing)]


def _writing(text: str) -> tuple[str, str]:
    for sign in text:
        if "\u0600" <= sign <= "\u06ff":
            return "Arab", "rtl"
        if sign.isalpha():
            return "Latn", "ltr"
    return "Zyyy", "neutral"


def table(rows: list[Row]) -> TokenTable:
    """Return a token table of rows."""

    def column(name: str) -> Any:
        values = np.empty(len(rows), dtype=object)
        values[:] = [each[name] for each in rows]
        return values

    def numbers(name: str, dtype: Any) -> Any:
        return np.array([each[name] for each in rows], dtype=dtype)

    clusters = np.array([each.get("cluster", at) for at, each in enumerate(rows)], dtype=np.int32)
    return TokenTable(
        numbers("id", np.int32), column("piece"), column("text"), clusters,
        column("role"), column("modality"), numbers("medium", np.int16), numbers("box", np.int32),
        numbers("time", np.int32), numbers("frame", np.int16), column("script"), column("direction"),
        numbers("generated", bool),
    )  # fmt: skip


def routing(
    tokens: int, *, layers: int = 6, experts: int = 128, top_k: int = 8, seed: int = 0, kinds: Any = None
) -> Routing:
    """Return a routing in which tokens of one kind prefer the same experts, as trained routers do."""
    random = np.random.default_rng(seed)
    kinds = np.zeros(tokens, int) if kinds is None else np.asarray(kinds)
    liking = 2.0 * random.standard_normal((layers, int(kinds.max(initial=0)) + 1, experts)).astype(np.float32)
    logits = random.gumbel(size=(layers, tokens, experts)).astype(np.float32)
    logits += liking[:, kinds]
    ids = np.argsort(-logits, axis=-1)[..., :top_k]
    chosen = np.take_along_axis(logits, ids, -1)
    gate_weights = np.exp(0.6 * (chosen - chosen.max(-1, keepdims=True)))
    full = np.exp(0.6 * (logits - logits.max(-1, keepdims=True)))
    full /= full.sum(-1, keepdims=True)
    return Routing.of(
        ids,
        gate_weights / gate_weights.sum(-1, keepdims=True),
        scale=random.uniform(0.8, 1.2, (layers, experts)),
        entropy=-(full * np.log(full + 1e-12)).sum(-1),
        expert_output_fraction=random.uniform(0.3, 0.8, (layers, tokens)),
        layers=tuple(range(layers)),
        experts=experts,
    )


def made_trace(
    rows: list[Row],
    *,
    name: str = "mini-moe",
    images: tuple[Image.Image, ...] = (),
    meta: Any = None,
    **shape: Any,
) -> Trace:
    """Return a trace of rows; `shape` goes to `routing`."""
    kinds = sorted({(each["modality"], each["script"]) for each in rows})
    of = [kinds.index((each["modality"], each["script"])) for each in rows]
    new = [at for at, each in enumerate(rows) if each["generated"]]
    some = len(new)
    generation = Generation.of(
        ids=[rows[at]["id"] for at in new],
        logprobs=np.full(some, -0.2),
        entropy=np.full(some, 0.5),
        alternative_ids=np.zeros((some, 1)),
        alternative_logprobs=np.full((some, 1), -0.2),
        finish_reason="stop",
        text="".join(rows[at]["text"] for at in new),
    )
    return Trace(
        tokens=table(rows),
        routing=routing(len(rows), kinds=of, **shape),
        generation=generation if new else None,
        meta={"model": name, **(meta or {})},
        images=images,
    )


def answered(question: list[Row], answer: str) -> list[Row]:
    """Return a whole exchange."""
    said = [*words(answer, role="model", generated=True), row("<turn|>", role="model", generated=True)]
    return [row("<bos>", role=""), *turn("user", question), *turn("model", said, open_end=True)]


def arabic_trace(**options: Any) -> Trace:
    """A question in Arabic, answered in Arabic and English; one character is made of three tokens."""
    rows = answered(words(ARABIC), ANSWER)
    answer = {"role": "model", "generated": True, "cluster": len(rows) - 1, "modality": "text"}
    byte = [row("<0xF0>", text="", **answer) for _ in range(2)]
    star = row("<0x9F>", text="⭐", **answer)
    return made_trace([*rows[:-1], *byte, star, rows[-1]], **options)


def picture(size: tuple[int, int] = (768, 576)) -> Image.Image:
    """Draw a red disc and a blue square on a green and pale ground."""
    image = Image.new("RGB", size, "#f3ead7")
    pen = ImageDraw.Draw(image)
    wide, tall = size
    pen.rectangle((0, tall * 0.72, wide, tall), fill="#8fb37a")
    pen.ellipse((wide * 0.08, tall * 0.12, wide * 0.42, tall * 0.6), fill="#c8452f")
    pen.rectangle((wide * 0.6, tall * 0.3, wide * 0.9, tall * 0.75), fill="#33588f")
    return image


def grid(across: int, down: int, side: int = 48, **more: Any) -> list[Row]:
    """Return the soft tokens of a picture or a frame, row by row."""
    return [
        row("<|image|>", text="", **{"modality": "image", "medium": 0} | more,
            box=(side * x, side * y, side * (x + 1), side * (y + 1)))
        for y in range(down) for x in range(across)
    ]  # fmt: skip


def picture_trace(*, keep_image: bool = True, **options: Any) -> Trace:
    """A question about a picture of 16 × 12 patches of 48 pixels."""
    question = [row("<|image>"), *grid(16, 12), row("<image|>"), *words("What is left of the square?")]
    images = (picture(),) if keep_image else ()
    return made_trace(answered(question, "A red disc."), images=images, **options)


def sound_trace(**options: Any) -> Trace:
    """A question about two seconds of sound and four frames of video."""
    sound = [row("<|audio|>", modality="audio", medium=0, time=(40 * at, 40 * at + 40)) for at in range(50)]
    film: list[Row] = []
    for frame in range(4):
        soft = grid(8, 5, modality="video", frame=frame, time=(1000 * frame, 1000 * frame + 1000))
        film += [*words(f"00:0{frame}"), row("<|image>"), *soft, row("<image|>")]
    question = [
        row("<|audio>"),
        *sound,
        row("<audio|>"),
        *words("Which digit is spoken, and what moves?"),
        *film,
    ]
    return made_trace(answered(question, "Seven; a ball."), **options)


def long_trace(tokens: int, *, layers: int = 30, **options: Any) -> Trace:
    """A long text of words in lines."""
    random = np.random.default_rng(1)
    stock = [
        " the",
        " router",
        " sends",
        " each",
        " token",
        " to",
        " eight",
        ",",
        " سبعة",
        " نجوم",
        " über",
        " việt",
    ]
    stock.append(".\n")
    rows = [row(stock[at]) for at in random.integers(0, len(stock), tokens)]
    return made_trace(rows, layers=layers, **options)


def hostile_trace(**options: Any) -> Trace:
    """Tokens, and a model's name, that would act if they were markup."""
    rows = [
        row("<bos>", role=""),
        *(row(text) for text in HOSTILE),
        *(row("", piece=text) for text in HOSTILE),
    ]
    return made_trace(rows, name=HOSTILE[1], **options)
