"""A chat in a terminal: reading lines, streaming answers, stopping one with Ctrl-C."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LabError

if TYPE_CHECKING:
    from ..lab import Lab
    from ..models.chat.reply import Reply

HELP = """/image PATH  send a picture with the next message
/video PATH  send a video
/audio PATH  send a sound, at most 30 s
/new         forget the conversation
/help        this list
/quit        leave (or Ctrl-D)
Ctrl-C stops an answer."""
_KINDS = ("image", "video", "audio")
# Embeddings, overrides and isolates can make a line show something other than it says, also past its end.
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """Return text that cannot command a terminal: no controls but newline and tab, no bidi controls.

    Dropping the escape character alone disarms a sequence, also when a model writes it piece by piece.
    """
    return "".join(
        character
        for character in text
        if character in "\n\t" or (unicodedata.category(character) != "Cc" and character not in _BIDI)
    )


class Conversation:
    """A chat whose answers are written to a terminal as they come.

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
        #: By kind, opened: what goes with the next message.
        self.media: dict[str, list[Any]] = {kind: [] for kind in _KINDS}

    def attach(self, kind: str, path: Path) -> str:
        """Open a medium that goes with the next message, and return its size or length in words.

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
        medium, said = _opened(self.lab, kind, path)
        self.media[kind].append(medium)
        return said

    def say(self, text: str) -> Reply:
        """Send a message and write the answer; an interrupt keeps what was said by then."""
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
        self._drop()  # only now: a message that was refused can be said again
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
                self.write("\n(Ctrl-D or /quit leaves)\n")
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
            self.write(f"({printable(path.name)}, {self.attach(kind, path)}, goes with the next message)\n")
        elif word.startswith("/") and "/" not in word[1:]:
            self.write(f"{HELP}\n")
        else:
            self.say(line)

    def _drop(self) -> None:
        self.media = {kind: [] for kind in _KINDS}


def _opened(lab: Lab, kind: str, path: Path) -> tuple[Any, str]:
    """Return a medium as the model takes it, and its size or length in words."""
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
