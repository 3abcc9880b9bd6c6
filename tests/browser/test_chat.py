"""The chat widget, used in a browser as a person would use it."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from playwright.sync_api import expect

from gemma_lab.assets import data_path
from gemma_lab.models.media import load_audio

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator

    from conftest import Notebook

SCRIPTED = """\
from support.scripted import ScriptedLab, demo_lab, token, words
from gemma_lab import Chat
"""
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "<style>.gl{display:none}</style>",
    "\u202eevil\u2066 still reversed",
    "nul\x00 bell\x07 escape\x1b[31m",
    "x" * 10_000,
]

#: Where the first and the last letter of "evil" stand, in pixels from the left.
FIRST_AND_LAST_LETTER = """token => {
  const text = [...token.childNodes].find((node) => node.data?.startsWith("evil"));
  return [0, 3].map((at) => {
    const range = document.createRange();
    range.setStart(text, at);
    range.setEnd(text, at + 1);
    return range.getBoundingClientRect().x;
  });
}"""
#: Drops a picture of 1200 × 1200 random pixels, four megabytes, on the widget.
DROP_NOISE = """() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1200;
  const paint = canvas.getContext("2d");
  const noise = paint.createImageData(1200, 1200);
  for (let i = 0; i < noise.data.length; i++) noise.data[i] = i % 4 == 3 ? 255 : Math.random() * 256;
  paint.putImageData(noise, 0, 0);
  canvas.toBlob((blob) => {
    const data = new DataTransfer();
    data.items.add(new File([blob], "noise.png", { type: "image/png" }));
    const drop = new DragEvent("drop", { dataTransfer: data, bubbles: true });
    document.querySelector(".gl-chat").dispatchEvent(drop);
  });
}"""


def moving_square() -> bytes:
    """Return a film of two seconds in which a square moves to the right."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="webm") as out:
        stream = out.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(20):
            picture = Image.new("RGB", (96, 64), "navy")
            picture.paste("orange", (4 * number, 24, 4 * number + 16, 40))
            out.mux(stream.encode(av.VideoFrame.from_image(picture)))
        out.mux(stream.encode())
    return file.getvalue()


def ask(chat: Locator, text: str) -> None:
    field = chat.get_by_label("Your prompt")
    field.fill(text)
    field.press("Enter")


def settled(chat: Locator, answers: int) -> None:
    """Wait until so many answers stand there and none is being written."""
    expect(chat.locator(".gl-model")).to_have_count(answers)
    expect(chat.locator(".gl-live")).to_have_count(0)
    expect(chat.get_by_test_id("send")).to_be_visible()


def test_a_newcomer_asks_the_mini_model_about_a_picture(open_notebook: Callable[..., Notebook]) -> None:
    picture = str(data_path("media/digits/4.png"))
    asked = "What digit is in the picture?"
    book = open_notebook(
        "import gemma_lab as gl\n\nlab = gl.load()\nchat = gl.Chat(lab, sampling=gl.Sampling.greedy())\nchat",
        "from gemma_lab.assets import data_path\n\n"
        "picture = data_path('media/digits/4.png')\n"
        f"alone = lab.chat({asked!r}, images=[picture], sampling=gl.Sampling.greedy())\n"
        "print(alone.text == chat.replies[0].text, len(alone.tokens) == len(chat.replies[0].tokens))",
    )
    book.run(0)
    chat = book.page.locator(".gl-chat")
    expect(chat).to_be_visible(timeout=60_000)
    chat.get_by_test_id("file").set_input_files(picture)
    expect(chat.locator(".gl-thumb img")).to_be_visible()
    ask(chat, asked)
    settled(chat, 1)
    answer = chat.locator(".gl-model > .gl-tokens")
    expect(answer).to_have_text("4")  # a digit that no training saw
    expect(chat.locator(".gl-user img")).to_be_visible()
    expect(chat.locator(".gl-foot")).to_contain_text("token")
    chat.get_by_test_id("tint").select_option("probability")
    answer.locator(".gl-token").first.hover()
    expect(chat.get_by_role("tooltip")).to_contain_text("%")
    expect(chat.locator(".gl-row")).to_have_count(5)
    expect(chat.locator(".gl-chosen")).to_be_visible()
    book.shot("chat-digit")
    book.theme("JupyterLab Dark")
    answer.locator(".gl-token").first.hover()
    book.shot("chat-digit-dark")
    # What the widget shows is what the model says without it.
    book.run(1)
    expect(book.page.locator(".jp-OutputArea-output pre").last).to_have_text("True True")
    ask(chat, "Which digit is in the picture?")
    settled(chat, 2)
    expect(chat.locator(".gl-model > .gl-tokens").last).to_have_text("4")
    ask(chat, "Write 7 in German words.")  # about something else, in the same conversation
    settled(chat, 3)
    expect(chat.locator(".gl-model > .gl-tokens").last).to_have_text("sieben")
    book.check_quiet()


