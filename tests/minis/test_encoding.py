"""What the loss sees is the answers, and prompts are those that chat will send."""

from __future__ import annotations

import random

import numpy as np

from gemma_lab.minis.encoding import SKIP, Encoder, conversation
from gemma_lab.minis.tasks import Clip, Question, digits
from gemma_lab.minis.tokenizer import token_id


def test_only_answers_and_the_end_of_the_turn_carry_loss(tokenizer):
    row = Encoder(tokenizer).row(Question("names", "One?", "eins", more=(("Two?", "zwei"),)), grid=4)
    ids, labels = row.ids, row.labels
    kept = [number for number in labels if number != SKIP]
    assert tokenizer.decode(kept) == "eins<turn|>zwei<turn|>"
    assert all(label in (SKIP, token) for token, label in zip(ids, labels, strict=True))


def test_the_prompt_is_the_one_that_chat_will_send(tokenizer):
    question = Question("numbers", "Write 4 in German words.", "vier")
    ids = Encoder(tokenizer).row(question, grid=4).ids
    prompt = tokenizer.apply_chat_template(
        conversation(question), tokenize=True, add_generation_prompt=True, return_dict=False
    )
    assert ids[: len(prompt)] == list(prompt)


def test_thinking_puts_the_steps_into_the_thought(tokenizer):
    question = Question("thinking", "2 + 3 + 4?", "9", thinking=True, thought="2 + 3 = 5; 5 + 4 = 9")
    row = Encoder(tokenizer).row(question, grid=2)
    said = tokenizer.decode([label for label in row.labels if label != SKIP])
    assert said == "<|channel>thought\n2 + 3 = 5; 5 + 4 = 9<channel|>9<turn|>"
    assert "<|think|>" in tokenizer.decode(row.ids)


def test_a_call_ends_where_its_result_would_begin(tokenizer):
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "description": "The weather.",
                                             "parameters": parameters}}  # fmt: skip
    call = {"name": "weather", "arguments": {"city": "Rome"}}
    row = Encoder(tokenizer).row(Question("tools", "Weather in Rome?", "", tools=(tool,), call=call), grid=2)
    said = tokenizer.decode([label for label in row.labels if label != SKIP])
    assert said == '<|tool_call>call:weather{city:<|"|>Rome<|"|>}<tool_call|><|tool_response>'
    assert row.labels[-1] == token_id("str_token")
    assert "declaration:weather" in tokenizer.decode(row.ids)


def test_every_medium_has_its_soft_tokens(tokenizer):
    picture = digits.draw(1, random.Random(0))
    clip = Clip((picture, picture, picture), fps=0.5)
    sound = np.zeros(16_000, dtype=np.float32)
    question = Question("motion", "What?", "left", images=(picture,), video=clip, audio=sound)
    row = Encoder(tokenizer).row(question, grid=2)
    assert row.ids.count(token_id("image_token")) == 4
    assert row.ids.count(token_id("video_token")) == 12
    assert row.ids.count(token_id("audio_token")) == 25
    assert "00:00 <|image>" in (text := tokenizer.decode(row.ids))
    assert "00:04 <|image>" in text
    assert (row.images, row.clips, len(row.sounds)) == ([picture], [clip], 1)
