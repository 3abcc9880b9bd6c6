"""The minis' chat template writes Gemma 4's own format: turns, declarations, calls, results and thoughts."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

import gemma_lab.minis

TEMPLATE = Path(gemma_lab.minis.__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather", "description": "Weather in a city",
        "parameters": {
            "type": "object",
            "properties": {
                "unit": {"type": "string", "enum": ["C", "F"]},
                "city": {"type": "string", "description": "Which city"},
            },
            "required": ["city"],
        },
    },
}  # fmt: skip
ASKED = {"role": "user", "content": "Is it warm in London?"}
CALL = {"type": "function", "id": "1", "function": {"name": "get_weather", "arguments": {"city": "London"}}}
DECLARED = (
    '<|tool>declaration:get_weather{description:<|"|>Weather in a city<|"|>,parameters:{properties:{'
    'city:{description:<|"|>Which city<|"|>,type:<|"|>STRING<|"|>},'
    'unit:{enum:[<|"|>C<|"|>,<|"|>F<|"|>],type:<|"|>STRING<|"|>}},'
    'required:[<|"|>city<|"|>],type:<|"|>OBJECT<|"|>}}<tool|>'
)
CALLED = '<|tool_call>call:get_weather{city:<|"|>London<|"|>}<tool_call|>'


def rendered(messages, *, prompt=True, **options):
    texts, _ = render_jinja_template(
        [messages], chat_template=TEMPLATE, add_generation_prompt=prompt, bos_token="<bos>", **options
    )
    return texts[0]


def test_tools_are_declared_in_the_system_turn():
    assert rendered([ASKED], tools=[WEATHER]) == (
        f"<bos><|turn>system\n{DECLARED}<turn|>\n<|turn>user\nIs it warm in London?<turn|>\n"
        "<|turn>model\n<|channel>thought\n<channel|>"
    )


def test_thinking_comes_first_then_the_system_prompt_then_the_tools():
    text = rendered(
        [{"role": "system", "content": "Be brief."}, ASKED], tools=[WEATHER], enable_thinking=True
    )
    assert text.startswith(f"<bos><|turn>system\n<|think|>\nBe brief.{DECLARED}<turn|>\n<|turn>user\n")
    assert text.endswith("<|turn>model\n")


def test_a_function_without_parameters_or_with_nested_ones():
    bare = {"type": "function", "function": {"name": "now", "description": "The time"}}
    assert '<|tool>declaration:now{description:<|"|>The time<|"|>}<tool|>' in rendered([ASKED], tools=[bare])
    listed = {
        "type": "function",
        "function": {
            "name": "add", "description": "",
            "parameters": {"type": "object", "properties": {
                "items": {"type": "array", "items": {"type": "string"}, "nullable": True},
                "at": {"type": "object", "properties": {"day": {"type": "integer"}}, "required": ["day"]},
            }},
        },
    }  # fmt: skip
    assert (
        'properties:{at:{properties:{day:{type:<|"|>INTEGER<|"|>}},required:[<|"|>day<|"|>],type:<|"|>OBJECT<|"|>},'
        'items:{items:{type:<|"|>STRING<|"|>},nullable:true,type:<|"|>ARRAY<|"|>}}'
    ) in rendered([ASKED], tools=[listed])


def test_a_call_waits_for_its_result():
    text = rendered([ASKED, {"role": "assistant", "content": "", "tool_calls": [CALL]}], prompt=False)
    assert text.endswith(f"<|turn>model\n{CALLED}<|tool_response>")


@pytest.mark.parametrize(
    ("response", "written"),
    [
        ({"weather": "sunny", "temperature": 15},
         'response:get_weather{temperature:15,weather:<|"|>sunny<|"|>}'),
        ("sunny", 'response:get_weather{value:<|"|>sunny<|"|>}'),
        (7, "response:get_weather{value:7}"),
        ({"at": [1.5, None, True], "in": {"a": "b"}},
         'response:get_weather{at:[1.5,null,true],in:{a:<|"|>b<|"|>}}'),
    ],
)  # fmt: skip
def test_after_a_result_the_models_turn_goes_on(response, written):
    native = {
        "role": "assistant", "content": "", "tool_calls": [CALL],
        "tool_responses": [{"name": "get_weather", "response": response}],
    }  # fmt: skip
    end = f"<|turn>model\n{CALLED}<|tool_response>{written}<tool_response|>"
    assert rendered([ASKED, native]).endswith(end)
    if isinstance(response, str | dict):
        called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        assert rendered([ASKED, called, {"role": "tool", "tool_call_id": "1", "content": response}]).endswith(
            end
        )


def test_the_answer_from_a_result_stays_in_the_same_turn():
    messages = [
        ASKED, {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "name": "get_weather", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."}, {"role": "user", "content": "Thanks."},
    ]  # fmt: skip
    text = rendered(messages)
    assert text.count("<|turn>model\n") == 2
    assert "<tool_response|>It is sunny.<turn|>\n<|turn>user\nThanks.<turn|>\n<|turn>model\n" in text


def test_two_equal_calls_each_get_their_own_result():
    called = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    text = rendered([
        ASKED, called, {"role": "tool", "name": "get_weather", "content": "sunny"},
        called, {"role": "tool", "name": "get_weather", "content": "rain"},
    ])  # fmt: skip
    assert text.index("sunny") < text.rindex("<|tool_call>") < text.index("rain")
    assert text.count("<tool_response|>") == 2


def test_thoughts_stay_only_within_the_turn_of_a_call():
    called = {"role": "assistant", "content": "", "reasoning": "Look it up.", "tool_calls": [CALL]}
    result = {"role": "tool", "name": "get_weather", "content": "sunny"}
    now = rendered([ASKED, called, result], enable_thinking=True)
    assert f"<|turn>model\n<|channel>thought\nLook it up.\n<channel|>{CALLED}" in now
    later = rendered([ASKED, called, result, {"role": "assistant", "content": "Yes."}, ASKED])
    assert "Look it up." not in later
