"""A tool run's HTML: folded rounds, arguments and results as JSON, no markup of anybody else's."""

from __future__ import annotations

from gemma_lab.models.chat.reply import Reply, Timings, Token
from gemma_lab.models.chat.sampling import Sampling
from gemma_lab.models.chat.tools import Call
from gemma_lab.models.tool_use.runner import Execution, Round, ToolRun

EVIL = "<img src=x onerror=alert(1)></details>"


def reply(text):
    return Reply(
        text, "", (Token(1, text, -0.1, 0.2),), [], 5, "stop", Sampling(), 7, "m", Timings(1, 1, 5, 1)
    )


def html_of(*executions, text="Sunny."):
    return ToolRun((Round(reply(""), executions), Round(reply(text))), "answered")._repr_html_()


def test_rounds_are_folded_with_arguments_and_results_as_json():
    html = html_of(Execution(Call("weather", {"city": "Rome"}), {"city": "Rome"}, "ran", {"sky": ["ünny"]}))
    assert html.count("<details><summary>Round 1, 1 call (weather: ran)</summary>") == 1
    assert "Round 2" not in html  # the last round calls nothing: it is the reply below
    assert "{\n &#34;city&#34;: &#34;Rome&#34;\n}" in html
    assert "ünny" in html
    assert ">Sunny.</span>" in html


def test_every_status_is_named():
    for status in ("denied", "failed", "timed out"):
        assert f"{status}</td>" in html_of(Execution(Call("f"), {}, status, {"error": "no"}))


def test_nothing_becomes_markup():
    call = Call(EVIL, {EVIL: EVIL})
    html = html_of(
        Execution(call, {EVIL: [EVIL]}, "failed", {"error": EVIL}),
        Execution(Call("", text=EVIL, problem="it was cut off"), {}, "invalid", {"error": "unreadable"}),
        text=EVIL,
    )
    assert "<img" not in html
    assert html.count("<details>") == html.count("</details>")
    assert "unreadable call" in html


def test_long_results_are_cut():
    html = html_of(Execution(Call("f"), {}, "ran", "x" * 100_000))
    assert len(html) < 20_000
    assert "…" in html
