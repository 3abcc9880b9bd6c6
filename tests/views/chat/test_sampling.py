"""The sampling view: one table as HTML, text and figure."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.models.chat.sampling import Sampling
from gemma_lab.views.chat.sampling import sampling_figure, sampling_html, sampling_text


class Fake:
    """A distribution over seven tokens, without a model."""

    def __init__(self):
        from gemma_lab.models.chat.reply import Alternative

        self.model, self.entropy = "m", 1.0
        self.words = ["sieben", " vier", "<b>", "سبعة", "七", "\n", "x"]
        weights = np.array([0.5, 0.2, 0.1, 0.1, 0.05, 0.03, 0.02])
        self.logprobs = np.log(weights)
        self._make = Alternative

    def top(self, count):
        return [self._make(i, word, float(self.logprobs[i])) for i, word in enumerate(self.words[:count])]

    def probabilities(self, sampling=None):
        return np.exp(self.logprobs) if sampling is None else sampling.probabilities(self.logprobs)


CHOICES = {"cold": Sampling(0.5, 1.0, 0), "top-k 2": Sampling(1.0, 1.0, 2)}


def test_text_has_every_number():
    lines = sampling_text(Fake(), CHOICES, count=3).splitlines()
    assert lines[0].split() == ["next", "token", "model", "cold", "top-k", "2"]
    assert lines[1].split() == ["sieben", "50", "%", "80", "%", "71", "%"]
    assert lines[3].split() == ["<b>", "10", "%", "3.2", "%", "–"]


def test_html_is_escaped():
    html = sampling_html(Fake(), CHOICES)
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    assert "سبعة" in html


def test_figure_shows_what_is_drawn_and_what_is_cut(recwarn):
    picture = sampling_figure(Fake(), CHOICES, count=7)
    cold, cut = picture.figure.axes
    assert [cold.get_title(loc="left"), cut.get_title(loc="left")] == ["cold", "top-k 2"]
    assert [bar.get_width() for bar in cut.patches[:7]] == pytest.approx([5 / 7, 2 / 7, 0, 0, 0, 0, 0])
    assert list(cut.lines[0].get_ydata()) == [2, 3, 4, 5, 6]
    labels = [label.get_text() for label in cold.get_yticklabels()]
    assert labels == ["sieben", "␣vier", "<b>", "#3", "#4", "↵", "x"]
    assert picture.png().startswith(b"\x89PNG")
    assert not list(recwarn)  # no missing glyph, no layout that collapsed
    assert "7 tokens, 2 samplings" in repr(picture)
