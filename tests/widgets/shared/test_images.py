from __future__ import annotations

import io

import pytest
from PIL import Image

from gemma_lab.widgets.shared.images import LONGEST, image_entry


@pytest.mark.parametrize(
    ("size", "sent"), [((LONGEST, 10), (LONGEST, 10)), ((4 * LONGEST, LONGEST), (LONGEST, LONGEST // 4))]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_an_image_is_sent_as_a_png_of_bounded_size(size, sent, mode) -> None:
    entry = image_entry(Image.new(mode, size))
    assert (entry["width"], entry["height"]) == size
    copy = Image.open(io.BytesIO(entry["bytes"]))
    assert (copy.format, copy.size, copy.mode) == ("PNG", sent, "RGB")
