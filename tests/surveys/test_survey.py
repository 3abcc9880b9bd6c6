"""A survey is what its prompts' traces are, whoever makes it and however often it is killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import gemma_lab as gl
from gemma_lab.analysis.experts.coactivation import coactivation
from gemma_lab.analysis.experts.load import expert_load
from gemma_lab.errors import LabError, NotTraced
from gemma_lab.evals.questions import load_questions
from gemma_lab.surveys.prompts import PromptSource
from gemma_lab.surveys.run import survey
from gemma_lab.surveys.summary import RoutingSummary
from gemma_lab.surveys.survey import open_survey

PROMPTS = [
    {"prompt": f"What is {n} in {language}?", "language": language, "n": n}
    for n in range(6)
    for language in ("German", "Spanish")
]


def contents(folder):
    """Every file of the partitions with its digest."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("part-*/*"))
    }


@pytest.fixture(scope="module")
def lab(tiny_lab_of_module):
    return tiny_lab_of_module


@pytest.fixture(scope="module")
def tiny_lab_of_module(tiny_lab):
    return tiny_lab("26B-A4B")


@pytest.fixture(scope="module")
def made(lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("surveys") / "one"
    return survey(PROMPTS, lab, out=folder, partition_size=5, max_new_tokens=6, progress=False)


def test_it_is_complete_and_says_so(made):
    assert made.complete
    assert len(made.partitions) == 3
    assert "12 prompts" in repr(made)
    assert list(made.prompts()["index"]) == list(range(12))
    assert set(made.prompts()["language"]) == {"German", "Spanish"}


def test_its_load_and_coactivation_are_those_of_the_traces(made, lab):
    routings = [lab.trace(row["prompt"], max_new_tokens=6).routing for row in PROMPTS]
    load, expected = made.expert_load(), expert_load(routings)
    assert load.tokens == expected.tokens
    np.testing.assert_array_equal(load.counts, expected.counts)
    np.testing.assert_allclose(load.mass, expected.mass, atol=1e-6)
    np.testing.assert_allclose(load.router_entropy, expected.router_entropy, rtol=1e-3)
    pairs, wanted = made.coactivation(), coactivation(routings)
    np.testing.assert_array_equal(pairs.counts, wanted.counts)
    np.testing.assert_allclose(pairs.expected, wanted.expected)
    german = made.expert_load("language", "German")
    np.testing.assert_array_equal(
        german.counts,
        expert_load(
            [one for one, row in zip(routings, PROMPTS, strict=True) if row["language"] == "German"]
        ).counts,
    )


def test_unions_are_counted_on_generated_tokens(made, lab):
    sizes = []
    for row in PROMPTS:
        trace = lab.trace(row["prompt"], max_new_tokens=6)
        ids = trace.routing.ids[0][np.asarray(trace.tokens.generated)]
        sizes += [len(set(ids[at : at + 3].ravel().tolist())) for at in range(len(ids) - 2)]
    assert made.union_sizes()[2, 0] == pytest.approx(np.mean(sizes))
    assert made.union_sizes()[0] == pytest.approx(made.summary.top_k)


def test_tokens_keep_the_routing(made, lab):
    table = made.dataset("tokens").to_table().to_pandas()
    trace = lab.trace(PROMPTS[7]["prompt"], max_new_tokens=6)
    mine = table[table["prompt"] == 7]
    assert mine["id"].tolist() == list(trace.tokens.ids)
    ids = np.stack(mine["experts"].to_list()).reshape(len(trace), len(trace.routing.layers), -1)
    np.testing.assert_array_equal(ids, np.moveaxis(trace.routing.ids, 1, 0))


def test_a_lost_partition_is_made_again_and_is_equal(made, lab, tmp_path):
    folder = tmp_path / "two"
    arguments = {"out": folder, "partition_size": 5, "max_new_tokens": 6, "progress": False}
    survey(PROMPTS, lab, **arguments)
    before = contents(folder)
    assert before == contents(made.folder)
    lost = open_survey(folder).partitions[1]
    for path in lost.iterdir():
        path.unlink()
    lost.rmdir()
    (folder / ".draft-000001-left").mkdir()
    assert not open_survey(folder).complete
    assert survey(PROMPTS, lab, **arguments).complete
    assert contents(folder) == before
    assert not list(folder.glob(".draft*"))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_killed_at_any_moment_it_goes_on(made, tiny_folder, tmp_path):
    folder, prompts = tmp_path / "killed", tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(json.dumps(row) for row in PROMPTS), encoding="utf-8")
    program = (
        "import sys; from gemma_lab.surveys.run import survey; "
        f"survey({str(prompts)!r}, {str(tiny_folder('26B-A4B'))!r}, out={str(folder)!r}, partition_size=1, "
        "max_new_tokens=6, progress=False, load={'dtype': 'float32', 'device': 'cpu'})"
    )
    killed = 0
    for enough in (2, 6):
        process = subprocess.Popen([sys.executable, "-c", program])
        while process.poll() is None and len(list(folder.glob("part-*"))) < enough:
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed
    subprocess.run([sys.executable, "-c", program], check=True)
    assert open_survey(folder).complete
    assert open_survey(folder).prompts()["reply"].tolist() == made.prompts()["reply"].tolist()
    np.testing.assert_array_equal(open_survey(folder).summary.counts, made.summary.counts)


@pytest.mark.slow
def test_on_ray_it_is_equal(lab, tiny_folder, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install gemma_lab[ray]")
    shared = {"partition_size": 5, "batch_size": 4, "attention": True, "progress": False}
    local = survey(PROMPTS, lab, out=tmp_path / "local", **shared)
    done = survey(
        PROMPTS, str(tiny_folder("26B-A4B")), out=tmp_path / "ray", engine="ray", workers=2,
        load={"dtype": "float32", "device": "cpu"}, **shared,
    )  # fmt: skip
    assert done.complete
    assert contents(tmp_path / "ray") == contents(local.folder)
    assert "heads.safetensors" in {path.rpartition("/")[2] for path in contents(local.folder)}


def test_another_survey_is_not_mixed_in(made, lab):
    for change in ({"max_new_tokens": 7}, {"partition_size": 4}):
        with pytest.raises(LabError, match=next(iter(change)) if "partition_size" in change else "options"):
            survey(
                PROMPTS,
                lab,
                out=made.folder,
                progress=False,
                **{"partition_size": 5, "max_new_tokens": 6} | change,
            )
    with pytest.raises(LabError, match="prompts"):
        survey(PROMPTS[:-1], lab, out=made.folder, partition_size=5, max_new_tokens=6, progress=False)


def test_a_survey_goes_on_with_the_same_weights_and_edit_only(tiny_folder, tmp_path):
    lab = gl.load(tiny_folder("26B-A4B"), device="cpu", dtype="float32")
    settings = {"out": tmp_path / "s", "partition_size": 1, "progress": False}
    done = survey(["a", "b"], lab, **settings)
    for path in done.partitions[1].iterdir():
        path.unlink()
    done.partitions[1].rmdir()
    with lab.edit(ablate_experts={0: [1]}), pytest.raises(LabError, match="edit"):
        survey(["a", "b"], lab, **settings)
    weight = lab.model.get_decoder().layers[2].mlp.down_proj.weight.data
    weight += 0.5
    with pytest.raises(LabError, match="weights"):
        survey(["a", "b"], lab, **settings)
    weight -= 0.5
    assert survey(["a", "b"], lab, **settings).complete


def test_a_refused_prompt_has_its_error_in_its_row(lab, tmp_path):
    rows = ["Hello", {"prompt": "What?", "images": [b"no picture"]}, "Bye"]
    frame = survey(rows, lab, out=tmp_path / "s", progress=False).prompts()
    assert frame["error"].isna().tolist() == [True, False, True]
    assert "BadMedia" in frame["error"][1]


def test_a_survey_of_a_dense_model_has_rows_and_no_routing(tiny_lab, tmp_path):
    done = survey(["Hello"], tiny_lab("31B"), out=tmp_path / "s", progress=False)
    assert done.complete
    with pytest.raises(NotTraced):
        done.expert_load()


def test_questions_are_graded(lab, tmp_path):
    asked = load_questions(skills=["names"], per_skill=3)
    frame = survey(asked, lab, out=tmp_path / "s", max_new_tokens=4, progress=False).prompts()
    assert frame["skill"].tolist() == ["names"] * 3
    assert frame["correct"].isin([True, False]).all()


@pytest.mark.parametrize(
    ("size", "skills"), [("26B-A4B", ("names", "digits", "motion")), ("E2B", ("speech",))]
)
def test_answers_lens_and_attention_of_any_medium_are_those_of_a_trace(tiny_lab, tmp_path, size, skills):
    lab = tiny_lab(size)
    asked = load_questions(skills=list(skills), per_skill=1)
    options = {"max_new_tokens": 3, "temperature": 0, "logit_lens": True, "attention": True}
    frame = survey(asked, lab, out=tmp_path / "s", batch_size=2, progress=False, **options).prompts()
    assert frame["error"].isna().all()
    for (_, row), question in zip(frame.iterrows(), asked, strict=True):
        media = {"images": question.opened_images, "video": question.video, "audio": question.audio}
        given = {name: value for name, value in media.items() if value is not None and value != ()}
        trace = lab.trace(question.messages, system=question.system, **given, **options)
        assert row["reply"] == trace.generation.text
        assert row["correct"] == question.is_correct(trace.generation.text)
        assert row["prompt_tokens"] == (~np.asarray(trace.tokens.generated)).sum()
        assert row["generated_tokens"] == len(trace.generation)
        assert list(row["stable_from_layer"]) == list(trace.logit_lens.stable_from_layer())
        masses = [trace.attention.first_token_mass(one.layer).mean() for one in trace.attention.layers]
        np.testing.assert_allclose(row["first_token_mass"], masses, rtol=1e-6)


def test_prompts_come_from_files(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in PROMPTS) + "\n")
    pq.write_table(pa.Table.from_pylist(PROMPTS), tmp_path / "a.parquet", row_group_size=5)
    listed = PromptSource(PROMPTS)
    for name in ("a.jsonl", "a.parquet"):
        source = PromptSource(tmp_path / name)
        assert len(source) == 12
        assert source.read(3, 11) == listed.read(3, 11)


@pytest.mark.parametrize(
    "source", ["text", 5, None, [], [5], [{"text": "x"}], [{"prompt": "a", "messages": []}], "no.jsonl"]
)
def test_what_is_no_source_is_refused(source):
    with pytest.raises(LabError):
        PromptSource(source).check()


def test_the_digest_tells_prompts_apart():
    texts = [["ab", "c"], ["a", "bc"], ["abc"], [{"prompt": "ab", "x": "c"}], ["ab", b"c".decode() + " "]]
    assert len({PromptSource(one).digest() for one in texts}) == len(texts)


def test_merging_is_adding(made):
    parts = list(made.summaries())
    total = RoutingSummary(parts[0].layers, parts[0].experts, parts[0].top_k)
    for part in parts:
        total.merge(part)
    np.testing.assert_array_equal(total.pairs, made.summary.pairs)
    with pytest.raises(LabError):
        total.merge(RoutingSummary((0,), 3, 1))


def test_no_survey_there(tmp_path):
    with pytest.raises(LabError):
        open_survey(tmp_path)
    assert gl


def test_calls_of_tools_are_graded_as_the_check_up_grades_them(tmp_path):
    lab = gl.load("mini-moe", progress=False)
    asked = load_questions(skills=["tools"], per_skill=6)
    options = {"max_new_tokens": 64, "temperature": 0}
    frame = survey(asked, lab, out=tmp_path / "s", progress=False, **options).prompts()
    replies = [lab.chat(one.messages, tools=one.tools, system=one.system, **options) for one in asked]
    right = [one.is_correct(reply.text, reply.calls) for one, reply in zip(asked, replies, strict=True)]
    assert frame["correct"].tolist() == right
    assert any(each and one.call is not None for each, one in zip(right, asked, strict=True))


def test_questions_are_asked_as_the_check_up_asks_them():
    (question,) = load_questions(skills=["large digits"], per_skill=1)
    (prompt,) = PromptSource([question]).read(0, 1)
    assert prompt.prompt == question.prompt
    assert prompt.options["max_soft_tokens"] == question.soft_tokens is not None


def test_sampling_has_the_seed_of_the_survey(lab, tmp_path):
    options = {"max_new_tokens": 6, "sampling": gl.Sampling(temperature=1.5), "progress": False}
    replies = [
        survey(["One.", "Two."], lab, out=tmp_path / name, seed=3, **options).prompts()["reply"].tolist()
        for name in ("a", "b")
    ]
    assert replies[0] == replies[1]
