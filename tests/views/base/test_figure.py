"""The house style leaves nothing behind, and a picture shows itself."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from gemma_lab.views.base.figure import NEAR, OKABE_ITO, Plot, hide_frame, new_figure


def small() -> Plot:
    with new_figure(2.0, 1.0) as (figure, axes):
        axes.plot([0, 1], color=OKABE_ITO["blue"])
        hide_frame(axes, keep="bottom")
    return Plot(figure, text="a line from 0 to 1")


def test_matplotlib_is_left_as_it_was() -> None:
    before = dict(mpl.rcParams)
    small().png()
    assert dict(mpl.rcParams) == before


def test_a_picture_is_shown_as_png_on_a_light_ground_with_its_text() -> None:
    data, metadata = small()._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert data["text/plain"] == "Plot(a line from 0 to 1)"
    assert metadata["image/png"] == {
        "width": 192, "height": 96, "needs_background": "light", "alt": "a line from 0 to 1"
    }  # fmt: skip


def test_the_card_is_white_and_has_no_date(tmp_path: Path) -> None:
    from PIL import Image

    path = small().save(tmp_path / "line.png")
    picture = Image.open(path)
    assert picture.size == (288, 144)
    assert picture.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)
    assert "Software" not in picture.info


def test_only_the_named_sides_stay() -> None:
    (axes,) = small().figure.axes
    assert [side for side, spine in axes.spines.items() if spine.get_visible()] == ["bottom"]


@pytest.mark.parametrize("photograph", [False, True])
def test_small_marks_keep_their_colours_beside_a_photograph(photograph) -> None:
    shades = np.full((24, 32, 3), 255)
    if photograph:
        down, across = np.mgrid[0:24, 0:32]
        shades = np.stack([60 + 7 * down, 90 + 4 * across, 220 - 5 * down], axis=-1)
    colours = list(OKABE_ITO.values())
    with new_figure(4, 3) as (figure, axes):
        axes.imshow(np.kron(shades, np.ones((8, 8, 1))).astype(np.uint8), extent=(0, 32, 24, 0))
        for place, colour in enumerate(colours):
            axes.plot(2 + 3 * place, 5, "s", ms=7, color=colour)
    drawn = Plot(figure, text="marks").png()
    with Image.open(io.BytesIO(drawn)) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    for colour in colours:
        wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        near = np.abs(pixels - wanted).max(axis=1) <= NEAR
        assert near.sum() > 100, colour
