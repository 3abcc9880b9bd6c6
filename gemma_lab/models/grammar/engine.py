"""llguidance as the engine: a tokenizer built once per vocabulary, and a grammar compiled for it.

llguidance was chosen because it refuses what it cannot enforce, where xgrammar 0.2 ignores such keywords,
because it compiles every schema in milliseconds, and because its Lark dialect has control tokens, of which
Gemma 4's calls consist. xgrammar starts faster and its masks are faster; both are below 0.1 ms a token.
``docs/structured-answers.md`` has the figures, and ``tests/benchmarks`` measures them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import BadSchema, MissingExtra
from .calls import TEXT, CallGrammar
from .engine_schema import engine_schema
from .engine_tokenizer import engine_tokenizer
from .limits import check_schema_size
from .schema import AnswerSchema

#: At most one space, after a comma or a colon: allows both usual styles, and no run of spaces.
_COMPACT = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
    # no escapes by number: a name could be written in a second way, and pass for another property
    "json_allowed_escapes": 'nrbtf"\\',
}
#: Where the engine found a fault in the text of a grammar.
_PLACE = re.compile(r"^at \d+\(\d+\): (?:failed to compile JSON schema: )?")


@dataclass(frozen=True)
class Grammar:
    """A grammar of an answer, compiled for one vocabulary.

    Attributes
    ----------
    source
        The grammar in llguidance's Lark dialect.
    size
        Size of the vocabulary, tokens.
    """

    source: str
    size: int
    _compiled: str
    _tokenizer: Any

    def matcher(self) -> Any:
        """Return a fresh ``llguidance.LLMatcher`` at the start of an answer."""
        from llguidance import LLMatcher

        return LLMatcher(self._tokenizer, self._compiled)


def grammar(
    tokenizer: Any,
    *,
    size: int,
    ends: Sequence[int],
    schema: AnswerSchema | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
    tool_choice: str = "auto",
    thinking: bool = False,
) -> Grammar:
    """Compile the grammar of an answer.

    Parameters
    ----------
    tokenizer
        A fast tokenizer of transformers, with Gemma 4's control tokens.
    size
        Rows of the model's output, tokens.
    ends
        Ids that end an answer.
    schema
        Binds the whole answer, after the thought, to compact JSON.
    tools
        Declared functions, in OpenAI's form.
    tool_choice
        ``"auto"``: text and calls, each call bound to its tool's schema; ``"required"``: one call or more;
        ``"none"``: no call; or the name of the one tool that must be called.
    thinking
        Whether a thought may come first; it is free text.

    Raises
    ------
    BadSchema
        If the engine cannot enforce a keyword of a schema.
    MissingExtra
        Without llguidance.
    """
    engine = _engine()
    if schema is not None:
        check_schema_size(schema.schema, "The schema")
    for tool in tools:
        check_schema_size(tool["function"].get("parameters"), f"{tool['function']['name']}'s parameters")
    source = _source(tokenizer, schema, tools, tool_choice, thinking)
    compiled = engine.LLMatcher.grammar_from_lark(source)
    known = engine_tokenizer(tokenizer, size, tuple(int(end) for end in ends))
    failed, messages = engine.LLMatcher.validate_grammar_with_warnings(compiled, known)
    if failed or messages:  # a warning means that a keyword would be ignored
        raise BadSchema(
            f"This cannot be enforced: {_reasons(messages)}.",
            hint="Leave the keyword out of the schema and check the answer afterwards.",
        )
    fault = engine.LLMatcher(known, compiled).get_error()
    if fault:  # found only when the grammar is started, e.g. a minLength beyond the engine's limits
        raise BadSchema(f"This cannot be enforced: {fault[:400]}.", hint="Simplify the schema.")
    return Grammar(source, size, compiled, known)


def _reasons(messages: Sequence[Any]) -> str:
    """Return what the engine says, without the place in the grammar's text and the text itself."""
    lines = [str(message).splitlines()[0] for message in messages if str(message)]
    return "; ".join(dict.fromkeys(_PLACE.sub("", line) for line in lines))[:400].rstrip(".")


def _source(
    tokenizer: Any,
    schema: AnswerSchema | None,
    tools: Sequence[Mapping[str, Any]],
    tool_choice: str,
    thinking: bool,
) -> str:
    def token(name: str) -> str:
        return f"<[{int(tokenizer.convert_tokens_to_ids(name))}]>"

    rules = ["%llguidance {}"]
    thought = f"({token('<|channel>')} FREE {token('<channel|>')})? " if thinking else ""
    rules.append(f"start: {thought}answer")
    if thinking:
        rules.append("FREE: /(.|\\n)*/")
    if schema is not None:
        compact = {**engine_schema(schema.schema), "x-guidance": _COMPACT}
        rules.append(f"answer: %json {json.dumps(compact)}")
        return "\n".join(rules)
    if tool_choice == "none" or not tools:
        rules += ["answer: FREE_TEXT", f"FREE_TEXT: {TEXT}"]
        return "\n".join(rules)
    named = [tool for tool in tools if tool["function"]["name"] == tool_choice]
    if tool_choice not in ("auto", "required") and not named:
        names = ", ".join(tool["function"]["name"] for tool in tools)
        raise BadSchema(
            f"tool_choice={tool_choice!r} is no declared tool.",
            hint=f"'auto', 'none', 'required', or one of: {names}",
        )
    answer = {"auto": "FREE_TEXT (call FREE_TEXT)*", "required": "call+"}.get(tool_choice, "call")
    rules += [f"answer: {answer}", f"FREE_TEXT: {TEXT}", CallGrammar(token).rules(named or tools)]
    return "\n".join(rules)


def _engine() -> Any:
    try:
        import llguidance
    except ImportError:
        raise MissingExtra("Structured answers need llguidance.", hint="pip install llguidance") from None
    return llguidance
