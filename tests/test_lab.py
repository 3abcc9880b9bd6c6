from __future__ import annotations

from PIL import Image


def test_chat_and_stream_are_the_models_own(tiny_lab):
    lab = tiny_lab("31B")
    settings = {"images": [Image.new("RGB", (50, 50))], "system": "Be short.", "seed": 4, "max_new_tokens": 5}
    reply = lab.chat("Hi", **settings)
    assert lab.last_reply == reply
    with lab.stream("Hi", **settings) as stream:
        said = "".join(chunk.text for chunk in stream)
    assert said == reply.text == stream.reply.text
    assert len(reply.tokens) <= 5
