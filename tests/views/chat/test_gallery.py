"""Every question stands over its pictures, and a wrong answer beside the right one."""

from __future__ import annotations

from PIL import Image

from gemma_lab.views.base.figure import OKABE_ITO
from gemma_lab.views.chat.gallery import gallery_figure


def test_pictures_questions_and_answers_stand_together():
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    picture = gallery_figure(
        [[red], [red, blue]], prompts=["What colour?", "Which costs $5 more, " + "really " * 20],
        replies=["Red", "first"], answers=["red", "second"], correct=[True, False],
    )  # fmt: skip
    one, two = picture.figure.axes
    assert (len(one.images), len(two.images)) == (1, 2)
    assert one.get_title(loc="left") == "What colour?"
    assert "\\$5" in two.get_title(loc="left")
    assert two.get_title(loc="left").endswith("…")
    told = [(axes.texts[0].get_text(), axes.texts[0].get_color()) for axes in (one, two)]
    assert told == [("Red", OKABE_ITO["blue"]), ("first   (right: second)", OKABE_ITO["vermillion"])]
    assert picture.text.startswith("1 of 2")
    assert "first for second" in picture.text
    assert picture.png()[:4] == b"\x89PNG"
