from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from support.scripted import ScriptedLab, demo_lab, token, words

from gemma_lab.errors import BadMedia, BadPrompt, ContextFull, LabError
from gemma_lab.models.chat.sampling import Sampling
from gemma_lab.widgets.chat.conversation import Conversation
from gemma_lab.widgets.chat.widget import Chat


def png(width: int = 9, height: int = 7) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def post(chat: Chat, kind: str, *buffers: bytes, **content) -> None:
    chat._receive(chat, {"type": kind, **content}, [memoryview(b) for b in buffers])


def upload(chat: Chat, data: bytes, *, key: str = "p1", name: str = "dot.png", parts: int = 1) -> None:
    size = -(-len(data) // parts)
    for part in range(parts):
        post(chat, "upload", data[part * size : (part + 1) * size], id=key, name=name, part=part, parts=parts)


def wait(chat: Chat, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while chat.busy:
        assert time.monotonic() < end, "the answer did not end"
        time.sleep(0.005)
    while any(thread.name == "gemma_lab-widget" for thread in threading.enumerate()):
        assert time.monotonic() < end, "the thread did not end"
        time.sleep(0.005)


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What would have been sent to the views."""
    sent: list[dict] = []
    monkeypatch.setattr(Chat, "_post", lambda self, content, buffers=None: sent.append(content))
    return sent


def test_send_answers_and_shares_the_transcript(messages) -> None:
    lab = ScriptedLab([words("one", " two"), words("three")])
    chat = Chat(lab, system="Be short.", seed=3)
    first = chat.send("Hi")
    second = chat.send("And?")
    assert (first.text, second.text) == ("one two", "three")
    assert chat.replies == [first, second]
    assert [turn["role"] for turn in chat.turns] == ["user", "model"] * 2
    assert [turn["text"] for turn in chat.turns] == ["Hi", "one two", "And?", "three"]
    assert len({turn["key"] for turn in chat.turns}) == 4
    assert lab.calls[0]["system"] == "Be short."
    assert lab.calls[0]["previous"] is None
    assert lab.calls[1]["previous"] is first
    assert lab.calls[1]["system"] is None  # it is in the history already
    assert lab.calls[0]["seed"] == 3
    assert repr(chat) == "Chat(scripted: 2 answers)"


def test_tokens_stream_in_order_with_their_alternatives(messages) -> None:
    chat = Chat(ScriptedLab([[token("a", -0.5, "thought"), token("b", float("-inf"))]]))
    chat.send("?")
    streamed = [each for message in messages if message["type"] == "tokens" for each in message["tokens"]]
    assert streamed == chat.turns[-1]["tokens"]
    assert streamed[0] == [
        "a",
        -0.5,
        "thought",
        0.4,
        [["a", -0.5], ["<b>other</b>", -3.0], ["\u202e", -5.0]],
        0,
        None,
        None,
    ]
    assert streamed[1][1] is None  # JSON has no infinity
    assert chat.turns[-1]["thinking"] == "a"
    assert chat.turns[-1]["text"] == "b"


def test_the_browser_asks_in_the_background_and_stops(messages) -> None:
    gate = threading.Event()
    chat = Chat(ScriptedLab([words(*"abcdefgh"), words("x")], gate=gate, pause=0.001))
    post(chat, "ask", text="Go")
    assert chat.busy
    assert chat.turns[-1]["state"] == "live"
    post(chat, "ask", text="Me too")
    assert "still being generated" in chat._notice["what"]
    with pytest.raises(LabError, match="still being generated"):
        chat.send("Me three")
    with pytest.raises(LabError, match="still being generated"):
        chat.clear()
    post(chat, "stop")
    gate.set()
    wait(chat)
    assert chat.turns[-1]["state"] == "done"
    assert chat.turns[-1]["finish_reason"] == "stopped"
    assert chat.replies[0].finish_reason == "stopped"
    assert len(chat.turns) == 2
    assert chat.send("And again").text == "x"  # a stop does not outlive its answer


def test_a_failed_turn_is_shown_and_the_draft_comes_back(messages) -> None:
    full = ContextFull("214 tokens too many.", hint="Start over.")
    lab = ScriptedLab([words("fine"), [token("par"), full], words("good")])
    chat = Chat(lab)
    good = chat.send("ok")
    upload(chat, png())
    post(chat, "ask", text="too long")
    wait(chat)
    assert chat.turns[-1]["state"] == "failed"
    assert chat.turns[-1]["error"] == {"what": "214 tokens too many.", "hint": "Start over."}
    assert chat.turns[-1]["text"] == "par"
    assert chat._returned == {"text": "too long", "count": 1}
    assert [entry["id"] for entry in chat._attachments] == ["p1"]
    assert chat.error is full
    post(chat, "ask", text="shorter")
    wait(chat)
    assert lab.calls[-1]["previous"] is good  # what failed is not part of the history
    assert len(lab.calls[-1]["images"]) == 1
    assert chat._attachments == []
    assert [reply.text for reply in chat.replies] == ["fine", "good"]


def test_an_unexpected_error_is_calm_in_the_browser_and_raised_from_python(messages) -> None:
    chat = Chat(ScriptedLab([[ZeroDivisionError("1/0")], [ZeroDivisionError("1/0")]]))
    post(chat, "ask", text="?")
    wait(chat)
    assert chat.turns[-1]["error"]["what"] == "ZeroDivisionError: 1/0"
    assert isinstance(chat.error, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        chat.send("?")
    assert not chat.busy


def test_an_interrupt_keeps_what_was_written(messages) -> None:
    chat = Chat(ScriptedLab([[token("par"), KeyboardInterrupt()]]))
    with pytest.raises(KeyboardInterrupt):
        chat.send("?")
    assert not chat.busy
    assert chat.turns[-1]["state"] == "done"
    assert chat.turns[-1]["text"] == "par"
    assert chat.replies[0].text == "par"


def test_regenerate_replaces_and_clear_forgets(messages) -> None:
    lab = ScriptedLab([words("a"), words("b"), words("c"), words("d")])
    chat = Chat(lab)
    first = chat.send("1")
    chat.send("2")
    assert chat.regenerate().text == "c"
    assert [reply.text for reply in chat.replies] == ["a", "c"]
    assert lab.calls[-1]["previous"] is first
    assert lab.calls[-1]["prompt"] == "2"
    post(chat, "clear")
    assert chat.turns == []
    assert chat.replies == []
    with pytest.raises(LabError, match="no prompt"):
        chat.regenerate()
    chat.send("3")
    assert lab.calls[-1]["previous"] is None


def test_pictures_arrive_in_parts_are_checked_and_go_along(messages) -> None:
    lab = ScriptedLab([words("teal")])
    chat = Chat(lab)
    data = png(300, 200)
    upload(chat, data, name="a.png", parts=3)
    (entry,) = chat._attachments
    assert (entry["name"], entry["width"], entry["height"]) == ("a.png", 300, 200)
    assert entry["src"].startswith("data:image/png;base64,")
    upload(chat, b"no picture", key="p2", name="<b>.png")
    assert chat._notice["what"].startswith("<b>.png: ")
    assert len(chat._attachments) == 1
    upload(chat, png(), key="p3")
    post(chat, "remove_attachment", id="p3")
    assert len(chat._attachments) == 1
    post(chat, "ask", text="Colour?")
    wait(chat)
    assert [image.size for image in lab.calls[0]["images"]] == [(300, 200)]
    assert chat.turns[0]["media"][0]["width"] == 300


def test_a_file_that_is_too_long_is_refused(messages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemma_lab.widgets.chat.attachments.MAX_BYTES", 10)
    chat = Chat(ScriptedLab([]))
    upload(chat, png(), name="big.png")
    assert "big.png is larger than" in chat._notice["what"]
    assert chat._attachments == []


def test_send_takes_arrays_and_refuses_what_is_no_picture(messages, tmp_path) -> None:
    lab = ScriptedLab([words("ok")])
    chat = Chat(lab)
    path = tmp_path / "named.png"
    path.write_bytes(png())
    chat.send("Two", images=[np.zeros((4, 6), np.uint8), path])
    assert [p["name"] for p in chat.turns[0]["media"]] == ["image 1", "named.png"]
    with pytest.raises(BadMedia):
        chat.send("?", images=[b"junk"])
    assert len(chat.turns) == 2
    with pytest.raises(BadPrompt, match="empty"):
        chat.send("  ")


def test_settings_are_checked_in_python(messages) -> None:
    chat = Chat(ScriptedLab([words("a")]), sampling=Sampling(temperature=0.5, top_p=0.9, top_k=3))
    assert chat.settings["temperature"] == 0.5
    post(chat, "change_settings", settings={"temperature": 0, "seed": "7", "tint": "overruled", "unknown": 1})
    assert chat.settings["temperature"] == 0
    assert chat.settings["seed"] == 7
    assert "unknown" not in chat.settings
    held = dict(chat.settings)
    for wrong in (
        {"top_p": 3},
        {"max_new_tokens": 0},
        {"seed": -1},
        {"top_k": "many"},
        {"temperature": None},
        {"tint": "rainbow"},
        {"ask": ["nothing"]},
    ):
        post(chat, "change_settings", settings=wrong)
        assert chat.settings == held
        assert messages[-1] == {"type": "settings", "settings": held}
    assert chat.settings["tint"] == "overruled"
    assert chat._notice["count"] == 7
    chat.send("?")
    with pytest.raises(LabError):
        Chat(ScriptedLab([]), max_new_tokens=0)


def test_a_view_opened_in_the_middle_gets_the_whole_answer(messages) -> None:
    chat = Chat(ScriptedLab([words(*"abcdefgh")], pause=0.05))
    post(chat, "ask", text="?")
    while not any(message.get("at", 0) > 0 for message in messages):
        time.sleep(0.005)
    before = len(messages)
    post(chat, "resume")
    whole = messages[before:]
    again = next(message for message in whole if message["at"] == 0)
    assert len(again["tokens"]) >= 2
    wait(chat)
    count = len(messages)
    post(chat, "resume")  # nothing is live any more: the trait has it all
    assert len(messages) == count
    assert "".join(each[0] for each in chat.turns[-1]["tokens"]) == "abcdefgh"


@pytest.mark.parametrize(
    "text", ["<img src=x onerror=alert(1)>", "</script>", "\u202eabc", "nul\x00", "\ud800", "x" * 10_000]
)
def test_hostile_text_passes_unchanged_and_cannot_act_in_the_twin(messages, text: str) -> None:
    lab = ScriptedLab([[token(text)]], name=text)
    chat = Chat(lab)
    chat.send(text)
    data, _ = chat._repr_mimebundle_()
    html = data["text/html"]
    assert "<script" not in html
    assert "<img" not in html
    assert not set("\x00\u202e") & set(html)
    assert chat.turns[0]["text"] == text.replace("\ud800", "?")
    html.encode()
    data["text/plain"].encode()


def test_the_twin_is_stable_and_tells_the_conversation(messages) -> None:
    def run() -> dict:
        chat = Chat(demo_lab())
        chat.send("What digit?", images=[np.zeros((8, 8), np.uint8)])
        return chat._repr_mimebundle_()[0]

    one, two = run(), run()
    for mime in ("text/plain", "text/html"):
        assert one[mime] == two[mime]
    assert one["text/plain"] == (
        "Chat(scripted: 1 answer)\nYou: [image 1, 8 × 8] What digit?\nModel: The digit in the picture is 7."
    )
    assert "0x" not in one["text/plain"]


def test_videos_and_sounds_go_along_with_their_previews(messages) -> None:
    from PIL import Image

    lab = ScriptedLab([words("Seen"), words("Again")])
    chat = Chat(lab)
    frames = [Image.new("RGB", (64, 48), (n, n, n)) for n in range(40)]
    sound = (np.linspace(-1, 1, 32_000, dtype=np.float32), 16_000)
    chat.send("What?", images=[np.zeros((4, 4), np.uint8)], video=(frames, 4.0), audio=[sound, sound])
    call = lab.calls[0]
    assert [len(call[name]) for name in ("images", "video", "audio")] == [1, 1, 2]
    picture, film, *heard = chat.turns[0]["media"]
    assert picture["kind"] == "image"
    assert (film["kind"], film["seen"], film["total"], len(film["frames"])) == ("video", 32, 40, 16)
    assert [time for _, time in film["frames"]][:3] == [0, 0.5, 1.25]
    assert [(one["kind"], one["seconds"]) for one in heard] == [("audio", 2.0), ("audio", 2.0)]
    assert heard[0]["peaks"][0] == 1
    assert len({one["id"] for one in chat.turns[0]["media"]}) == 4
    html, text = chat._static_fallback()
    assert "[video 1, 32 of 40 frames, 64 × 48] [audio 1, 2.00 s]" in text
    assert html.count("<svg") == 2
    assert "<script" not in html
    chat.regenerate()
    assert lab.calls[1]["audio"] == call["audio"]


def test_a_sound_from_the_browser_is_checked_and_played_as_it_is_heard(messages) -> None:
    from gemma_lab.models.media import load_audio

    chat = Chat(ScriptedLab([words("Heard")]))
    data = load_audio((np.linspace(-0.5, 0.5, 44_100, dtype=np.float32), 44_100)).wav()
    post(chat, "upload", data, id="s1", name="ton.wav", mime="audio/wav", part=0, parts=1)
    assert (chat._attachments[0]["kind"], chat._attachments[0]["seconds"]) == ("audio", 1.0)
    post(chat, "upload", b"RIFF", id="s2", name="broken.wav", mime="", part=0, parts=1)
    assert "broken.wav" in chat._notice["what"]
    assert len(chat._attachments) == 1
    sent = []
    chat._post = lambda content, buffers=None: sent.append((content, buffers))  # type: ignore[method-assign]
    post(chat, "play_audio", id="s1")
    post(chat, "play_audio", id="nobody")
    assert [content for content, _ in sent] == [{"type": "audio", "id": "s1"}]
    assert sent[0][1][0][:4] == b"RIFF"
    chat._post = lambda content, buffers=None: None  # type: ignore[method-assign]
    post(chat, "ask", text="What?")
    wait(chat)
    assert chat.turns[0]["media"][0]["id"] == "s1"
    assert chat._attachments == []


@pytest.mark.parametrize(
    ("images", "count"),
    [
        (np.zeros((6, 9, 3), np.uint8), 1),
        (Image.new("RGB", (9, 6)), 1),
        ((Image.new("RGB", (9, 6)), Image.new("RGB", (9, 6))), 2),
        (np.zeros((2, 6, 9, 3), np.uint8), 2),
        (None, 0),
    ],
)
def test_one_image_passed_bare_is_one_image(messages, images, count) -> None:
    lab = ScriptedLab([words("one")])
    Chat(lab).send("What?", images=images)
    assert [image.size for image in lab.calls[0]["images"]] == [(9, 6)] * count


def test_an_interrupt_while_the_turn_is_settled_leaves_the_chat_free(messages, monkeypatch) -> None:
    chat = Chat(ScriptedLab([[token("par"), KeyboardInterrupt()], words("fine")]))
    show, pressed = Conversation.show, []

    def interrupted(self, exchange, turns) -> None:
        if turns[-1]["state"] != "live" and not pressed:
            pressed.append(1)
            raise KeyboardInterrupt
        show(self, exchange, turns)

    monkeypatch.setattr(Conversation, "show", interrupted)
    with pytest.raises(KeyboardInterrupt):
        chat.send("?")
    assert pressed
    assert not chat.busy
    assert chat.turns[-1]["state"] == "done"
    assert chat.send("And now?").text == "fine"


@pytest.fixture
def sends():
    """Run a send that real interrupts reach; what is pressed after it does not reach the test."""
    sending = False

    def pressed(*_: object) -> None:
        if sending:
            raise KeyboardInterrupt

    def run(send: Callable[[], object]) -> bool:
        """Return whether an interrupt came out of the send."""
        nonlocal sending
        stopped = True
        with contextlib.suppress(KeyboardInterrupt):
            sending = True
            send()
            stopped = False
        sending = False
        return stopped

    before = signal.signal(signal.SIGINT, pressed)
    yield run
    signal.signal(signal.SIGINT, before)


def test_stop_pressed_twice_at_any_time_leaves_the_chat_free(messages, sends) -> None:
    chat = Chat(ScriptedLab([words(*"abcdefgh") for _ in range(200)], pause=0.0005))
    draws = random.Random(7)

    def press(delays: list[float]) -> None:
        for delay in delays:
            time.sleep(delay)
            os.kill(os.getpid(), signal.SIGINT)

    stopped = 0
    for number in range(40):
        delays = [draws.uniform(0, 0.006), draws.uniform(0.0002, 0.003)]
        presses = threading.Thread(target=press, args=(delays,))
        presses.start()
        stopped += sends(lambda number=number: chat.send(f"{number}?"))
        presses.join()
        assert not chat.busy
        assert not chat.turns or chat.turns[-1].get("state") != "live"
    assert stopped
    assert chat.send("And now?").text == "abcdefgh"


@pytest.fixture
def drafted_mini():
    """A mini whose drafter proposes one wrong token, and the answer without it."""
    from support.drafters import scripted

    import gemma_lab as gl

    mini = gl.load("mini-moe", progress=False)
    plain = mini.chat("Write 47 in German words.", temperature=0)
    mini.drafter = scripted(mini, plain, wrong=3)
    return mini, plain


def test_tokens_of_a_drafter_say_whether_the_model_accepted_them(messages, drafted_mini) -> None:
    mini, plain = drafted_mini
    chat = Chat(mini, sampling=Sampling.greedy())
    reply = chat.send("Write 47 in German words.")
    assert chat._facts["drafter"]
    assert reply.text == plain.text
    drafted = [each[7] for each in chat.turns[-1]["tokens"]]
    assert drafted == [each.drafted for each in reply.tokens]
    assert {True, False} <= set(drafted)


def test_a_name_is_no_model() -> None:
    with pytest.raises(LabError) as caught:
        Chat("mini-moe")
    assert caught.value.hint == "gl.Chat(gl.load('mini-moe'))"
