"""Conversations: one form from every input, and refusals that name the message."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gemma_lab.errors import BadMedia, BadPrompt
from gemma_lab.models.chat.messages import (
    answered,
    conversation,
    pictures,
    sounds,
    texts,
    videos,
)
from gemma_lab.models.chat.template_messages import for_template
from gemma_lab.models.media import load_video

RED = Image.new("RGB", (4, 4), "red")


def test_a_string_is_a_user_message_and_pictures_go_before_it():
    assert conversation("Hi") == [{"role": "user", "content": "Hi"}]
    (message,) = conversation("What?", images=[RED, np.zeros((4, 4))])
    assert [part["type"] for part in message["content"]] == ["image", "image", "text"]
    assert len(pictures([message])) == 2


def test_a_single_picture_need_not_be_in_a_list():
    for one in (RED, np.zeros((4, 4)), np.zeros((4, 4, 3))):
        assert len(pictures(conversation("What?", images=one))) == 1


def test_system_prompt_and_role_aliases():
    said = conversation("Hi", system="Be brief")
    assert [message["role"] for message in said] == ["system", "user"]
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    earlier = [{"role": "developer", "content": "x"}, {"role": "model", "content": "y"}]
    said = conversation([*earlier, {"role": "user", "content": parts}])
    assert [message["role"] for message in said] == ["system", "assistant", "user"]
    assert texts(said) == ["x", "y", "ab"]


def test_nothing_that_was_passed_is_changed():
    mine = [{"role": "user", "content": [{"type": "image", "image": RED}, {"type": "text", "text": "a"}]}]
    conversation(mine, images=[RED], system="x")
    assert len(mine) == 1
    assert len(mine[0]["content"]) == 2


def test_thoughts_of_earlier_turns_are_kept_but_not_shown_to_the_template():
    said = answered(conversation("Hi"), "Hello", "Hm")
    assert said[-1] == {"role": "assistant", "content": "Hello", "reasoning": "Hm"}
    assert for_template([*said, {"role": "user", "content": "?"}])[1] == {
        "role": "assistant",
        "content": "Hello",
    }
    call = {"role": "assistant", "content": "", "reasoning": "Hm", "tool_calls": [{}]}
    assert for_template([*conversation("Hi"), call])[-1] == call


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ([], "empty"),
        (7, "not a int"),
        (["Hi"], "Message 0 has no role"),
        ([{"role": "wizard", "content": "Hi"}], "wizard"),
        ([{"role": ["user"], "content": "Hi"}], "role"),
        ([{"role": "user"}], "Message 0 is None"),
        ([{"role": "user", "content": [{"type": "smell"}]}], "smell"),
        ([{"role": "user", "content": ["Hi"]}], "Part 0 of Message 0"),
        ([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}], "Message 1"),
        ([{"role": "user", "content": "Hi"}, {"role": "system", "content": "x"}], "Message 1"),
        ("half \ud83d", "surrogate"),
    ],
)
def test_what_is_no_conversation_says_where(prompt, says):
    with pytest.raises(BadPrompt, match=says):
        conversation(prompt)


def test_two_system_prompts_and_homeless_pictures_are_refused():
    with pytest.raises(BadPrompt, match="already has a system"):
        conversation([{"role": "system", "content": "x"}, {"role": "user", "content": "y"}], system="z")
    with pytest.raises(BadPrompt, match="Message 0"):
        conversation([{"role": "tool", "content": "x"}], images=[RED])
    with pytest.raises(BadMedia):
        conversation([{"role": "user", "content": [{"type": "image", "path": "no/such.png"}]}])


def test_media_go_before_the_text_in_their_order():
    frames, tone = [RED, RED], np.zeros(8000, np.float32)
    (message,) = conversation("Hi", images=[RED], video=(frames, 2.0), audio=[(tone, 16_000), (tone, 8000)])
    assert [part["type"] for part in message["content"]] == ["image", "video", "audio", "audio", "text"]
    assert [round(heard.seconds, 2) for heard in sounds([message])] == [0.5, 1.0]
    assert videos([message])[0].times == (0.0, 0.5)


def test_parts_take_the_words_of_their_openers():
    tone = np.zeros(80_000, np.float32)
    parts = [
        {"type": "video", "video": [RED] * 6, "fps": 2, "start": 1, "frames": 2},
        {"type": "audio", "audio": tone, "rate": 16_000, "start": 1, "stop": 1.5},
        {"type": "text", "text": "Hi"},
    ]
    (message,) = conversation([{"role": "user", "content": parts}])
    assert videos([message])[0].times == (1.0, 2.0)
    assert sounds([message])[0].seconds == 0.5
    assert conversation([message])[0]["content"] == message["content"]  # what was opened passes unchanged


def test_as_many_frames_are_taken_as_the_model_looks_at():
    (message,) = conversation("Hi", video=([RED] * 40, 2.0), frames=8)
    assert len(videos([message])[0].frames) == 8
    opened = load_video(([RED] * 40, 2.0), frames=20)
    assert videos(conversation("Hi", video=opened, frames=8)) == [opened]  # asked for, so kept


def test_a_list_of_frames_is_no_video():
    with pytest.raises(BadMedia, match="video") as caught:
        conversation("Hi", video=[RED, RED])
    assert "(frames, 2.0)" in caught.value.hint
