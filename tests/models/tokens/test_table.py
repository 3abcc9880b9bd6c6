"""The token table: exact text, who speaks, places, and the way to Arrow and back."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import numpy as np
import pytest
import regex
from PIL import Image
from support import shapes

from gemma_lab.assets import data_path
from gemma_lab.errors import BadTrace
from gemma_lab.evals.parallel_sentences import languages, sentences
from gemma_lab.models.tokens.kinds import MODALITIES
from gemma_lab.models.tokens.table import TokenTable


@pytest.fixture(scope="module")
def tokenizer():
    return shapes.tiny_tokenizer()


@pytest.fixture(scope="module", params=["tiny", "mini"])
def any_tokenizer(request, tokenizer):
    """Bytes and ASCII alone, and a trained vocabulary, which cuts words and characters where it likes."""
    if request.param == "tiny":
        return tokenizer
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(data_path("minis/mini-moe"))


def table(tokenizer, text, **options):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return TokenTable.build(ids, tokenizer=tokenizer, **options)


@pytest.fixture(scope="module")
def seen():
    """A conversation with two pictures, its processor and the processor's outputs."""
    processor = shapes.tiny_processor("26B-A4B")
    pictures = [Image.new("RGB", (300, 100)), Image.new("RGB", (97, 211))]
    parts = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "مرحبًا, wie geht's? 👩\u200d👧"}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=False
    )
    outputs = processor(text=[text], images=pictures, return_tensors="np")
    return processor, pictures, {name: np.asarray(value) for name, value in outputs.items()}


@pytest.fixture(scope="module")
def whole(seen):
    processor, pictures, outputs = seen
    prompt = outputs["input_ids"][0].tolist()
    answer = processor.tokenizer("Gut! 🇩🇪<turn|>", add_special_tokens=False)["input_ids"]
    return TokenTable.of(
        prompt + answer, processor=processor, prompt_length=len(prompt), inputs=outputs, images=pictures
    )


@pytest.mark.parametrize("language", languages(), ids=lambda language: language.code)
def test_twenty_languages_are_shown_whole(any_tokenizer, language):
    for text in sentences(language.code).values():
        rows = table(any_tokenizer, text)
        assert rows.shown == text == any_tokenizer.decode(rows.ids, skip_special_tokens=True)
        assert "\ufffd" not in rows.shown
        clusters = {match.span() for match in regex.finditer(r"\X", text)}
        edges = {edge for span in clusters for edge in span}
        assert set(rows.starts.tolist()) | set(rows.ends.tolist()) <= edges  # no character is ever cut
        for start, end, number in zip(rows.starts, rows.ends, rows.clusters, strict=True):
            assert "".join(rows.texts[rows.clusters == number]) == text[start:end]
        assert set(rows.directions) <= {language.direction, "neutral"}
        assert rows.shown == "".join(run.label for run in rows.runs())


@pytest.mark.parametrize(
    "text",
    [
        "👩\u200d👩\u200d👧\u200d👦🇻🇳👍🏽",
        "क्षत्रिय",
        "مُحَمَّدٌ",
        "שָׁלוֹם",
        "Vie\u0323\u0302t",
        "𠮷",
        "\u1112\u1161\u11ab",
        "  a\n\n b ",
        "",
    ],
)
def test_tricky_text_comes_back_exactly(any_tokenizer, text):
    rows = table(any_tokenizer, text)
    assert rows.shown == text == any_tokenizer.decode(rows.ids, skip_special_tokens=True)
    assert "".join(run.label for run in rows.runs()) == text


def test_tokens_of_one_character_share_its_cluster_and_its_span(tokenizer):
    rows = table(tokenizer, "aé🇩🇪")
    assert rows.texts.tolist() == ["a", "", "é", *[""] * 7, "🇩🇪"]
    assert rows.clusters.tolist() == [0, 1, 1, *[2] * 8]
    assert rows.starts.tolist() == [0, 1, 1, *[2] * 8]
    assert rows.ends.tolist() == [1, 2, 2, *[4] * 8]
    assert [run.label for run in rows.runs()] == ["a", "é", "🇩🇪"]


