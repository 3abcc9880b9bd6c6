"""Responses of OpenAI's chat and text completions, whole and in chunks, from the tokens of an answer."""

from __future__ import annotations

import base64
import io
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._version import __version__
from ...models.chat.tools import calls
from .answers import CALL_END
from .stop_strings import StopCut

if TYPE_CHECKING:
    from ...models.chat.reply import Token
    from ...models.tokens.vocabulary import Vocabulary
    from ...trace.records.routing import Routing
    from .answers import Finished, Started
    from .requests import CompletionRequest

#: OpenAI's number for a probability of 0: JSON has no infinity.
_NEVER = -9999.0


@dataclass
class Piece:
    """What a chunk of a stream adds to the answer.

    Attributes
    ----------
    text, reasoning
        Text of the answer, and of the thoughts.
    calls
        Tool calls, each complete.
    tokens
        Tokens of the text, for their log-probabilities.
    ids
        Ids of all tokens since the last piece.
    """

    text: str = ""
    reasoning: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.text or self.reasoning or self.calls or self.tokens)


class Writer:
    """Writes the response to one request, piece by piece or as a whole.

    Parameters
    ----------
    request
        The request.
    served
        Name of the model.
    vocabulary
        Bytes and names of tokens.
    """

    def __init__(self, request: CompletionRequest, served: str, vocabulary: Vocabulary) -> None:
        self._request, self._vocabulary = request, vocabulary
        self._stop = StopCut(request.stop)
        self._open = ""  # text of a call that is not complete yet
        self._count = 0  # calls so far
        self._ended = False  # after the one call that may be
        self._ids: list[int] = []
        self._prompt_ids: list[int] = []
        self._tools: Sequence[Any] = ()
        chat = request.chat
        self._head: dict[str, Any] = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
            "object": ("chat.completion" if chat else "text_completion"),
            "created": int(time.time()),
            "model": served,
            "system_fingerprint": f"gemma_lab-{__version__}",
        }

    def begin(self, started: Started) -> None:
        """Take note of the prompt, before its answer."""
        self._prompt_ids, self._tools = started.prompt_ids, started.tools

    def pieces(self, tokens: Sequence[Token]) -> list[Piece]:
        """Return what tokens add to the answer."""
        made: list[Piece] = []
        for kind, group in groupby(tokens, lambda token: token.kind):
            members = list(group)
            self._ids += [token.id for token in members]
            if self._ended:
                continue
            if kind == "tool" and self._request.chat:
                made += self._calls(members)
            elif kind == "thought":
                made.append(Piece(reasoning="".join(token.text for token in members)))
            elif kind == "text":
                text = "".join(self._stop.add(token.text) for token in members)
                made.append(Piece(text=text, tokens=members if self._request.logprobs else []))
        return self._with_ids([piece for piece in made if piece])

    def rest(self) -> list[Piece]:
        """Return what was held back, after the last token: text, and a call that was cut off, as text."""
        text = self._stop.end()
        if self._open and not self._ended:
            text, self._open = text + self._open, ""
        return self._with_ids([Piece(text=text)] if text else [])

    def _with_ids(self, pieces: list[Piece]) -> list[Piece]:
        if pieces:
            pieces[-1].ids, self._ids = self._ids, []
        return pieces

    def _calls(self, tokens: list[Token]) -> list[Piece]:
        """Return the calls that tokens complete; one that cannot be read is text, so that it is not lost."""
        made: list[Piece] = []
        for token in tokens:
            self._open += token.text
            if token.text != CALL_END or self._ended:
                continue
            whole, self._open = self._open, ""
            for call in calls(whole, self._tools):
                if call.problem:
                    made.append(Piece(text=whole))
                    break
                arguments = json.dumps(call.arguments, ensure_ascii=False)
                made.append(
                    Piece(
                        calls=[
                            {
                                "index": self._count,
                                "id": f"call_{uuid.uuid4().hex[:24]}",
                                "type": "function",
                                "function": {"name": call.name, "arguments": arguments},
                            }
                        ]
                    )
                )
                self._count += 1
                self._ended = self._request.one_call
        return made

    def chunk(self, piece: Piece, *, first: bool = False) -> dict[str, Any]:
        """Return a chunk of a stream."""
        if self._request.chat:
            delta: dict[str, Any] = {"role": "assistant", "content": ""} if first else {}
            if piece.text or piece.tokens:
                delta["content"] = piece.text
            if piece.reasoning:
                delta["reasoning_content"] = piece.reasoning
            if piece.calls:
                delta["tool_calls"] = piece.calls
            choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": None}
        else:
            choice = {"index": 0, "text": piece.text, "finish_reason": None}
        choice["logprobs"] = self._logprobs(piece.tokens)
        if self._request.return_token_ids:
            choice["token_ids"] = piece.ids
        made = self._head_of_chunk() | {"choices": [choice]}
        if first and self._request.return_token_ids:
            made["prompt_token_ids"] = self._prompt_ids
        return made

    def last_chunk(self, finished: Finished) -> dict[str, Any]:
        """Return the chunk that tells why the answer ended."""
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": self._finish_reason(finished),
            "logprobs": None,
        }
        if self._request.chat:
            choice["delta"] = {}
        else:
            choice["text"] = ""
        if self._request.return_token_ids:
            choice["token_ids"], self._ids = self._ids, []
        return self._head_of_chunk() | {"choices": [choice | self._experts(finished)]}

    def usage_chunk(self, finished: Finished) -> dict[str, Any]:
        """Return the chunk after the last one, with the numbers of tokens."""
        return self._head_of_chunk() | {"choices": [], "usage": self._usage(finished)}

    def _head_of_chunk(self) -> dict[str, Any]:
        return self._head | ({"object": "chat.completion.chunk"} if self._request.chat else {})

    def whole(self, pieces: Sequence[Piece], finished: Finished) -> dict[str, Any]:
        """Return the response that is not streamed."""
        text = "".join(piece.text for piece in pieces)
        choice: dict[str, Any] = {"index": 0}
        if self._request.chat:
            made = [
                {k: v for k, v in call.items() if k != "index"} for piece in pieces for call in piece.calls
            ]
            message: dict[str, Any] = {"role": "assistant", "content": text if text or not made else None}
            message["refusal"] = None
            reasoning = "".join(piece.reasoning for piece in pieces)
            if reasoning:
                message["reasoning_content"] = reasoning
            if made:
                message["tool_calls"] = made
            choice["message"] = message
        else:
            choice["text"] = text
        tokens = [token for piece in pieces for token in piece.tokens]
        choice["logprobs"] = self._logprobs(tokens, whole=True)
        choice["finish_reason"] = self._finish_reason(finished)
        made_whole = self._head | {"choices": [choice], "usage": self._usage(finished)}
        if self._request.return_token_ids:
            choice["token_ids"] = [token.id for token in finished.reply.tokens]
            made_whole["prompt_token_ids"] = self._prompt_ids
        choice |= self._experts(finished)
        return made_whole

    def _finish_reason(self, finished: Finished) -> str:
        reason = finished.reply.finish_reason
        if self._count and (reason == "stop" or self._ended):
            return "tool_calls"
        return "length" if reason == "length" else "stop"

    def _usage(self, finished: Finished) -> dict[str, Any]:
        tokens = finished.reply.tokens
        read, written = finished.reply.prompt_tokens, len(tokens)
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
            "completion_tokens_details": {
                "reasoning_tokens": sum(token.kind == "thought" for token in tokens)
            },
        }

    def _experts(self, finished: Finished) -> dict[str, Any]:
        if finished.routing is None:
            return {}
        return {"routed_experts": encode_routed_experts(finished.routing, self._request.routed_experts_start)}

    def _logprobs(self, tokens: Sequence[Token], *, whole: bool = False) -> dict[str, Any] | None:
        if not self._request.logprobs or not (tokens or whole):
            return None
        if self._request.chat:
            return {
                "content": [
                    self._named(token.id, token.logprob)
                    | {"top_logprobs": [self._named(other.id, other.logprob) for other in token.top_logprobs]}
                    for token in tokens
                ],
                "refusal": None,
            }
        return {
            "tokens": [self._vocabulary.name(token.id) for token in tokens],
            "token_logprobs": [_finite(token.logprob) for token in tokens],
            "top_logprobs": [
                {self._vocabulary.name(other.id): _finite(other.logprob) for other in token.top_logprobs}
                for token in tokens
            ],
            "text_offset": np.cumsum([0, *(len(token.text) for token in tokens)])[:-1].tolist(),
        }

    def _named(self, index: int, logprob: float) -> dict[str, Any]:
        special = self._vocabulary.is_special(index)
        name = self._vocabulary.name(index)
        data = name.encode() if special else self._vocabulary.bytes(index)
        return {"token": name, "logprob": _finite(logprob), "bytes": list(data)}


def encode_routed_experts(routing: Routing, start: int = 0) -> str:
    """Return expert ids as vLLM does: base64 of a ``.npy`` file, ``(tokens, layers, k)``.

    Parameters
    ----------
    routing
        Of every token that was read: those of the prompt and of the answer but its last.
    start
        First token that is told.
    """
    ids = np.ascontiguousarray(np.moveaxis(np.asarray(routing.ids), 0, 1)[start:])
    file = io.BytesIO()
    np.save(file, ids, allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _finite(logprob: float) -> float:
    return max(float(logprob), _NEVER)
