"""Which software a server is, and what its model takes, as far as the server says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...checks import short_repr
from ...errors import ServerError, UnknownModel
from .http import one_line

if TYPE_CHECKING:
    from .http import Connection

#: ``owned_by`` in the list of models, and the software that writes it.
_OWNERS = {
    "gemma_lab": "gemma_lab", "vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp",
    "library": "ollama", "organization_owner": "lm studio",
}  # fmt: skip
#: Software whose chat template takes keywords (``chat_template_kwargs``).
TEMPLATE_KEYWORDS = ("gemma_lab", "vllm", "sglang", "llama.cpp")
#: Software known to take ``top_k`` and ``seed``, which OpenAI's own API refuses or deprecates.
LOCAL = (*TEMPLATE_KEYWORDS, "ollama", "lm studio")
EVERY_MODALITY = frozenset(("text", "image", "video", "audio"))


@dataclass(frozen=True)
class ServedModel:
    """A model of a server.

    Attributes
    ----------
    name
        Its name in requests.
    software
        ``"gemma_lab"``, ``"vllm"``, ``"sglang"``, ``"llama.cpp"``, ``"ollama"``, ``"lm studio"``, or ``""``.
    context
        Tokens of prompt and answer together; None if the server does not say.
    modalities
        What it takes; None if the server does not say.
    experts
        Experts per layer; None if the server does not say.
    """

    name: str
    software: str = ""
    context: int | None = None
    modalities: frozenset[str] | None = None
    experts: int | None = None


def served_model(connection: Connection, name: str | None) -> ServedModel:
    """Return what a server says of a model.

    Parameters
    ----------
    connection
        To the server.
    name
        The model; None for the only one there.

    Raises
    ------
    UnknownModel
        If the server has no such model, or several and none was named.
    ServerError
        If it cannot be reached, or lists no models while none was named.
    """
    try:
        listed = connection.get("/models")
    except ServerError as error:
        if name is None or error.status not in (403, 404, 405, 501):
            raise
        return ServedModel(name)  # some servers have no list
    data = listed.get("data") if isinstance(listed, Mapping) else None
    cards = {
        card["id"]: card
        for card in (data if isinstance(data, list) else ())
        if isinstance(card, Mapping) and isinstance(card.get("id"), str)
    }
    names = ", ".join(one_line(each, 60) for each in list(cards)[:12])
    if name is None:
        if len(cards) != 1:
            raise UnknownModel(
                f"{connection.base} serves {len(cards)} models.",
                hint=f"Name one with model=…: {names or '?'}",
            )
        (name,) = cards
    if not isinstance(name, str) or not name:
        raise UnknownModel(f"model={short_repr(name)} is no name.", hint=f"It serves: {names}")
    card = cards.get(name) or next((each for key, each in cards.items() if key == f"{name}:latest"), None)
    if card is None and cards and not _is_hosted(cards):
        raise UnknownModel(f"{connection.base} serves no {one_line(name, 80)!r}.", hint=f"It serves: {names}")
    software = _software(card or {})
    return _described(connection, ServedModel(name, software, _context(card or {})), card or {})


def _is_hosted(cards: Mapping[str, Any]) -> bool:
    """Return whether the list may be incomplete, as with services that accept names they do not list."""
    return len(cards) > 50


def _software(card: Mapping[str, Any]) -> str:
    return _OWNERS.get(str(card.get("owned_by")), "")


def _context(card: Mapping[str, Any]) -> int | None:
    meta = card.get("meta") if isinstance(card.get("meta"), Mapping) else {}
    for value in (card.get("max_model_len"), card.get("context_length"), card.get("context_window"),
                  meta.get("n_ctx_train") if meta else None):  # fmt: skip
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31:
            return value
    return None


def _described(connection: Connection, model: ServedModel, card: Mapping[str, Any]) -> ServedModel:
    """Add the modalities, which each software tells on a page of its own."""
    found: set[str] | None = None
    if model.software == "gemma_lab":
        found = _texts(card.get("modalities"))
    elif model.software == "llama.cpp":
        page = connection.probe("/props")
        inner = page.get("modalities") if isinstance(page, Mapping) else None
        if isinstance(inner, Mapping):
            found = {
                kind for kind, key in (("image", "vision"), ("audio", "audio")) if inner.get(key) is True
            }
    elif model.software == "ollama":
        page = connection.probe("/api/show", {"model": model.name})
        inner = page.get("capabilities") if isinstance(page, Mapping) else None
        if isinstance(inner, list):
            found = {kind for kind, key in (("image", "vision"), ("audio", "audio")) if key in inner}
    elif model.software == "lm studio":
        page = connection.probe(f"/api/v0/models/{model.name}")
        if isinstance(page, Mapping) and isinstance(page.get("type"), str):
            found = {"image"} if page["type"] == "vlm" else set()
    experts = card.get("experts")
    return ServedModel(
        model.name,
        model.software,
        model.context,
        None if found is None else (frozenset(found) & EVERY_MODALITY) | {"text"},
        experts if isinstance(experts, int) and not isinstance(experts, bool) and experts > 0 else None,
    )


def _texts(value: Any) -> set[str] | None:
    return {each for each in value if isinstance(each, str)} if isinstance(value, list) else None
