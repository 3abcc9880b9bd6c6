"""A chat in a terminal: read lines, stream answers, stop one with Ctrl-C."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LabError

if TYPE_CHECKING:
    from ..lab import Lab
    from ..models.chat.reply import Reply

HELP = """/image PATH  send an image with the next message
/video PATH  send a video
/audio PATH  send a sound, at most 30 s
/new         start a new conversation
/help        this list
/quit        exit (or Ctrl-D)
Ctrl-C stops an answer."""
_KINDS = ("image", "video", "audio")
# Embeddings, overrides and isolates can make a line display other text than it holds, also past its end.
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """Remove control characters other than newline and tab, and bidi controls.

    Without its escape character a terminal sequence has no effect, also if a model writes it token by token.
    """
    return "".join(
        character
        for character in text
        if character in "\n\t" or (unicodedata.category(character) != "Cc" and character not in _BIDI)
    )


class Conversation:
    """A chat whose answers are streamed to a terminal.

    Parameters
    ----------
    lab
        The model.
    write
        Prints text without a newline.
    system, thinking, settings
        For ``lab.stream``: the system prompt, whether to think, and its sampling arguments.
    """

    def __init__(
        self,
        lab: Lab,
        *,
        write: Callable[[str], None],
        system: str | None = None,
        thinking: bool = False,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.lab = lab
        self.write = write
        self.system = system
        self.thinking = thinking
        self.settings = settings or {}
        self.reply: Reply | None = None
        #: Opened media for the next message, by kind.
        self.media: dict[str, list[Any]] = {kind: [] for kind in _KINDS}

    def attach(self, kind: str, path: Path) -> str:
        """Open a medium for the next message and describe its size or length.

        Parameters
        ----------
        kind
            ``"image"``, ``"video"`` or ``"audio"``.
        path
            Its file.

        Raises
        ------
        BadMedia
            If the model has no tower for it, or the file cannot be read.
        MissingExtra
            If a library that reads such files is not installed.
        """
        from ..models.chat.request_builder import check_modality

        check_modality(self.lab, kind)
        medium, description = _opened(self.lab, kind, path)
        self.media[kind].append(medium)
        return description

    def say(self, text: str) -> Reply:
        """Send a message and write the answer; an interrupt keeps the partial answer."""
        stream = self.lab.stream(
            text,
            images=self.media["image"],
            video=self.media["video"],
            audio=self.media["audio"],
            system=self.system if self.reply is None else None,
            previous=self.reply,
            thinking=self.thinking,
            top_logprobs=0,
            **self.settings,
        )
        self._drop()  # only now: a message that was refused can be sent again
        kind = "text"
        try:
            with stream:
                for chunk in stream:
                    if chunk.text and chunk.kind != kind:
                        self.write("[thinking] " if chunk.kind == "thought" else "\n[answer] ")
                        kind = chunk.kind
                    self.write(printable(chunk.text))
        except KeyboardInterrupt:
            self.write("\n[stopped]")
        self.write("\n")
        self.reply = stream.reply
        return self.reply

    def loop(self, read: Callable[[str], str]) -> None:
        """Read and answer until the end of input. Ctrl-C at the prompt drops the line."""
        while True:
            try:
                line = read("> ").strip()
            except EOFError:
                self.write("\n")
                return
            except KeyboardInterrupt:
                self.write("\n(Ctrl-D or /quit exits)\n")
                continue
            if line == "/quit":
                return
            if not line:
                continue
            try:
                self._do(line)
            except LabError as error:  # a full context or a bad medium ends the turn, not the program
                self.write(f"{printable(str(error))}\n")

    def _do(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "/new":
            self.reply = None
            self._drop()
            self.write("(a new conversation)\n")
        elif (kind := word.removeprefix("/")) in _KINDS and kind != word:
            path = Path(rest.strip().strip("'\"")).expanduser()
            self.write(f"({printable(path.name)}, {self.attach(kind, path)}, attached to the next message)\n")
        elif word.startswith("/") and "/" not in word[1:]:
            self.write(f"{HELP}\n")
        else:
            self.say(line)

    def _drop(self) -> None:
        self.media = {kind: [] for kind in _KINDS}


def _opened(lab: Lab, kind: str, path: Path) -> tuple[Any, str]:
    """Return an opened medium and a description of its size or length."""
    from ..models.chat.request_builder import frame_limit
    from ..models.media import load_audio, load_image, load_video

    if kind == "audio":
        recording = load_audio(path)
        return recording, f"{recording.seconds:.2f} s"
    if kind == "image":
        image = load_image(path)
        return image, f"{image.width} × {image.height}"
    clip = load_video(path, frames=frame_limit(lab))
    width, height = clip.size
    return clip, f"{len(clip.frames):,} of {clip.total:,} frames, {width} × {height}"
