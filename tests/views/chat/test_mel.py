"""A sound's figure shows what was heard."""

from __future__ import annotations

import numpy as np

from gemma_lab.views.chat.mel import mel_spectrogram_figure


def test_the_waveform_and_its_frames_share_one_time_axis():
    rate = 16_000
    samples = 0.5 * np.sin(np.arange(rate) / 20)
    frames = np.random.default_rng(0).normal(size=(99, 128))
    picture = mel_spectrogram_figure(samples, frames, rate=rate, soft_tokens=25, name="a tone")
    top, below = picture.figure.axes[:2]
    assert top.get_xlim() == below.get_xlim() == (0, 1)
    assert len(below.lines) == 24  # borders between 25 soft tokens
    assert below.images[0].get_array().shape == (128, 99)
    low, high = (path.vertices[:, 1] for path in [top.collections[0].get_paths()[0]] * 2)
    assert abs(low.min() + 0.5) < 0.01
    assert abs(high.max() - 0.5) < 0.01
    assert picture.text == "a tone: 1.00 s as 99 mel frames and 25 soft tokens."


def test_raw_frames_are_drawn_as_samples_and_one_soft_token_each():
    rate = 16_000
    samples = (0.5 * np.sin(np.arange(rate) / 20)).astype(np.float32)
    frames = np.zeros(26 * 640, dtype=np.float32)
    frames[:rate] = samples
    frames = frames.reshape(26, 640)[:25]
    picture = mel_spectrogram_figure(samples, frames, rate=rate, name="a tone")
    below = picture.figure.axes[1]
    np.testing.assert_allclose(below.images[0].get_array(), frames.T)
    low, high = below.images[0].get_clim()
    assert low == -high < 0
    assert [line.get_xdata()[0] for line in below.lines] == [0.04 * border for border in range(1, 25)]
    assert below.get_ylim() == (0, 40)
    assert picture.text == "a tone: 1.00 s as 25 raw frames of 640 samples and 25 soft tokens."


def test_four_mel_frames_are_a_soft_token_unless_the_number_is_given():
    picture = mel_spectrogram_figure(np.zeros(16_000), np.ones((99, 128)), rate=16_000)
    assert picture.text.endswith("99 mel frames and 25 soft tokens.")
