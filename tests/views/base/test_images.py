"""Patches are coloured where they are."""

from __future__ import annotations

import numpy as np
from PIL import Image

from gemma_lab.views.base.images import colour_patches


def test_a_patch_covers_its_box():
    original = Image.new("RGB", (40, 20), "white")
    boxes = np.array([[0, 0, 20, 20]])
    drawn = np.asarray(colour_patches(original, boxes, [(255, 0, 0, 255)]))
    assert drawn.shape == (210, 420, 3)
    assert drawn[100, 100].tolist() == [255, 0, 0]
    assert drawn[100, 300].tolist() == [255, 255, 255]


def test_without_the_image_there_is_a_grey_sheet_of_its_size():
    drawn = colour_patches(None, np.array([[0, 0, 10, 20]]), [(0, 0, 0, 0)])
    assert drawn.size == (210, 420)
