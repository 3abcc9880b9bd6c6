"""The filters that raw patches and raw frames are projected with at first."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.minis.input_filters import frame_filters, patch_filters


def test_patch_filters_are_orthonormal_and_begin_with_brightness_and_two_differences_of_colour():
    filters = patch_filters(128, 6912)
    np.testing.assert_allclose(filters @ filters.T, np.eye(128), atol=1e-5)
    grey, red = np.full((48, 48, 3), 0.5), np.zeros((48, 48, 3))
    red[..., 0] = 1
    seen = filters[:3] @ np.stack([grey.ravel(), red.ravel()], axis=1)
    assert np.allclose(seen[1:, 0], 0, atol=1e-4)
    assert seen[0, 0] > 1
    assert seen[1, 1] > 1


def test_patch_filters_keep_a_smooth_patch():
    y, x = np.mgrid[:48, :48] / 48
    smooth = np.stack([y, x, (x + y) / 2], axis=-1).ravel()
    filters = patch_filters(128, 6912)
    kept = filters.T @ (filters @ smooth)
    assert np.linalg.norm(smooth - kept) < 0.05 * np.linalg.norm(smooth)


@pytest.mark.parametrize("hertz", [300.0, 1000.0, 3000.0])
def test_energies_of_frame_filters_name_the_frequency_whatever_its_phase(hertz):
    filters = frame_filters(128, 640)
    assert np.allclose(np.linalg.norm(filters, axis=1), 1, atol=1e-5)
    time = np.arange(640) / 16_000
    found, energies = set(), []
    for phase in np.linspace(0, 2 * np.pi, 8, endpoint=False):
        pairs = (filters @ np.sin(2 * np.pi * hertz * time + phase)).reshape(2, 32, 2)
        energy = np.square(pairs).sum(-1)
        found |= {int(half.argmax()) for half in energy}
        energies.append(energy.max(1))
    edges = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([100, 6500]) / 700)), 33) / 2595) - 1)
    band = int(np.searchsorted(edges, hertz)) - 1
    assert found <= {band - 1, band, band + 1}
    assert np.std(energies) < 0.1 * np.mean(energies)


def test_the_halves_of_a_frame_are_told_apart():
    filters = frame_filters(128, 640)
    burst = np.zeros(640)
    burst[:200] = np.sin(2 * np.pi * 1000 * np.arange(200) / 16_000)
    first, second = np.square(filters @ burst).reshape(2, 64).sum(1)
    assert first > 20 * second