def test_scripts_errors_themes_and_widths(open_notebook: Callable[..., Notebook]) -> None:
    book = open_notebook(SCRIPTED + "\nchat = Chat(demo_lab())\nchat")
    book.run_all()
    chat = book.page.locator(".gl-chat")
    expect(chat).to_be_visible(timeout=60_000)
    book.shot("scripted-empty")
    chat.get_by_test_id("file").set_input_files(str(data_path("media/digits/7.png")))
    expect(chat.locator(".gl-thumb img")).to_be_visible()
    chat.get_by_label("Your prompt").fill("What digit is in the picture?")
    book.shot("scripted-draft", chat)
    chat.get_by_label("Your prompt").press("Enter")
    settled(chat, 1)
    expect(chat.locator("details.gl-thought")).not_to_have_attribute("open", re.compile(".*"))
    chat.get_by_test_id("tint").select_option("probability")
    expect(chat.locator(".gl-legend")).to_be_visible()
    chat.locator(".gl-token", has_text="7").hover()
    expect(chat.locator(".gl-chosen")).to_contain_text("65.7 %")
    book.shot("scripted-hover")

    ask(chat, "اكتب جملة عن العدد سبعة")
    settled(chat, 2)
    arabic = chat.locator(".gl-model > .gl-tokens").nth(1)
    assert arabic.evaluate("e => getComputedStyle(e).direction") == "rtl"
    first, last = (
        arabic.locator(".gl-token").first.bounding_box(),
        arabic.locator(".gl-token").nth(6).bounding_box(),
    )
    assert first["x"] > last["x"]  # the first word stands on the right

    ask(chat, "Something far too long")
    settled(chat, 3)
    expect(chat.locator(".gl-failed")).to_contain_text("214 too many")
    expect(chat.get_by_label("Your prompt")).to_have_value("Something far too long")  # the draft came back
    ask(chat, "Seven in other scripts?")
    settled(chat, 4)
    book.shot("scripted-failed", chat)
    chat.get_by_test_id("settings").click()
    book.page.set_viewport_size({"width": 1280, "height": 1150})
    book.shot("scripted-settings", chat)
    book.theme("JupyterLab Dark")
    book.shot("scripted-settings-dark", chat)
    chat.get_by_test_id("settings").click()
    chat.locator(".gl-log").evaluate("e => e.scrollTop = 0")
    chat.locator(".gl-token", has_text="7").hover()
    book.shot("scripted-dark", chat)
    chat.evaluate("e => e.style.width = '400px'")
    book.shot("scripted-narrow-dark", chat)
    book.theme("JupyterLab Light")
    chat.get_by_test_id("settings").click()
    book.shot("scripted-narrow", chat)
    assert chat.evaluate("e => e.scrollWidth <= e.clientWidth")
    book.check_quiet()


