"""Examples as token ids: the prompt exactly as `Lab.chat` reads it, and the answer as the model writes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import BadPrompt, ContextFull, LabError
from ..chat.prompt import prepare
from ..chat.request import Request
from ..chat.template import render
from ..chat.transcript import Transcript
from ..tokens.vocabulary import Vocabulary
from .examples import Answer, read_example

if TYPE_CHECKING:
    import torch

    from ..chat.types import Message
    from ..loading.loaded_model import LoadedModel

#: Label of a token that the loss leaves out.
SKIP = -100
#: Bytes of media tensors that are kept between passes; others are encoded again.
_KEPT = 64 * 2**20


@dataclass(frozen=True)
class EncodedExample:
    """One answer and its prompt, encoded.

    Attributes
    ----------
    ids
        The prompt's ids, then the answer's.
    prompt_tokens
        Number of the prompt's.
    inputs
        The other inputs of the model, on the CPU: ``mm_token_type_ids`` ``(1, tokens)``, pixels, sounds.
    kinds
        Modalities of the media.
    """

    ids: tuple[int, ...]
    prompt_tokens: int
    inputs: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    kinds: frozenset[str] = frozenset()

    @property
    def labels(self) -> list[int]:
        """The ids of the answer, and `SKIP` for the prompt."""
        return [SKIP] * self.prompt_tokens + list(self.ids[self.prompt_tokens :])

    @property
    def media_bytes(self) -> int:
        """Size of the media's tensors."""
        return sum(value.nbytes for name, value in self.inputs.items() if name != "mm_token_type_ids")


class ExampleSet:
    """Examples, checked and encoded once; media tensors beyond 64 MiB are made again when needed.

    Parameters
    ----------
    model
        The model, whose processor and template are used.
    examples
        Examples of any form that `read_example` accepts.
    progress
        Show a progress bar.

    Attributes
    ----------
    examples : list of EncodedExample
        One per answer. Read `get` for an example with its media.
    kinds : frozenset of str
        Modalities of all media.

    Raises
    ------
    LabError
        If there are no examples, or one cannot be used; the message has its index.
    """

    def __init__(self, model: LoadedModel, examples: Sequence[Any], *, progress: bool = False) -> None:
        from tqdm.auto import tqdm

        self._model, self._sources = model, examples
        self.examples: list[EncodedExample] = []
        self._origins: list[tuple[int, int]] = []  # example, and answer within it
        kept = 0
        bar = tqdm(examples, desc="examples", leave=False, disable=not progress or len(examples) < 200)
        for number, example in enumerate(bar):
            for place, answer in enumerate(read_example(model, example, f"Example {number}")):
                encoded = encode(model, answer, f"Example {number}")
                kept += encoded.media_bytes
                if kept > _KEPT:
                    encoded = EncodedExample(encoded.ids, encoded.prompt_tokens, {}, encoded.kinds)
                self.examples.append(encoded)
                self._origins.append((number, place))
        if not self.examples:
            raise LabError("There are no examples.", hint='Pass e.g. [("What is 7 + 5?", "12"), …].')
        self.kinds = frozenset(kind for example in self.examples for kind in example.kinds)

    def __len__(self) -> int:
        return len(self.examples)

    def get(self, index: int) -> EncodedExample:
        """Return an example with all its inputs."""
        example = self.examples[index]
        if example.inputs or not example.kinds:
            return example
        number, place = self._origins[index]
        answers = read_example(self._model, self._sources[number], f"Example {number}")
        return encode(self._model, answers[place], f"Example {number}")

    def first(self, count: int) -> Iterator[EncodedExample]:
        """Yield the first `count` examples, or all if there are fewer."""
        for index in range(min(count, len(self))):
            yield self.get(index)


def encode(model: LoadedModel, answer: Answer, where: str = "The example") -> EncodedExample:
    """Encode an answer after its prompt.

    Raises
    ------
    ContextFull
        If both together exceed the context.
    BadPrompt
        If the tokenizer lacks a token of the chat format.
    """
    prompt = prepare(model, answer.request)
    ids = [*prompt.ids, *_answer_ids(model, answer, prompt.ids)]
    if len(ids) > model.context:
        raise ContextFull(
            f"{where} is {len(ids):,} tokens; the context of {model.name} is {model.context:,}.",
            hint="Shorten it, or leave it out.",
        )
    inputs = {
        name: value.cpu()
        for name, value in prompt.inputs.items()
        if name not in ("input_ids", "attention_mask")
    }
    kinds = frozenset(kind for kind, _ in answer.request.media)
    return EncodedExample(tuple(ids), len(prompt.ids), inputs, kinds)


def _answer_ids(model: LoadedModel, answer: Answer, prompt: list[int]) -> list[int]:
    """Return the ids that the model is to generate, up to the one that ends its turn."""
    if answer.request.raw:
        last = [] if model.tokenizer.eos_token_id is None else [model.tokenizer.eos_token_id]
        return [*_ids(model, answer.text), *last]
    thought = answer.thinking
    in_thought = Transcript(Vocabulary(model.tokenizer), prompt).kind == "thought"
    if in_thought:  # some templates leave it open after a tool's result
        text = f"{thought}<channel|>"
    else:
        text = f"<|channel>thought\n{thought}<channel|>" if thought else ""
    text += answer.text
    if answer.calls:
        text += _calls_text(model, answer)
    end = "<|tool_response>" if answer.calls else "<turn|>"
    ids = _ids(model, text + end)
    if ids[-1] != Vocabulary(model.tokenizer).find(end):
        raise BadPrompt(
            f"The tokenizer of {model.name} has no token {end}, which ends an answer.",
            hint="Use the tokenizer that came with the checkpoint.",
        )
    return ids


def _ids(model: LoadedModel, text: str) -> list[int]:
    return list(Vocabulary(model.tokenizer).ids(text))


def _calls_text(model: LoadedModel, answer: Answer) -> str:
    """Return tool calls as the checkpoint's template writes them."""
    messages: list[Message] = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": list(answer.calls)},
    ]
    text = render(model, Request(messages=messages, max_new_tokens=0))
    start, end = text.find("<|tool_call>"), text.rfind("<tool_call|>")
    if start < 0 or end < 0:
        raise BadPrompt(
            f"The chat template of {model.name} does not write tool calls.",
            hint="Leave the calls out, or use another chat template.",
        )
    return text[start:end] + "<tool_call|>"