def test_script_and_direction_are_of_the_whole_character(tokenizer):
    rows = table(tokenizer, "aم1")
    assert rows.scripts.tolist() == ["Latn", "Arab", "Arab", "Zyyy"]
    assert rows.directions.tolist() == ["ltr", "rtl", "rtl", "neutral"]


def test_a_conversation_with_pictures(whole, seen):
    processor, pictures, outputs = seen
    assert whole.shown == processor.tokenizer.decode(whole.ids, skip_special_tokens=True)
    assert len(whole) == outputs["input_ids"].shape[1] + int(whole.generated.sum())
    assert whole.shown[whole.starts[whole.generated][0] :] == "Gut! 🇩🇪"
    assert (whole.ids[whole.modalities == "image"] == processor.image_token_id).all()
    for medium, picture in enumerate(pictures):
        boxes = whole.boxes[whole.media_index == medium]
        assert (boxes[:, 2:] - boxes[:, :2]).prod(axis=1).sum() == picture.width * picture.height
    assert (whole.boxes[whole.modalities != "image"] == -1).all()
    assert set(whole.roles[whole.generated]) == {"model"}
    assert set(whole.roles[whole.modalities == "image"]) == {"user"}
    said = whole.select((whole.modalities == "text") & (whole.roles == "user"))
    assert said.shown == "مرحبًا, wie geht's? 👩\u200d👧"
    labels = [run.label for run in whole.runs()]
    counts = [int((whole.media_index == medium).sum()) for medium in (0, 1)]
    assert [label for label in labels if "×" in label] == [f"image × {count}" for count in counts]
    assert repr(whole) == (
        f"TokenTable({len(whole)} tokens: {(whole.modalities == 'text').sum()} text, {sum(counts)} image, "
        f"{(whole.modalities == 'special').sum()} special; {whole.generated.sum()} generated)"
    )


def test_runs_cover_the_table_once(whole):
    runs = whole.runs()
    assert [run.start for run in runs] == [0, *(run.stop for run in runs[:-1])]
    assert runs[-1].stop == len(whole)
    assert all(run.label for run in runs)


def test_names_and_line_ends_of_the_format_are_special_but_shown(tokenizer):
    rows = table(tokenizer, "<|turn>user\nHi<turn|>\n")
    assert rows.shown == "user\nHi\n"
    assert rows.select(rows.modalities == "text").shown == "Hi"
    assert rows.pieces[0] == "<|turn>"
    assert rows.texts[0] == ""


def test_a_thought_that_the_prompt_leaves_open(tokenizer):
    prompt = tokenizer("<|turn>model\n<|channel>thought\n", add_special_tokens=False)["input_ids"]
    answer = tokenizer("Hm<channel|>Yes", add_special_tokens=False)["input_ids"]
    rows = TokenTable.build(prompt + answer, tokenizer=tokenizer, prompt_length=len(prompt))
    written = rows.select(rows.generated & (rows.modalities == "text"))
    assert written.roles.tolist() == ["thought"] * 2 + ["model"] * 3


def test_video_and_sound_through_the_processor():
    processor = shapes.tiny_processor("E2B")
    frames = np.zeros((8, 96, 192, 3), np.uint8)
    from transformers.video_utils import VideoMetadata

    outputs = processor(
        text=["<|video|><|audio|>"],
        videos=[frames],
        audio=[np.zeros(16_000, np.float32)],
        video_metadata=[VideoMetadata(8, fps=4.0, width=192, height=96)],
        return_metadata=True,
        return_tensors="np",
    )
    rows = TokenTable.of(outputs["input_ids"][0], processor=processor, inputs=outputs)
    film, sound = rows.modalities == "video", rows.modalities == "audio"
    assert sorted(set(rows.frames[film].tolist())) == [0, 1, 2, 3]
    assert sorted(set(rows.times[film, 0].tolist())) == [
        round(250 * int(index)) for index in outputs["video_metadata"][0]["frames_indices"]
    ]
    assert (rows.boxes[film] >= 0).all()
    assert rows.times[sound][0].tolist() == [0, 40]
    assert rows.times[sound][-1, 1] == 40 * sound.sum() == 1000
    assert [run.label for run in rows.runs()].count(f"audio × {sound.sum()}") == 1


