"""A stand-in for a lab that says what it is told to: it has the interface of `Lab.stream`, and no model."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from gemma_lab.errors import ContextFull
from gemma_lab.models.chat.reply import Alternative, Overruled, Reply, Timings, Token
from gemma_lab.models.chat.request import Request
from gemma_lab.models.chat.sampling import Sampling
from gemma_lab.models.grammar.partial import partial_value

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence


def token(text: str, logprob: float = -0.1, kind: str = "text") -> Token:
    others = (
        Alternative(1, text, logprob),
        Alternative(2, "<b>other</b>", -3.0),
        Alternative(3, "\u202e", -5.0),
    )
    return Token(id=1, text=text, logprob=logprob, entropy=0.4, top_logprobs=others, kind=kind)


@dataclass
class Chunk:
    text: str
    kind: str
    tokens: tuple[Token, ...]
    partial: Any = None


Step = Token | BaseException


class ScriptedStream:
    def __init__(
        self, lab: ScriptedLab, call: dict[str, Any], script: Sequence[Token | BaseException]
    ) -> None:
        self._lab, self._call, self._script = lab, call, script
        self._said: list[Token] = []
        self._finish = "stop"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lab.last_reply = self.reply

    def __iter__(self) -> Iterator[Chunk]:
        for step in self._script:
            if isinstance(step, BaseException):
                raise step
            if self._lab.gate is not None:
                self._lab.gate.wait(10)
            if self._call["stop"].is_set():
                self._finish = "stopped"
                return
            self._said.append(step)
            bound = self._call.get("schema") is not None
            text = "".join(each.text for each in self._said if each.kind == "text")
            yield Chunk(step.text, step.kind, (step,), partial_value(text) if bound else None)
            time.sleep(self._lab.pause)

    @property
    def reply(self) -> Reply:
        text = "".join(t.text for t in self._said if t.kind == "text")
        question = {"role": "user", "content": [{"type": "text", "text": self._call["prompt"] or ""}]}
        after = self._call["previous"]
        return Reply(
            text=text,
            thinking="".join(t.text for t in self._said if t.kind == "thought"),
            tokens=tuple(self._said),
            messages=[*(after.messages if after else []), question, {"role": "assistant", "content": text}],
            prompt_tokens=7,
            finish_reason=self._finish,
            sampling=Sampling(),
            seed=self._call["seed"],
            model=self._lab.name,
            timings=Timings(prefill_s=0.1, decode_s=0.5, prompt_tokens=7, new_tokens=len(self._said)),
            request=Request(messages=[question], schema=self._call.get("schema")),
        )


@dataclass
class ScriptedLab:
    """Says `scripts` one after the other; remembers how it was called."""

    scripts: list[Sequence[Step]]
    name: str = "scripted"
    context: int = 4096
    modalities: frozenset[str] = frozenset({"text", "image"})
    pause: float = 0.0
    gate: threading.Event | None = None
    last_reply: Reply | None = None
    calls: list[dict[str, Any]] = field(default_factory=list)

    def stream(self, prompt: str, **call: Any) -> ScriptedStream:
        call["prompt"] = prompt
        self.calls.append(call)
        return ScriptedStream(self, call, self.scripts.pop(0))


def call_tokens(name: str, **arguments: str) -> list[Step]:
    """A call in Gemma 4's syntax, with text as its arguments."""
    inside = ",".join(f'{key}:<|"|>{value}<|"|>' for key, value in sorted(arguments.items()))
    pieces = ("<|tool_call>", f"call:{name}", f"{{{inside}}}", "<tool_call|>")
    return [token(piece, -0.2, "tool") for piece in pieces]


def overruled(script: list[Step], place: int, *, forbidden: float, first: str) -> list[Step]:
    """A script in which a grammar changed one token."""
    effect = Overruled(forbidden, 9, first, changed=True)
    return [replace(step, overruled=effect) if at == place else step for at, step in enumerate(script)]


def draw(text: str, *choices: tuple[str, float], entropy: float = 0.5) -> Token:
    """One token with the alternatives it was chosen from, as (text, log-probability)."""
    others = tuple(Alternative(at, other, logprob) for at, (other, logprob) in enumerate(choices))
    chosen = next(other for other in others if other.text == text)
    return Token(chosen.id, text, chosen.logprob, entropy, others, "text")


def words(*pieces: str) -> list[Step]:
    """Tokens whose probabilities wander between 1 and 0.01."""
    return [token(piece, -0.05 * (7 * at * at % 61)) for at, piece in enumerate(pieces)]


def demo_lab() -> ScriptedLab:
    """A lab that thinks, writes several scripts, meets a full context, and ends its turns."""
    end = Token(0, "", -0.02, 0.1, (Alternative(0, "<turn|>", -0.02), Alternative(2, ",", -4.2)), "special")
    seven = draw("7", ("7", -0.42), ("1", -1.35), ("9", -2.6), ("2", -4.4), ("4", -6.0))
    thought = [token(piece, -0.3, "thought") for piece in ("A bar", " and a", " slanted", " stroke.")]
    scripts: list[Sequence[Step]] = [
        [*thought, *words("The", " digit", " in", " the", " picture", " is", " "), seven, token("."), end],
        [*words("العدد", " سبعة", " يأتي", " بعد", " ستة", " وقبل", " ثمانية", "."), end],
        [
            ContextFull(
                "The prompt and the answer need 4,310 tokens; the context holds 4,096: 214 too many.",
                hint="Begin a new conversation, or lower the longest answer.",
            )
        ],
        [
            *words(
                "सात",
                " अंक",
                " है",
                "।",
                "\n",
                "七",
                "は",
                "数字",
                "です",
                "。",
                "\n",
                "Bảy",
                " là",
                " số",
                ".",
            ),
            end,
        ],
    ]
    return ScriptedLab(scripts, name="scripted", pause=0.02)