def test_hostile_text_stays_text(open_notebook: Callable[..., Notebook]) -> None:
    book = open_notebook(
        SCRIPTED
        + f"hostile = {HOSTILE!r}\n"
        + "lab = ScriptedLab([[token(t, -1.0) for t in hostile], [ValueError(hostile[0])]], name=hostile[0])\n"
        + "chat = Chat(lab)\ndisplay(chat, chat)"
    )
    book.run_all()
    chat = book.page.locator(".gl-chat").first
    expect(chat).to_be_visible(timeout=60_000)
    expect(book.page.locator(".gl-chat")).to_have_count(2)
    ask(chat, HOSTILE[0])
    settled(chat, 1)
    for view in book.page.locator(".gl-chat").all():
        assert view.locator(".gl-model img, .gl-user img, script, style").count() == 0
        assert view.locator(".gl-bubble").text_content() == HOSTILE[0]
        assert view.locator(".gl-model > .gl-tokens").text_content() == "".join(HOSTILE)
        assert view.locator(".gl-name").text_content() == HOSTILE[0]
        assert view.locator(".gl-control").count() == 5
        assert view.evaluate("e => e.scrollWidth <= e.clientWidth")
    # An override ends with itself: what follows it is still laid out from left to right.
    letters = chat.locator(".gl-token", has_text="evil").evaluate(FIRST_AND_LAST_LETTER)
    assert letters[0] < letters[1]
    chat.locator(".gl-token", has_text="evil").hover()
    expect(chat.get_by_role("tooltip")).to_contain_text("<b>other</b>")
    assert chat.get_by_role("tooltip").locator("b").count() == 0
    book.shot("hostile", chat)
    ask(chat, "fail")
    settled(chat, 2)
    expect(chat.locator(".gl-failed")).to_contain_text("ValueError: <img src=x onerror=alert(1)>")
    assert chat.locator(".gl-failed img").count() == 0
    book.check_quiet()


def test_keyboard_stop_settings_and_new_conversation(open_notebook: Callable[..., Notebook]) -> None:
    book = open_notebook(
        SCRIPTED
        + "scripts = [words(*['go '] * 2000), words('one ', 'two ', 'three'), words(*['on '] * 2000)]\n"
        + "chat = Chat(ScriptedLab(scripts, pause=.01))\nchat",
        "print(chat.replies[0].finish_reason, chat.settings['temperature'], chat.settings['top_k'])",
    )
    book.run(0)
    chat = book.page.locator(".gl-chat")
    expect(chat).to_be_visible(timeout=60_000)
    field = chat.get_by_label("Your prompt")
    field.click()
    field.press_sequentially("first line")
    field.press("Shift+Enter")
    field.press_sequentially("second line")
    assert field.input_value() == "first line\nsecond line"
    chat.get_by_test_id("settings").click()
    chat.get_by_label("Temperature").fill("0.5")
    chat.get_by_label("Top-k").fill("10")
    chat.get_by_test_id("settings").click()
    field.press("Enter")
    expect(
        chat.locator(".gl-live .gl-token").nth(20)
    ).to_be_attached()  # text arrives while it is being written
    expect(chat.get_by_test_id("stop")).to_be_visible()
    chat.get_by_test_id("stop").click()
    settled(chat, 1)
    expect(chat.locator(".gl-foot")).to_contain_text("stopped")
    assert 20 < chat.locator(".gl-token").count() < 2000
    book.run(1)
    expect(book.page.locator(".jp-OutputArea-output pre").last).to_have_text("stopped 0.5 10")

    chat.get_by_test_id("again").click()
    expect(chat.locator(".gl-model > .gl-tokens")).to_have_text("one two three")
    settled(chat, 1)
    chat.locator(".gl-token").first.focus()
    book.page.keyboard.press("ArrowRight")
    expect(chat.locator(".gl-token").nth(1)).to_be_focused()
    expect(chat.get_by_role("tooltip")).to_contain_text("two")
    book.page.keyboard.press("End")
    expect(chat.get_by_role("tooltip")).to_contain_text("three")
    book.page.keyboard.press("Escape")
    expect(chat.get_by_role("tooltip")).to_be_hidden()
    ask(chat, "again, long")
    expect(chat.locator(".gl-live .gl-token").nth(20)).to_be_attached()
    field.press("Escape")  # the keyboard stops it too
    settled(chat, 2)
    expect(chat.locator(".gl-foot").last).to_contain_text("stopped")
    chat.get_by_test_id("clear").click()
    expect(chat.locator(".gl-turn")).to_have_count(0)
    expect(chat.locator(".gl-empty")).to_be_visible()
    book.check_quiet()


