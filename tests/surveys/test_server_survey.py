"""A survey through a real local server equals one of the same model in this process, but for the weights."""

from __future__ import annotations

import numpy as np
import pytest
from support.served import scripted, serving

import gemma_lab as gl
from gemma_lab.errors import ServerError

PROMPTS = [
    {"prompt": f"Write {number} in {language} words.", "language": language}
    for number in range(12, 17)
    for language in ("German", "French")
]


@pytest.fixture(scope="module")
def mini():
    return gl.load("mini-moe", device="cpu", dtype="float32")


def survey(model, out, **options):
    return gl.survey(
        PROMPTS,
        model,
        out=out,
        partition_size=4,
        progress=False,
        **{"max_new_tokens": 6, "temperature": 0} | options,
    )


def test_a_served_survey_equals_a_local_one(mini, tmp_path):
    local = survey(mini, tmp_path / "local")
    with serving(mini) as address:
        served = survey(gl.connect(address), tmp_path / "served", workers=3)
    mine, theirs = local.prompts(), served.prompts()
    for column in (
        "index",
        "prompt",
        "prompt_tokens",
        "generated_tokens",
        "reply",
        "finish_reason",
        "language",
    ):
        assert list(mine[column]) == list(theirs[column])
    assert served.complete
    assert np.array_equal(served.summary.counts, local.summary.counts)
    assert np.array_equal(served.summary.pairs, local.summary.pairs)
    assert np.array_equal(served.union_sizes(), local.union_sizes(), equal_nan=True)
    for language in ("German", "French"):
        one, other = (each.expert_load("language", language) for each in (served, local))
        assert np.array_equal(one.counts, other.counts)
    assert np.isnan(served.expert_load().mass).all()
    assert np.isfinite(local.expert_load().mass).all()
    tokens, known = (each.dataset("tokens").to_table().to_pandas() for each in (served, local))
    assert list(tokens["id"]) == list(known["id"])
    assert list(tokens["generated"]) == list(known["generated"])
    assert np.array_equal(np.stack(tokens["experts"]), np.stack(known["experts"]))
    assert "gate_weights" not in tokens


def test_a_server_that_fails_ends_the_survey_and_it_goes_on(tmp_path):
    """Errors of the server, unlike refusals of a prompt, leave no row behind."""
    failing = []

    def answer(path, body):
        if path.endswith("/models"):
            return 200, {"data": [{"id": "m"}]}
        number = int(body["messages"][0]["content"])
        if number >= 4 and not failing:
            return 500, {"error": {"message": "out of order"}}
        message = {"role": "assistant", "content": f"answer {number}"}
        return 200, {"choices": [{"message": message, "finish_reason": "stop"}]}

    prompts, options = [str(number) for number in range(8)], {"partition_size": 2, "progress": False}
    with scripted(answer) as (address, record):
        with pytest.raises(ServerError):
            gl.survey(prompts, gl.connect(address), out=tmp_path / "s", **options)
        assert len(gl.open_survey(tmp_path / "s").partitions) == 2
        failing.append(False)
        record.requests.clear()
        done = gl.survey(prompts, gl.connect(address), out=tmp_path / "s", **options)
    assert list(done.prompts()["reply"]) == [f"answer {number}" for number in range(8)]
    asked = [body["messages"][0]["content"] for path, body in record.requests if body]
    assert sorted(asked) == ["4", "5", "6", "7"]


def test_questions_of_the_checkup_are_graded(mini, tmp_path):
    questions = gl.evals.load_questions(skills=["numbers", "tools"], per_skill=3)
    with serving(mini) as address:
        done = gl.survey(
            questions, gl.connect(address), out=tmp_path / "s", progress=False, max_new_tokens=64
        )
    assert done.prompts()["correct"].notna().all()
    assert done.prompts()["correct"].sum() >= 4


def test_a_prompt_that_is_refused_has_the_error_in_its_row(tmp_path):
    def answer(path, body):
        if path.endswith("/models"):
            return 200, {"data": [{"id": "m"}]}
        if "bad" in body["messages"][0]["content"]:
            return 400, {"error": {"message": "no"}}
        message = {"role": "assistant", "content": "yes"}
        return 200, {"choices": [{"message": message, "finish_reason": "stop"}]}

    with scripted(answer) as (address, _):
        done = gl.survey(["good", "bad", "good"], gl.connect(address), out=tmp_path / "s", progress=False)
    rows = done.prompts()
    assert list(rows["reply"].fillna("none")) == ["yes", "none", "yes"]
    assert rows["error"][1].startswith("ServerError")
    with pytest.raises(gl.LabError):
        done.summary  # noqa: B018 - a server without experts


def test_a_reply_that_utf_8_cannot_hold_is_kept_with_escapes(tmp_path):
    def answer(path, _):
        if path.endswith("/models"):
            return 200, {"data": [{"id": "m"}]}
        text = b'{"choices": [{"message": {"content": "a \\ud800 b"}, "finish_reason": "stop"}]}'
        return 200, text

    with scripted(answer) as (address, _):
        done = gl.survey(["x"], gl.connect(address), out=tmp_path / "s", progress=False)
    assert done.prompts()["reply"].tolist() == ["a \\ud800 b"]


def test_a_survey_through_ray_and_the_server(mini, tmp_path):
    pytest.importorskip("ray")
    with serving(mini) as address:
        lab = gl.connect(address)
        local = survey(lab, tmp_path / "local")
        spread = survey(lab, tmp_path / "ray", engine="ray", workers=2)
    assert np.array_equal(local.summary.counts, spread.summary.counts)
    for one, other in zip(local.partitions, spread.partitions, strict=True):
        for path in one.iterdir():
            assert path.read_bytes() == (other / path.name).read_bytes()


def test_the_worker_that_ray_is_given_makes_the_same_partitions(mini, tmp_path):
    """What Ray does, without its processes: the settings are pickled, and batches of numbers come in."""
    import pickle

    from gemma_lab.surveys.prompts import PromptSource
    from gemma_lab.surveys.ray_worker import RayWorker

    with serving(mini) as address:
        lab = gl.connect(address)
        local = survey(lab, tmp_path / "local")
        settings = {
            "served": True, "concurrent": 1, "source": PromptSource(PROMPTS), "model": lab,
            "folder": tmp_path / "ray", "partition_size": 4, "keep_tokens": True, "seed": 0, "batch_size": 1,
            "options": {"max_new_tokens": 6, "temperature": 0}, "load": {},
        }  # fmt: skip
        worker = RayWorker(**pickle.loads(pickle.dumps(settings)))
        done = worker({"number": np.arange(3)})
    assert done["prompts"].tolist() == [4, 4, 2]
    for one in local.partitions:
        for path in one.iterdir():
            assert path.read_bytes() == (tmp_path / "ray" / one.name / path.name).read_bytes()
