"""Soft tokens in their media, held against the real processors and the real pooler."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from support import shapes
from transformers.video_utils import VideoMetadata

from gemma_lab.errors import BadTrace
from gemma_lab.models.tokens.media_positions import Images, Videos, grid_boxes, locate_media, runs_of

SIZES = [(640, 480), (480, 640), (1000, 100), (60, 900), (333, 217), (48, 48), (20, 11)]


def gradient(width, height):
    """A picture that says where each of its pixels is: red from left to right, green from top to bottom."""
    x = (np.arange(width) + 0.5) / width * 255
    y = (np.arange(height) + 0.5) / height * 255
    pixels = np.zeros((height, width, 3))
    pixels[..., 0], pixels[..., 1] = x[None, :], y[:, None]
    return Image.fromarray(np.round(pixels).astype(np.uint8))


@pytest.fixture(scope="module")
def pooler():
    return shapes.tiny_model("26B-A4B").model.vision_tower.pooler


def means(processor, pooler, outputs):
    """Return, for each picture, the mean red and green (0 to 1) that each of its soft tokens is made of."""
    found = []
    pixels, positions = outputs["pixel_values"], outputs["image_position_ids"]
    for patches, places in zip(pixels, positions, strict=True):
        if patches.shape[-1] == 48 * 48 * 3:  # the 12B: merged by its processor, taken as listed
            valid = (places != -1).all(-1)
            found.append(patches[valid].reshape(int(valid.sum()), -1, 3).mean(1)[:, :2].numpy())
            continue
        padding = (places == -1).all(-1)
        colours = patches.reshape(len(patches), -1, 3).mean(1)
        pooled, mask = pooler(
            hidden_states=colours[None], pixel_position_ids=places[None], padding_positions=padding[None],
            output_length=len(patches) // processor.image_processor.pooling_kernel_size**2,
        )  # fmt: skip
        found.append((pooled / pooler.root_hidden_size)[mask][:, :2].detach().numpy())
    return found


@pytest.mark.parametrize("size", ["26B-A4B", "12B"])
def test_boxes_are_where_the_models_own_pooling_takes_each_token_from(size, pooler):
    processor = shapes.tiny_processor(size)
    pictures = [gradient(*wh) for wh in SIZES]
    text = "<|image|>" * len(pictures)
    outputs = processor(text=[text], images=[pictures], return_tensors="pt")
    soft = [
        stop - start for start, stop in runs_of((outputs["input_ids"][0] == processor.image_token_id).numpy())
    ]
    assert len(soft) == len(pictures)
    for wh, count, places, colours in zip(
        SIZES, soft, outputs["image_position_ids"], means(processor, pooler, outputs), strict=True
    ):
        assert (places == -1).any(), "these pictures are to have padding"
        boxes = grid_boxes(places.numpy(), soft_tokens=count, size=wh)
        assert boxes.shape == (count, 4)
        assert len(colours) == count
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / wh
        cell = (boxes[:, 2:] - boxes[:, :2]).max(axis=0) / wh
        # within a third of a cell, besides half a pixel of rounding and a grey level
        assert (np.abs(centres - colours) <= cell / 3 + 0.5 / np.array(wh) + 1 / 255).all()


@pytest.mark.parametrize("wh", SIZES)
def test_boxes_tile_the_picture_without_gap_or_overlap(wh):
    processor = shapes.tiny_processor("26B-A4B")
    outputs = processor(text=["<|image|>"], images=[gradient(*wh)], return_tensors="np")
    boxes = grid_boxes(
        outputs["image_position_ids"][0],
        soft_tokens=int((outputs["input_ids"] == processor.image_token_id).sum()),
        size=wh,
    )
    if wh == (20, 11):  # fewer pixels than rows of tokens are wide: at least one pixel each
        assert (boxes[:, 2:] > boxes[:, :2]).all()
    covered = np.zeros((wh[1], wh[0]), dtype=int)
    for x0, y0, x1, y1 in boxes:
        covered[y0:y1, x0:x1] += 1
    assert (covered == 1).all()


def test_a_picture_of_fewer_pixels_than_tokens_gives_each_at_least_one():
    grid = np.stack(np.meshgrid(np.arange(9), np.arange(3)), axis=-1).reshape(-1, 2)
    boxes = grid_boxes(grid, soft_tokens=27, size=(4, 2))
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert boxes.min() == 0
    assert (boxes.max(axis=0)[2:] == [4, 2]).all()


def test_shuffled_patches_of_a_pooled_picture_have_the_same_boxes():
    grid = np.stack(np.meshgrid(np.arange(6), np.arange(3)), axis=-1).reshape(-1, 2)
    expected = [[0, 0, 50, 40], [50, 0, 100, 40]]
    assert grid_boxes(grid, soft_tokens=2, size=(100, 40)).tolist() == expected
    shuffled = np.concatenate([grid[::-1], np.full((9, 2), -1)])
    assert grid_boxes(shuffled, soft_tokens=2, size=(100, 40)).tolist() == expected


@pytest.mark.parametrize("soft", [0, 1, 3, 7])
def test_patches_that_do_not_make_the_tokens_are_refused(soft):
    grid = np.stack(np.meshgrid(np.arange(6), np.arange(3)), axis=-1).reshape(-1, 2)
    with pytest.raises(BadTrace, match=f"18 patches and {soft} soft"):
        grid_boxes(grid, soft_tokens=soft, size=(100, 40))


def test_patches_that_leave_a_hole_are_refused():
    grid = np.array([[0, 0], [1, 0], [0, 1], [2, 1]])
    with pytest.raises(BadTrace, match="3 × 2 blocks"):
        grid_boxes(grid, soft_tokens=4, size=(100, 40))


def kinds(processor, outputs):
    names = {
        processor.image_token_id: "image",
        processor.video_token_id: "video",
        processor.audio_token_id: "audio",
    }
    column = np.array([names.get(index, "text") for index in outputs["input_ids"][0].tolist()], dtype=object)
    tokenizer = processor.tokenizer
    texts = [
        tokenizer.decode([index], skip_special_tokens=True) for index in outputs["input_ids"][0].tolist()
    ]
    return column, texts


@pytest.mark.parametrize("size", ["26B-A4B", "12B"])
def test_frames_of_two_videos_with_their_times_and_boxes(size):
    processor = shapes.tiny_processor(size)
    videos = [np.zeros((8, 96, 192, 3), np.uint8), np.zeros((40, 200, 100, 3), np.uint8)]
    metadata = [
        VideoMetadata(8, fps=2.0, width=192, height=96),
        VideoMetadata(40, fps=0.5, width=100, height=200),
    ]
    outputs = processor(
        text=["a <|video|> b <|video|>"], videos=videos, video_metadata=metadata, return_metadata=True,
        return_tensors="np",
    )  # fmt: skip
    column, texts = kinds(processor, outputs)
    videos = Videos.of(outputs)  # the shapes differ between releases of transformers
    counts, grid = videos.frames, videos.position_ids
    assert counts == [4, 4]
    stamps = [[float(second) for second in row.timestamps] for row in outputs["video_metadata"]]
    exact = locate_media(column, texts, videos=Videos(grid, counts, [(192, 96), (100, 200)], stamps))
    read = locate_media(column, texts, videos=Videos(grid, counts))
    for medium, (stamp, wh) in enumerate(zip(stamps, [(192, 96), (100, 200)], strict=True)):
        for frame, second in enumerate(stamp):
            mine = (exact.media_index == medium) & (exact.frames == frame)
            assert set(column[mine]) == {"video"}
            assert (exact.times[mine, 0] == round(second * 1000)).all()
            assert (read.times[mine, 0] == int(second) * 1000).all()  # the format writes whole seconds
            if frame + 1 < len(stamp):
                assert (exact.times[mine, 1] == round(stamp[frame + 1] * 1000)).all()
            boxes = exact.boxes[mine]
            assert ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)).sum() == wh[0] * wh[1]
    assert (exact.frames[column == "text"] == -1).all()
    assert (read.boxes == -1).all()
    assert stamps[1][-1] >= 60, "a time past a minute is to be read too"


def test_frames_without_any_word_of_them_are_numbered_as_one_video():
    column = np.array(["text", "video", "video", "special", "video"], dtype=object)
    places = locate_media(column, ["x", "", "", "", ""])
    assert places.frames.tolist() == [-1, 0, 0, -1, 1]
    assert places.media_index.tolist() == [-1, 0, 0, -1, 0]
    assert (places.times == -1).all()


@pytest.mark.parametrize("size", ["E2B", "12B"])
@pytest.mark.parametrize("seconds", [1.0, 2.5])
def test_sound_is_placed_in_steps_of_40_ms(size, seconds):
    processor = shapes.tiny_processor(size)
    sound = np.random.default_rng(0).normal(size=int(16_000 * seconds)).astype(np.float32)
    outputs = processor(text=["<|audio|> and <|audio|>"], audio=[sound, sound[:8000]], return_tensors="np")
    column, texts = kinds(processor, outputs)
    places = locate_media(column, texts, clips=2, audio_ms=processor.audio_ms_per_token)
    first, second = (places.times[places.media_index == clip] for clip in (0, 1))
    assert first[:2].tolist() == [[0, 40], [40, 80]]
    assert abs(first[-1, 1] - seconds * 1000) <= 40
    assert abs(second[-1, 1] - 500) <= 40
    assert (np.diff(first, axis=1) == 40).all()


def test_media_that_do_not_agree_are_refused():
    column = np.array(["image", "special", "image"], dtype=object)
    with pytest.raises(BadTrace, match="holds 2 images, but 1"):
        locate_media(column, [""] * 3, images=Images(np.zeros((1, 1, 2), int), [(10, 10)]))
    with pytest.raises(BadTrace, match="holds 2 images, but 3"):
        locate_media(column, [""] * 3, images=Images(None, [(10, 10)] * 3))
    with pytest.raises(BadTrace, match="holds 0 audio clips, but 1"):
        locate_media(column, [""] * 3, clips=1)
    with pytest.raises(BadTrace, match="holds 0 video frames, but 2"):
        locate_media(column, [""] * 3, videos=Videos(None, [2]))


def test_pictures_whose_size_is_not_known_are_only_numbered():
    column = np.array(["image", "special", "image"], dtype=object)
    places = locate_media(column, [""] * 3)
    assert places.media_index.tolist() == [0, -1, 1]
    assert (places.boxes == -1).all()


def test_runs_of():
    assert runs_of(np.array([1, 1, 0, 1, 0, 0, 1], bool)) == [(0, 2), (3, 4), (6, 7)]
    assert runs_of(np.zeros(0, bool)) == []
