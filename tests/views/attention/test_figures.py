from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from support.attention_traces import arabic, picture, text

from gemma_lab.analysis.attention.rows import image_patches
from gemma_lab.errors import LabError
from gemma_lab.views.attention.figures import (
    all_heads_image,
    attention_heads_figure,
    attention_map_figure,
    attention_text,
    describe_kv_sharing,
    describe_layer,
    draw_image_attention,
    image_attention_figure,
)


def test_a_head_is_said_in_one_stable_line() -> None:
    trace = text(300, shared=2)
    line = attention_text(trace, layer=5, head=2)
    assert line == attention_text(text(300, shared=2), layer=5, head=2)
    assert "layer 5 (global), head 2: 300 tokens" in line
    first = trace.attention.first_token_mass(5)[2, 1:].mean()
    assert f"{first:.0%} on the first token" in line
    assert "pooled to 128 bins" in line


def test_layers_say_their_kind_their_window_and_whose_keys_they_use() -> None:
    looks = text(60, layers=12, shared=3).attention
    assert describe_layer(looks.layout(0)) == "local, window 24"
    assert describe_layer(looks.layout(9)) == "local, window 24, keys of layer 8"
    assert describe_layer(looks.layout(11)) == "global, keys of layer 5"
    assert describe_kv_sharing(looks) == "; 9 to 11 reuse the keys of 5 and 8"
    assert describe_kv_sharing(text(60).attention) == ""


def test_all_heads_stand_in_one_picture_with_their_sinks_beside_them() -> None:
    looks = text(60).attention
    sheet = all_heads_image(looks)
    assert sheet.shape == (4 * 40, 6 * 40, 3)
    for row, layer in enumerate((0, 5)):
        tile = sheet[40:80, 40 * (5 * row) : 40 * (5 * row) + 40]
        orange = (tile == (230, 159, 0)).all(-1)[:, 1].sum()
        assert orange == round(35 * looks.pooled(layer)[1, :, 0].mean())
        assert (tile[2, 30] == (244, 246, 248)).all()  # the future is empty
    figure = attention_heads_figure(text(60))
    assert "maps of 6 layers (5 local, 1 global) × 4 heads" in figure.text
    assert figure.png() == attention_heads_figure(text(60)).png()


def test_one_map_names_its_edges_where_there_is_room() -> None:
    few, many = (
        attention_map_figure(arabic(), layer=5, head=0),
        attention_map_figure(text(300), layer=5, head=0),
    )
    names = [tick.get_text() for tick in few.figure.axes[0].get_yticklabels()]
    assert (len(names), names[2]) == (39, "user")
    assert [tick.get_text() for tick in many.figure.axes[0].get_yticklabels()][-1] != "␣the"
    assert "39 tokens" in few.text
    strip = few.figure.axes[0].patches
    sink = arabic().attention.pooled(5)[0, :, 0]
    np.testing.assert_allclose([bar.get_width() for bar in strip], sink, rtol=1e-6)


def test_patches_are_tinted_by_what_a_token_gives_them() -> None:
    trace = picture()
    figure = image_attention_figure(trace, layer=5, query=200, head=1)
    assert "layer 5, head 1" in figure.text
    assert "token 200" in figure.text
    patches = image_patches(trace, 0)
    weights = np.zeros(len(patches), dtype=np.float32)
    weights[17] = 1.0  # second row, second column
    shown = np.asarray(draw_image_attention(trace, patches, weights, 0), dtype=int)
    plain = np.asarray(trace.images[0].convert("RGB").resize((420, 315)), dtype=int)
    side = 420 / 16
    middle = (round(1.5 * side), round(1.5 * side))
    assert abs(shown[middle] - plain[middle]).sum() > 150
    grey = Image.Image.getpixel(
        draw_image_attention(picture_without_pixels(), patches, weights, 0), (400, 300)
    )
    assert grey == pytest.approx((235, 237, 239), abs=6)
    with pytest.raises(LabError, match="no image 3"):
        image_attention_figure(trace, layer=5, query=200, image=3)


def picture_without_pixels():
    import dataclasses

    return dataclasses.replace(picture(), images=())
