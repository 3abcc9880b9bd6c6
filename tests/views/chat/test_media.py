"""Frames with their times, and waveforms: the right numbers, escaped, without a script."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.views.chat.media import clock, frame_strip, peaks, waveform


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00.0"), (0.55, "0:00.6"), (59.97, "1:00.0"), (61.2, "1:01.2"), (3600, "60:00.0")],
)
def test_clock(seconds, shown):
    assert clock(seconds) == shown


def test_peaks_are_the_loudest_of_each_stretch():
    samples = np.zeros(1200, np.float32)
    samples[[5, 700, 1199]] = [0.5, -0.75, 1.8]
    assert peaks(samples, bars=12) == [0.5, 0, 0, 0, 0, 0, 0, 0.75, 0, 0, 0, 1.0]
    assert peaks(samples[:3], bars=12) == [0, 0, 0]
    assert len(peaks(samples)) == 120


def test_names_are_escaped_and_controls_shown():
    name = '"><script>x</script>\u202e'
    for html in (waveform([0.5, 1], label=name), frame_strip([("data:,", 1.5)], name=name)):
        assert "<script" not in html
        assert "\u202e" not in html
    assert "0:01.5" in frame_strip([("data:,", 1.5)], name="a")
    assert 'role="img"' in waveform([0.5], label="a")
