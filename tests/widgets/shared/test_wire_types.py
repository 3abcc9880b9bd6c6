from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.attention_traces import arabic, attended, behind, text, with_features
from support.routing_traces import arabic_trace, picture_trace
from support.scripted import ScriptedLab, words

from gemma_lab.widgets.attention.widget import AttentionExplorer
from gemma_lab.widgets.attention.wire import row_buffer
from gemma_lab.widgets.causal.widget import CausalExplorer
from gemma_lab.widgets.chat.widget import Chat
from gemma_lab.widgets.explorer.widget import Explorer
from gemma_lab.widgets.planner.widget import Planner
from gemma_lab.widgets.routing.widget import RoutingExplorer
from gemma_lab.widgets.shared.wire import unpack
from gemma_lab.widgets.shared.wire_types import BUFFERS, MESSAGES, META, TRAITS
from gemma_lab.widgets.versus.widget import VersusExplorer

JS = Path(__file__).parents[3] / "gemma_lab" / "widgets" / "js"
TYPES = (JS / "shared" / "wire_types.js").read_text(encoding="utf-8")
ARRAYS = {
    "Uint8Array": "uint8",
    "Uint16Array": "uint16",
    "Uint32Array": "uint32",
    "Int16Array": "int16",
    "Int32Array": "int32",
    "Float32Array": "float32",
}
#: What jupyter-widgets and anywidget sync on every widget.
INNER = ("_model", "_view", "_dom", "_esm", "_css", "_anywidget")
OWN = {"comm", "keys", "layout", "log", "tabbable", "tooltip"}


def properties(typedef: str) -> dict[str, str]:
    """Return the properties of a JSDoc typedef, with their types."""
    (body,) = re.findall(rf"@typedef {{object}} {typedef}\n(.*?)\*/", TYPES, re.DOTALL)
    return {name: kind for kind, name in re.findall(r"@property {(.+)} \[?(\w+)\]?", body)}


def messages(typedef: str) -> dict[str, tuple[str, ...]]:
    """Return the messages of a union of JSDoc types, with their values."""
    (union,) = re.findall(rf"@typedef {{((?:(?!@typedef).)*?)}} {typedef}\n", TYPES, re.DOTALL)
    found = {}
    for name, rest in re.findall(r'\{ type: "(\w+)"((?:, \w+: [\w\[\]<>]+)*) \}', union):
        found[name] = tuple(re.findall(r", (\w+):", rest))
    return found


@pytest.mark.parametrize("buffer", sorted(BUFFERS))
def test_arrays_and_meta_of_a_buffer_are_the_same_in_both_languages(buffer: str) -> None:
    name = buffer.removesuffix("Buffer")
    assert f"@typedef {{{name}Arrays & Unpacked<{name}Meta>}} {buffer}" in TYPES
    assert tuple(properties(f"{name}Meta")) == META[buffer]
    if buffer == "RowBuffer":
        assert "[name: `row_${number}`]: Uint16Array" in TYPES
        return
    typed = {
        array: tuple(ARRAYS[each] for each in kind.split(" | "))
        for array, kind in properties(f"{name}Arrays").items()
    }
    assert typed == BUFFERS[buffer]


@pytest.mark.parametrize("traits", sorted(TRAITS))
def test_traits_are_the_same_in_both_languages(traits: str) -> None:
    assert tuple(properties(traits)) == TRAITS[traits]


@pytest.mark.parametrize("message", sorted(MESSAGES))
def test_messages_are_the_same_in_both_languages(message: str) -> None:
    assert messages(message) == MESSAGES[message]


@pytest.mark.parametrize(
    ("widget", "name"),
    [
        (Chat, "Chat"),
        (RoutingExplorer, "Routing"),
        (AttentionExplorer, "Attention"),
        (Explorer, "Explorer"),
        (Planner, "Planner"),
        (VersusExplorer, "Versus"),
        (CausalExplorer, "Causal"),
    ],
)
def test_a_widget_syncs_the_traits_and_takes_the_messages_that_are_listed(widget, name: str) -> None:
    synced = {
        trait
        for trait in widget.class_trait_names(sync=True)
        if trait not in OWN
        and not trait.startswith(("_model", "_view", "_dom", "_esm", "_css", "_anywidget"))
    }
    assert synced == set(TRAITS[f"{name}Traits"])
    assert set(widget._messages) == set(MESSAGES[f"{name}Message"])
    for message in widget._messages:
        assert callable(getattr(widget, f"_on_{message}"))


def check(buffer: bytes, kind: str) -> None:
    arrays, meta = unpack(buffer)
    assert arrays
    for name, array in arrays.items():
        listed = BUFFERS[kind][re.sub(r"^row_\d+$", "row_<query>", name)]
        assert str(array.dtype) in listed, (kind, name)
    assert set(meta) <= set(META[kind])


def test_what_is_sent_has_the_listed_arrays() -> None:
    routing = RoutingExplorer(picture_trace())
    check(routing._tokens, "TokenBuffer")
    check(routing._loads, "LoadBuffer")
    check(routing._layers, "LayerBuffer")
    trace = text(300, rows=(200,))
    side = AttentionExplorer(trace)._sides[0]
    check(side["tokens"], "TokenBuffer")
    check(side["grid"], "GridBuffer")
    check(side["maps"], "MapBuffer")
    check(side["keys"], "KeyBuffer")
    check(row_buffer({200: trace.attention.row(5, 200)}, 5), "RowBuffer")
    assert set(side) == set(properties("SideEntry"))
    assert set(side["facts"]) == set(properties("AttentionFacts"))
    explorer = Explorer(with_features(behind(attended(arabic_trace(), arabic().attention))))
    check(explorer._summary, "SummaryBuffer")
    assert set(unpack(explorer._summary)[0]) == set(BUFFERS["SummaryBuffer"])
    assert set(explorer._facts) == set(properties("ExplorerFacts"))
    assert set(routing._facts) == set(properties("RoutingFacts"))


def test_turns_and_settings_have_the_listed_values() -> None:
    chat = Chat(ScriptedLab([words("one")]))
    chat.send("Hi")
    assert set(chat.settings) == set(properties("ChatSettings"))
    for turn in chat.turns:
        assert set(turn) - {"thinking"} <= set(properties("Turn"))


def test_the_front_end_reads_no_other_trait() -> None:
    listed = {trait for traits in TRAITS.values() for trait in traits}
    rooms = ("shared", "chat", "routing", "attention", "explorer", "planner")
    for path in (path for room in rooms for path in (JS / room).glob("*.js")):
        source = path.read_text(encoding="utf-8")
        read = set(re.findall(r'model\.get\("(\w+)"\)', source)) | set(re.findall(r'"change:(\w+)"', source))
        assert read <= listed, path.name
