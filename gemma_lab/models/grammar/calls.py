"""The grammar of Gemma 4's tool calls: ``<|tool_call>call:name{key:<|"|>text<|"|>,n:1}<tool_call|>``.

Strings stand between two ``<|"|>`` tokens, keys are bare, and properties come in the order in which the chat
template writes them (sorted by name), so that a call that the grammar allowed is read back as it was written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...errors import BadSchema
from .engine_schema import engine_schema
from .validator import validator

#: Text that spells no control token, not even in ordinary characters: neither ``<|`` nor ``|>``.
TEXT = r"/(.|\n)*/ & ~/(.|\n)*(<\||\|>)(.|\n)*/"
_INTEGER = r"/-?(0|[1-9][0-9]{0,17})/"
_NUMBER = r"/-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?/"
#: A bare name: words with single blanks between, of what neither ends a name nor begins a value.
_KEY = r"/[^\s{}\[\],:<>|\"]+( [^\s{}\[\],:<>|\"]+)*/"
_COMBINING = ("not", "if", "allOf", "oneOf", "dependentSchemas", "dependentRequired", "patternProperties")
_NUMERIC = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_REFUSED = (
    "pattern", "uniqueItems", "contains", "minProperties", "maxProperties", "prefixItems", "propertyNames",
    "dependencies", "additionalItems", "unevaluatedItems", "unevaluatedProperties", "$dynamicRef",
)  # fmt: skip
#: Keywords that say nothing of a value.
_ANNOTATIONS = ("description", "title", "default", "examples", "nullable", "$defs", "$comment", "deprecated")
_OF_TYPES = {*_NUMERIC, "format", "minLength", "maxLength", "minItems", "maxItems", "items", "required"}
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
_ZONE = r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_DATE = (
    r"([1-9][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    r"|02-(0[1-9]|1[0-9]|2[0-8]))|([2468][048]|[13579][26])00-02-29|[1-9][0-9](0[48]|[2468][048]|[13579][26])-02-29)"
)
#: Texts of a format; others are refused.
_FORMATS = {
    "date": _DATE,
    "time": _CLOCK + _ZONE,
    "date-time": f"{_DATE}T{_CLOCK}{_ZONE}",
    "uuid": r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}",
}


class CallGrammar:
    """Builds the rules of calls to declared tools, in llguidance's Lark dialect.

    Parameters
    ----------
    token
        Returns a control token as a grammar terminal, e.g. ``"<[48]>"`` for ``<|tool_call>``.
    """

    def __init__(self, token: Callable[[str], str]) -> None:
        self._token = token
        self._rules: dict[str, str] = {}
        self._references: dict[tuple[int, str], str] = {}
        self._tool = 0  # number of the tool whose rules are made: definitions of two may have one name

    def rules(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """Return the rules; ``call`` is one call of any of the tools, declared in OpenAI's form.

        Raises
        ------
        BadSchema
            If a parameter's schema has a keyword that the grammar cannot enforce; the message names its path.
        """
        names = []
        for number, tool in enumerate(tools):
            function = tool["function"]
            parameters = {"additionalProperties": False, **(function.get("parameters") or {"type": "object"})}
            self._tool = number
            body = self._value(parameters, f"{function['name']}", parameters)
            self._rules[f"call_{number}"] = f"{_literal('call:' + function['name'])} {body}"
            names.append(f"call_{number}")
        opening, closing = self._token("<|tool_call>"), self._token("<tool_call|>")
        self._rules["call"] = f"{opening} ({' | '.join(names)}) {closing}"
        lines = [f"{name}: {body}" for name, body in self._rules.items()]
        lines += [f"TEXT: {TEXT}", f"INTEGER: {_INTEGER}", f"NUMBER: {_NUMBER}"]
        return "\n".join(lines)

    def _value(self, schema: Any, path: str, root: Mapping[str, Any]) -> str:
        """Return the rule of a value, as an expression."""
        if schema is True or schema == {}:
            return self._anything()
        if not isinstance(schema, Mapping):
            raise BadSchema(f"{path}: {schema!r} allows no value.", hint="Leave the parameter out.")
        for word in ("$ref", "anyOf"):
            if word in schema and (beside := sorted(set(schema) - {word, *_ANNOTATIONS})):
                raise BadSchema(
                    f"{path}: the grammar of calls cannot enforce {beside[0]!r} beside {word}.",
                    hint="Write it into each of the schemas.",
                )
        if "$ref" in schema:
            return self._reference(str(schema["$ref"]), path, root)
        for word in (*_COMBINING, *_REFUSED):
            if word in schema:
                raise BadSchema(
                    f"{path}: the grammar of calls cannot enforce {word!r}.",
                    hint="Leave it out of the declaration and check it in the function, or declare an enum.",
                )
        return _either(self._options(schema, path, root))

    def _options(self, schema: Mapping[str, Any], path: str, root: Mapping[str, Any]) -> list[str]:
        """Return the rules of which one holds."""
        kinds = schema.get("type", "object" if "properties" in schema else None)
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else schema["enum"]
            plain = {key: value for key, value in schema.items() if key != "nullable"}
            options = [self._constant(value) for value in values if validator(plain).is_valid(value)]
        elif "anyOf" in schema:
            options = [self._value(part, path, root) for part in schema["anyOf"]]
        elif kinds is None:
            if limits := sorted(set(schema) & _OF_TYPES):
                raise BadSchema(
                    f"{path}: the grammar of calls cannot enforce {limits[0]!r} without a type.",
                    hint='Add it: {"type": "string", …}.',
                )
            return [self._anything()]
        else:
            kinds = [kinds] if isinstance(kinds, str) else list(kinds)
            options = [self._of_type(str(kind), schema, path, root) for kind in kinds]
        return [*options, '"null"'] if schema.get("nullable") else options

    def _of_type(self, kind: str, schema: Mapping[str, Any], path: str, root: Mapping[str, Any]) -> str:
        match kind.lower():
            case "string":
                return self._string(schema, path)
            case "integer" | "number" as kind if any(key in schema for key in _NUMERIC):
                bounds = {key: schema[key] for key in _NUMERIC if key in schema}
                return self._named(f"%json {json.dumps(engine_schema({'type': kind, **bounds}))}")
            case "integer":
                return "INTEGER"
            case "number":
                return "NUMBER"
            case "boolean":
                return '("true" | "false")'
            case "null":
                return '"null"'
            case "array":
                return self._array(schema, path, root)
            case "object":
                return self._object(schema, path, root)
        raise BadSchema(
            f"{path}: {kind!r} is not a type of JSON Schema.",
            hint="string, integer, number, boolean, array, object, null",
        )

    def _string(self, schema: Mapping[str, Any], path: str) -> str:
        quote = self._token('<|"|>')
        if "format" in schema:
            pattern = _FORMATS.get(str(schema["format"]))
            if pattern is None or "minLength" in schema or "maxLength" in schema:
                raise BadSchema(
                    f"{path}: the grammar of calls cannot enforce the format {schema['format']!r:.40}.",
                    hint=f"Of formats it enforces {', '.join(_FORMATS)}, without limits of length.",
                )
            name = "FORMAT_" + re.sub(r"\W", "_", str(schema["format"])).upper()
            self._rules[name] = f"/{pattern}/"
            return f"{quote} {name} {quote}"
        minimum, maximum = schema.get("minLength"), schema.get("maxLength")
        if minimum is None and maximum is None:
            return f"{quote} TEXT {quote}"
        name = f"TEXT_{int(minimum or 0)}_{'' if maximum is None else int(maximum)}"
        length = f"{int(minimum or 0)},{'' if maximum is None else int(maximum)}"
        self._rules[name] = f"/(.|\\n){{{length}}}/ & ~/(.|\\n)*(<\\||\\|>)(.|\\n)*/"
        return f"{quote} {name} {quote}"

    def _array(self, schema: Mapping[str, Any], path: str, root: Mapping[str, Any]) -> str:
        item = self._named(self._value(schema.get("items", True), f"{path}[]", root))
        least, most = int(schema.get("minItems", 0)), schema.get("maxItems")
        if most is not None and int(most) < least:
            raise BadSchema(f"{path}: minItems {least} is more than maxItems {most}.", hint="Swap them.")
        if most == 0:
            return '"[" "]"'
        rest = f'("," {item}){{{max(least - 1, 0)},{"" if most is None else int(most) - 1}}}'
        filled = f'"[" {item} {rest} "]"'
        return filled if least else f'({filled} | "[" "]")'

    def _object(self, schema: Mapping[str, Any], path: str, root: Mapping[str, Any]) -> str:
        properties = dict(schema.get("properties") or {})
        required = set(schema.get("required") or ())
        if undeclared := sorted(required - set(properties)):
            raise BadSchema(
                f"{path}: {undeclared[0]!r:.80} is required and not declared.",
                hint="Declare it in properties.",
            )
        # other names are allowed where the schema says so, and where it names none at all
        more = schema.get("additionalProperties", not properties)
        pair = None if more is False else self._free_pair(properties, self._value(more, f"{path}.*", root))
        # Optional properties make the comma before each depend on what came before: one rule for "nothing
        # written yet" and one for "something written", from the last property to the first.
        first = after = '"}"'
        if pair is not None:
            after = f'("," {pair})* "}}"'
            first = f'({pair} ("," {pair})* "}}" | "}}")'
        for key, part in sorted(properties.items(), key=lambda item: item[0].lower(), reverse=True):
            named = f"{_literal(key + ':')} {self._value(part, f'{path}.{key}', root)}"
            later, earlier = self._named(after), self._named(first)
            with_comma, without = f'"," {named} {later}', f"{named} {later}"
            if key in required:
                first, after = without, with_comma
            else:
                first, after = f"({without} | {earlier})", f"({with_comma} | {later})"
        return f'"{{" {self._named(first)}'

    def _free_pair(self, properties: Mapping[str, Any], value: str) -> str:
        """Return the rule of a name that is not declared, with its value."""
        name = self._key(properties)
        return self._named(f'{name} ":" {self._named(value)}')

    def _key(self, taken: Iterable[str] = ()) -> str:
        """Return the terminal of a bare name that is none of those taken."""
        others = "|".join(_in_regex(name) for name in sorted(taken))
        body = f"{_KEY} & ~/({others})/" if others else _KEY
        for name, known in self._rules.items():
            if known == body:
                return name
        name = f"KEY_{len(self._rules)}"
        self._rules[name] = body
        return name

    def _reference(self, reference: str, path: str, root: Mapping[str, Any]) -> str:
        name = self._references.setdefault((self._tool, reference), f"ref_{len(self._references)}")
        if name not in self._rules:
            self._rules[name] = '""'  # known from here on: a definition may refer to itself
            target: Any = root
            for step in reference.removeprefix("#").strip("/").split("/"):
                step = step.replace("~1", "/").replace("~0", "~")
                if (
                    not reference.startswith("#")
                    or not isinstance(target, Mapping)
                    or (step and step not in target)
                ):
                    raise BadSchema(
                        f"{path}: {reference!r} is not defined.", hint="Put definitions into $defs."
                    )
                target = target[step] if step else target
            self._rules[name] = self._value(target, path, root)
        return name

    def _constant(self, value: Any) -> str:
        if isinstance(value, str):
            if "<|" in value or "|>" in value:
                raise BadSchema(f"{value!r} spells a control token.", hint="Choose another value.")
            quote = self._token('<|"|>')
            return f"{quote} {_literal(value)} {quote}" if value else f"{quote} {quote}"
        if value is None or isinstance(value, bool | int | float):
            return _literal(json.dumps(value))
        raise BadSchema(
            f"{value!r:.60} as a constant.", hint="Enums of calls hold text, numbers, true, false and null."
        )

    def _anything(self) -> str:
        quote = self._token('<|"|>')
        if "anything" not in self._rules:
            self._rules["anything"] = '""'
            key = self._key()
            self._rules["some_list"] = '"[" (anything ("," anything)*)? "]"'
            self._rules["some_object"] = f'"{{" ({key} ":" anything ("," {key} ":" anything)*)? "}}"'
            self._rules["anything"] = (
                f'{quote} TEXT {quote} | NUMBER | "true" | "false" | "null" | some_list | some_object'
            )
        return "anything"

    def _named(self, body: str) -> str:
        """Return the name of a rule with this body; short bodies are returned themselves."""
        if len(body) < 12 and " " not in body:
            return body
        for name, known in self._rules.items():
            if known == body and name.startswith("part_"):
                return name
        name = f"part_{len(self._rules)}"
        self._rules[name] = body
        return name


def _in_regex(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c == "_") else f"\\x{{{ord(c):x}}}" for c in name)


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _either(options: Sequence[str]) -> str:
    if not options:
        raise BadSchema("An enum or anyOf without a value allows nothing.", hint="List at least one value.")
    unique = list(dict.fromkeys(options))
    return unique[0] if len(unique) == 1 else f"({' | '.join(unique)})"