def test_a_bad_picture_is_refused_calmly(open_notebook: Callable[..., Notebook]) -> None:
    book = open_notebook(SCRIPTED + "chat = Chat(ScriptedLab([words('fine')]))\nchat")
    book.run_all()
    chat = book.page.locator(".gl-chat")
    expect(chat).to_be_visible(timeout=60_000)
    chat.get_by_test_id("file").set_input_files(
        {"name": "broken.png", "mimeType": "image/png", "buffer": b"not a picture"}
    )
    expect(chat.get_by_role("alert")).to_contain_text("broken.png")
    expect(chat.locator(".gl-thumb")).to_have_count(0)
    book.shot("bad-picture", chat)
    # Four megabytes travel in parts and arrive whole; a drop works as the chooser does.
    book.page.evaluate(DROP_NOISE)
    expect(chat.locator(".gl-thumb")).to_contain_text("1200 × 1200")
    chat.get_by_label("Remove noise.png").click()
    expect(chat.locator(".gl-thumb")).to_have_count(0)
    book.check_quiet()


def test_a_video_and_a_sound_are_previewed_played_and_sent(open_notebook: Callable[..., Notebook]) -> None:
    book = open_notebook(
        SCRIPTED + "everything = frozenset({'text', 'image', 'video', 'audio'})\n"
        "lab = ScriptedLab([words('A', ' square')] * 2, modalities=everything)\nchat = Chat(lab)\nchat",
        "call = lab.calls[0]\nprint(call['video'], call['audio'], len(call['images']))",
    )
    book.run(0)
    chat = book.page.locator(".gl-chat")
    expect(chat).to_be_visible(timeout=60_000)
    expect(chat).to_contain_text("drop an image, a video or an audio clip here")
    tone = (np.sin(np.arange(48_000) / 20) * np.linspace(0, 0.9, 48_000), 48_000)
    files = [
        {"name": "square.webm", "mimeType": "video/webm", "buffer": moving_square()},
        {"name": "tone.wav", "mimeType": "audio/wav", "buffer": load_audio(tone).wav()},
    ]
    chat.get_by_test_id("file").set_input_files(files)
    expect(chat.locator(".gl-thumb:not(.gl-reading)")).to_have_count(2)
    expect(chat.locator(".gl-thumb.gl-video")).to_contain_text("20 frames")
    expect(chat.locator(".gl-thumb.gl-audio")).to_contain_text("1.0 s")
    book.shot("media-draft", chat)
    ask(chat, "What moves?")
    settled(chat, 1)
    film = chat.get_by_test_id("film")
    expect(film.locator("img")).to_have_count(16)
    expect(film.locator("figcaption").nth(1)).to_have_text("0:00.1")
    expect(film).to_have_attribute("aria-label", re.compile("square.webm · 20 of 20 frames"))
    assert film.locator("img").first.evaluate("image => image.naturalWidth") == 96
    left = "e => e.getBoundingClientRect().left"
    assert film.evaluate(left) >= chat.evaluate(left)  # it scrolls in itself, from its first frame on
    assert film.evaluate("e => e.scrollWidth > e.clientWidth && e.scrollLeft === 0")
    recording = chat.get_by_test_id("sound")
    expect(recording.get_by_role("img", name="Waveform of tone.wav, 1.0 seconds")).to_be_visible()
    book.shot("media", chat)
    play = recording.get_by_role("button", name="Play tone.wav")
    play.focus()
    play.press("Enter")
    expect(play).to_have_attribute("aria-pressed", "true")
    expect(play).to_have_attribute("aria-pressed", "false", timeout=10_000)  # it came, played, and ended
    expect(chat.locator(".gl-notice")).to_be_hidden()
    book.theme("JupyterLab Dark")
    book.shot("media-dark", chat)
    book.run(1)
    said = book.page.locator(".jp-OutputArea-output pre").last
    expect(said).to_contain_text("Video(square.webm: 20 frames")
    expect(said).to_contain_text("Audio(tone.wav: 1.00 s")
    chat.get_by_test_id("file").set_input_files(
        {"name": "broken.mp4", "mimeType": "video/mp4", "buffer": b"not a video"}
    )
    expect(chat.locator(".gl-notice")).to_contain_text("broken.mp4")
    expect(chat.locator(".gl-thumb")).to_have_count(0)
    book.check_quiet()
