"""The picture of failures: media on the left, what was asked, right and said beside them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from gemma_lab.evals.questions import Question
from gemma_lab.evals.report import Checkup, GradedAnswer
from gemma_lab.views.evals.failures import failures_figure


def _png(colour):
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def checkup():
    sound = io.BytesIO()
    soundfile.write(sound, np.sin(np.arange(8000) / 9) * 0.3, 16_000, format="FLAC")
    asked = [
        Question("scenes", "colour", "Which colour?", "red", images=(_png("red"), _png("blue"))),
        Question("motion", "", "Which way?", "left", frames=(_png("red"),) * 5, fps=2.0),
        Question("speech", "ar", "Which digits?", "4 7", sound=sound.getvalue()),
        Question("tools", "call", "Weather in Rome?", "", call={"name": "w", "arguments": {"city": "Rome"}}),
        Question("names", "ar", "What is “Germany” in Arabic?", "ألمانيا"),
    ]
    answers = [GradedAnswer(q, "<script>$x^{2$ 📷", False) for q in asked] + [
        GradedAnswer(asked[0], "red", True)
    ]
    return Checkup("toy", answers, not_asked={})


def test_every_failure_has_a_row_with_its_media(checkup):
    picture = failures_figure(checkup)
    axes = picture.figure.axes
    assert len(axes) == 10
    assert [len(one.images) for one in axes[::2]] == [2, 5, 0, 0, 0]
    assert [len(one.lines) for one in axes[::2]] == [0, 0, 1, 0, 0]
    assert [text.get_text() for text in axes[2].texts] == ["0.0 s", "0.5 s", "1.0 s", "1.5 s", "2.0 s"]
    assert axes[4].get_title(loc="left") == "sound, 0.5 s"
    assert "right: w(city='Rome')" in [text.get_text() for text in axes[7].texts]
    assert picture.png().startswith(b"\x89PNG")


def test_the_text_has_it_all(checkup):
    text = failures_figure(checkup).text
    assert text.startswith("toy: 5 of 6")
    assert "ألمانيا" in text
    assert "<script>$x^{2$ 📷" in text


def test_few_are_shown_and_none_is_no_error(checkup):
    one_each = Checkup("toy", list(checkup.answers) * 3, not_asked={})
    assert len(failures_figure(one_each, limit=2).figure.axes) == 10  # one of every skill at least
    fine = Checkup("toy", [], not_asked={})
    assert failures_figure(fine).text.startswith("toy: 0 of 0")
    assert failures_figure(fine).png()
