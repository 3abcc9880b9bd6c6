"""The house style leaves nothing behind, and a picture shows itself."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from gemma_lab.views.base.figure import OKABE_ITO, Plot, hide_frame, new_figure


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
