from __future__ import annotations

from types import SimpleNamespace

import pytest
from PIL import Image

import gemma_lab as gl
from gemma_lab.cli.terminal_chat import Conversation, printable
from gemma_lab.errors import BadMedia, ContextFull


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("\x1b]0;title\x07", "]0;title"),
        ("\x9b2J\x00\x7f\r\b", "2J"),
        ("a\u202eb\u2066c\u2069", "abc"),
        ("مرحبا नमस्ते 👩‍👩‍👧", "مرحبا नमस्ते 👩‍👩‍👧"),
    ],
)
def test_printable(said, shown):
    assert printable(said) == shown


class _Stream:
    """Stands for `gemma_lab.models.chat.stream.Stream`: given chunks, and perhaps an interrupt after them."""

    def __init__(self, chunks, *, interrupt=False):
        self.chunks, self.interrupt, self.closed = chunks, interrupt, False
        self.reply = SimpleNamespace(text="".join(text for text, kind in chunks if kind == "text"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

    def __iter__(self):
        for text, kind in self.chunks:
            yield SimpleNamespace(text=text, kind=kind)
        if self.interrupt:
            raise KeyboardInterrupt


class _Lab:
    name, modalities = "a model", frozenset({"text", "image", "video", "audio"})

    def __init__(self, *streams):
        self.streams, self.asked = list(streams), []

    def stream(self, prompt, **arguments):
        self.asked.append((prompt, arguments))
        following = self.streams.pop(0)
        if isinstance(following, Exception):
            raise following
        return following


def _conversation(*streams, **settings):
    shown: list[str] = []
    return Conversation(_Lab(*streams), write=shown.append, **settings), shown


def _reader(*lines):
    waiting = iter(lines)

    def read(_):
        line = next(waiting, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    return read


def test_turns_follow_each_other_and_only_the_first_has_the_system_prompt():
    talk, shown = _conversation(_Stream([("one", "text")]), _Stream([("two", "text")]), system="Be short.")
    talk.loop(_reader("a", "", "b", "/quit"))
    (_, first), (_, second) = talk.lab.asked
    assert (first["system"], first["previous"]) == ("Be short.", None)
    assert second["system"] is None
    assert second["previous"].text == "one"
    assert "".join(shown) == "one\ntwo\n"


def test_ctrl_c_stops_the_answer_and_keeps_what_was_said():
    stream = _Stream([("half an ans", "text")], interrupt=True)
    talk, shown = _conversation(stream, _Stream([("more", "text")]))
    talk.loop(_reader("a", "b"))
    assert stream.closed
    assert "[stopped]" in "".join(shown)
    assert talk.lab.asked[1][1]["previous"].text == "half an ans"


def test_ctrl_c_at_the_prompt_does_not_leave():
    talk, shown = _conversation(_Stream([("here", "text")]))
    talk.loop(_reader(KeyboardInterrupt(), "a"))
    assert "here" in "".join(shown)


def test_an_error_ends_the_turn_and_not_the_program():
    talk, shown = _conversation(ContextFull("9 tokens too long."), _Stream([("fine", "text")]))
    talk.loop(_reader("a", "b"))
    assert "9 tokens too long." in "".join(shown)
    assert "fine" in "".join(shown)


def test_thoughts_are_told_apart_and_escapes_disarmed():
    talk, shown = _conversation(_Stream([("hm", "thought"), ("\x1b[2Jyes", "text")]), thinking=True)
    talk.say("a")
    assert "".join(shown) == "[thinking] hm\n[answer] [2Jyes\n"
    assert talk.lab.asked[0][1]["thinking"] is True


def test_a_picture_goes_with_the_next_message_only(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a b.png")
    talk, shown = _conversation(_Stream([("1", "text")]), _Stream([("2", "text")]))
    talk.loop(_reader(f"/image '{tmp_path / 'a b.png'}'", "what is it", "and now", "/new"))
    assert [len(asked["images"]) for _, asked in talk.lab.asked] == [1, 0]
    assert "30 × 20" in "".join(shown)
    assert talk.reply is None


def test_a_picture_that_is_none_is_refused_at_once(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no")
    talk, shown = _conversation()
    talk.loop(_reader(f"/image {tmp_path / 'x.png'}", "/what"))
    assert talk.media == {"image": [], "video": [], "audio": []}
    assert "x.png" in "".join(shown)
    assert "/quit" in "".join(shown)


def test_videos_and_sounds_go_with_the_next_message_only(tmp_path, monkeypatch):
    pytest.importorskip("av")
    frames = [Image.new("RGB", (30, 20), (40 * n, 0, 0)) for n in range(6)]
    frames[0].save(tmp_path / "a b.gif", save_all=True, append_images=frames[1:], duration=200)
    (tmp_path / "tone.wav").write_bytes(gl.load_audio(([0.1] * 8000, 16_000)).wav())
    talk, shown = _conversation(_Stream([("1", "text")]), _Stream([("2", "text")]))
    # as many frames as the model's processor looks at, as without a terminal
    talk.lab.processor = SimpleNamespace(video_processor=SimpleNamespace(num_frames=4))
    sound = f"/audio {tmp_path / 'tone.wav'}"
    talk.loop(_reader(f"/video '{tmp_path / 'a b.gif'}'", sound, sound, "what is it", "and now"))
    (_, first), (_, second) = talk.lab.asked
    assert [len(clip.frames) for clip in first["video"]] == [4]
    assert [len(sound.samples) for sound in first["audio"]] == [8000, 8000]
    assert (first["images"], second["video"], second["audio"]) == ([], [], [])
    assert "(a b.gif, 4 of 6 frames, 30 × 20, " in "".join(shown)
    assert "(tone.wav, 0.50 s, " in "".join(shown)


@pytest.mark.parametrize(
    ("kind", "why"), [("image", "no images"), ("video", "no videos"), ("audio", "no sounds")]
)
def test_what_the_model_has_no_tower_for_is_refused_at_once(tmp_path, kind, why):
    talk, shown = _conversation(_Stream([("fine", "text")]))
    talk.lab.modalities = frozenset({"text"})
    talk.loop(_reader(f"/{kind} {tmp_path / 'a'}", "a"))
    assert f"a model takes {why}" in "".join(shown)
    assert "fine" in "".join(shown)
    assert not any(talk.media.values())
    with pytest.raises(BadMedia, match=why):
        talk.attach(kind, tmp_path / "a")


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_a_file_that_is_none_is_refused_and_new_forgets_what_waits(tmp_path, kind):
    (tmp_path / "tone.wav").write_bytes(gl.load_audio(([0.1] * 8000, 16_000)).wav())
    talk, shown = _conversation()
    talk.loop(_reader(f"/{kind} {tmp_path / 'none.bin'}"))
    assert "none.bin" in "".join(shown)
    assert talk.media[kind] == []
    talk.loop(_reader(f"/audio {tmp_path / 'tone.wav'}", "/new"))
    assert talk.media["audio"] == []
