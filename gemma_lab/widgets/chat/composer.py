"""The prompt that is being written in a chat, with its media."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

from ...errors import BadPrompt
from ...models.chat.media_arguments import media_list
from ..shared.base import LabWidget, sendable
from .attachments import Attachments, decoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...lab import Lab
    from .attachments import Attachment
    from .conversation import Exchange


class Composer(LabWidget):
    """Base of a widget in which prompts with media are written."""

    #: Media of the next prompt.
    _attachments = traitlets.List(traitlets.Dict()).tag(sync=True)
    #: A prompt that failed, returned to be written on: text and count.
    _returned = traitlets.Dict().tag(sync=True)

    _lab: Lab

    def __init__(self, **traits: Any) -> None:
        self._pending = Attachments()
        super().__init__(**traits)

    def _frames(self) -> int | None:
        """Return the most frames of a video that the model takes; None if it does not declare any."""
        from ...models.chat.request_builder import frame_limit

        return frame_limit(self._lab)

    def _decoded(self, prefix: str, images: Any, video: Any, audio: Any) -> list[Attachment]:
        """Decode media that were passed from Python; `prefix` begins their ids."""
        attachments = decoded("image", media_list("image", images), prefix=prefix)
        attachments += decoded("video", media_list("video", video), prefix=prefix, frames=self._frames())
        return attachments + decoded("audio", media_list("audio", audio), prefix=prefix)

    def _written(self, text: str) -> list[Attachment]:
        """Return the media of a prompt that is sent."""
        attachments = self._pending.all()
        check_prompt(text, attachments)
        return attachments

    def _empty(self) -> None:
        """Forget the media of a prompt that was sent."""
        self._pending.clear()
        self._sync_attachments()

    def _return_prompt(self, exchange: Exchange) -> None:
        """Return a failed prompt to the composer, with its media."""
        for attachment in exchange.attachments:
            self._pending.put(attachment)
        self._sync_attachments()
        self._returned = {"text": sendable(exchange.text), "count": self._returned.get("count", 0) + 1}

    def _on_upload(self, content: dict[str, Any], buffers: Sequence[Any]) -> None:
        try:
            self._pending.receive(content, buffers, frames=self._frames())
        finally:
            self._sync_attachments()  # also when it was refused, so that views remove its placeholder

    def _on_remove_attachment(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        self._pending.remove(str(content.get("id")))
        self._sync_attachments()

    def _sync_attachments(self) -> None:
        self._attachments = self._pending.entries()


def check_prompt(text: str, attachments: Sequence[Attachment]) -> None:
    """Raise `BadPrompt` if a prompt has neither text nor media."""
    if not text.strip() and not attachments:
        raise BadPrompt("The prompt is empty.", hint="Write a question, or attach an image.")