def test_a_placeholder_that_the_model_writes_stands_for_no_picture(seen):
    processor, pictures, outputs = seen
    prompt = outputs["input_ids"][0].tolist()
    options = {"prompt_length": len(prompt), "inputs": outputs, "images": pictures}
    rows = TokenTable.of([*prompt, processor.image_token_id], processor=processor, **options)
    assert rows.modalities[-1] == "special"
    assert rows.media_index[-1] == -1
    assert [run.label for run in rows.runs()][-1] == "<|image|>"


def test_any_ids_at_all(tokenizer):
    draw = random.Random(5)
    for _ in range(100):
        ids = [draw.randrange(520) for _ in range(draw.randrange(80))]
        rows = TokenTable.build(ids, tokenizer=tokenizer, prompt_length=len(ids) // 2)
        assert rows.ids.tolist() == ids
        assert "\ufffd" not in rows.shown + "".join(rows.pieces)
        assert set(rows.modalities) <= set(MODALITIES)
        assert TokenTable.from_arrow(rows.to_arrow()).equal(rows)
        assert len(rows._repr_html_()) > 0


def test_an_empty_table(tokenizer):
    rows = TokenTable.build([], tokenizer=tokenizer)
    assert repr(rows) == "TokenTable(0 tokens)"
    assert rows.runs() == []
    assert rows.shown == ""
    assert TokenTable.from_arrow(rows.to_arrow()).equal(rows)


def test_select_keeps_its_own_text_and_spans(whole):
    part = whole.select(whole.generated)
    assert part.shown == "Gut! 🇩🇪"
    assert part.starts[0] == 0
    assert part.ends[-1] == len(part.shown)
    assert whole.select(slice(None)).equal(whole)
    assert whole.select([0, 1]).ids.tolist() == whole.ids[:2].tolist()
    assert len(whole.select([])) == 0
    assert not part.equal(whole)
    assert not part.equal("something else")


def test_arrow_keeps_every_row_and_column(whole):
    arrow = whole.to_arrow()
    assert arrow.column_names == [
        "id",
        "piece",
        "text",
        "start",
        "end",
        "cluster",
        "role",
        "modality",
        "media_index",
        "x0",
        "y0",
        "x1",
        "y1",
        "t0_ms",
        "t1_ms",
        "frame",
        "script",
        "direction",
        "generated",
    ]
    again = TokenTable.from_arrow(arrow)
    assert again.equal(whole)
    assert again.runs() == whole.runs()
    assert [again.boxes.dtype, again.media_index.dtype, again.generated.dtype] == [
        np.int32,
        np.int16,
        np.bool_,
    ]


def test_what_does_not_belong_together_is_refused(seen, tokenizer):
    processor, pictures, outputs = seen
    with pytest.raises(BadTrace, match="holds 2 images, but 1"):
        TokenTable.of(outputs["input_ids"][0], processor=processor, inputs=outputs, images=pictures[:1])
    with pytest.raises(BadTrace, match="prompt_length is 9"):
        TokenTable.build([1, 2], tokenizer=tokenizer, prompt_length=9)


def test_work_grows_with_the_number_of_tokens_and_not_with_its_square(any_tokenizer):
    text = " ".join(text for language in languages() for text in sentences(language.code).values())
    once = any_tokenizer(text, add_special_tokens=False)["input_ids"]
    taken = []
    for count in (5_000, 100_000):
        ids = (once * (count // len(once) + 1))[:count]
        started = time.process_time()
        rows = TokenTable.build(ids, tokenizer=any_tokenizer)
        taken.append(time.process_time() - started)
        assert rows.ends[-1] == len(rows.shown)
    assert taken[1] < 20 * 5 * taken[0]  # of processor time; the square would be 400 times as much


def test_the_table_needs_no_torch():
    program = (
        "import sys, gemma_lab.models.tokens.table; "
        "assert not {'torch', 'transformers', 'pyarrow', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
