"""A run of seconds: it learns, saves, resumes and publishes a checkpoint that loads."""

from __future__ import annotations

import json

import pytest
import torch

import gemma_lab as gl
from gemma_lab.errors import LabError
from gemma_lab.evals.questions import load_questions, skill_names
from gemma_lab.evals.report import Checkup, GradedAnswer
from gemma_lab.evals.run import checkup
from gemma_lab.minis import batched_checkup, training
from gemma_lab.minis.architecture import MINIATURE_OF, SHAPES
from gemma_lab.minis.curriculum import Practice
from gemma_lab.minis.model_card import held_out_questions, target, write_card
from gemma_lab.minis.tasks import digits
from gemma_lab.minis.training import Trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    trainer = Trainer(folder, minutes=0.1, skills=("names", "recall"))
    before = trainer.model.lm_head.weight.detach().clone()
    trainer.train()
    return folder, trainer, before


def test_it_trains_and_remembers_where_it_was(run):
    folder, trainer, before = run
    assert trainer.step >= 1
    assert not torch.equal(before, trainer.model.lm_head.weight)
    again = Trainer(folder, minutes=0.1, seed=9, skills=("digits",))
    assert (again.seed, again.trained) == (trainer.seed, {"names", "recall", "digits"})
    assert (again.step, again.spent) == (trainer.step, trainer.spent)
    assert torch.equal(again.model.lm_head.weight, trainer.model.lm_head.weight)
    assert again.progress == 1


def test_a_run_trains_one_mini(run):
    folder, _, _ = run
    with pytest.raises(LabError, match="trains mini-moe, not mini-edge"):
        Trainer(folder, name="mini-edge", minutes=1)


def test_what_it_publishes_loads_is_graded_and_is_a_start(run, tmp_path):
    _, trainer, _ = run
    trainer.publish(tmp_path / "mini-moe")
    lab = gl.load(tmp_path / "mini-moe", progress=False)
    found = checkup(lab, skills=("names", "digits"), progress=False)
    write_card(tmp_path / "mini-moe", found, training={"steps": trainer.step})
    card = json.loads((tmp_path / "mini-moe" / "card.json").read_text())
    assert [row["skill"] for row in card["skills"]] == ["digits", "names"]
    assert all(row["questions"] == 20 and 0 <= row["accuracy"] <= 1 for row in card["skills"])
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "tokenizer").symlink_to(run[0] / "tokenizer")
    again = Trainer(tmp_path / "next", minutes=0.05, skills=("names",), start=tmp_path / "mini-moe")
    shipped = trainer.model.lm_head.weight.bfloat16().float()
    assert torch.equal(again.model.lm_head.weight, shipped)
    kept = Trainer(
        tmp_path / "kept", minutes=0.05, skills=("names",), start=tmp_path / "mini-moe", keep_words=True
    )
    assert kept.tokenizer.get_vocab() == trainer.tokenizer.get_vocab()
    assert torch.equal(kept.model.lm_head.weight, shipped)
    assert again.earlier == {"steps": trainer.step}
    again.train()
    assert Trainer(tmp_path / "next", minutes=0.05, skills=("names",)).earlier == again.earlier
    assert not torch.equal(again.model.lm_head.weight, shipped)


@pytest.fixture
def trainer(run, tmp_path):
    """A new run with the tokenizer of the first, which takes longest to make."""

    def made(**options):
        (tmp_path / "tokenizer").symlink_to(run[0] / "tokenizer")
        return Trainer(tmp_path, minutes=1, **options)

    return made


def test_some_steps_look_far_under_a_narrow_window_and_leave_it_as_it_was(trainer, monkeypatch):
    one = trainer(skills=("names", "recall"))
    seen = []
    losses, text = one.forward.losses, one.model.config.text_config
    monkeypatch.setattr(
        one.forward,
        "losses",
        lambda batch: seen.append((text.sliding_window, {*batch.skills})) or losses(batch),
    )
    for one.step in (2, 3):
        one._practise()
        assert text.sliding_window == 128
    narrow = [skills for window, skills in seen if window < 128]
    assert narrow
    assert set().union(*narrow) <= {"recall", "retold", "asked", "pairs"}
    assert not any("names" in skills for skills in narrow)


def test_a_narrow_window_hides_from_local_layers_what_lies_further_back(trainer):
    one = trainer(skills=("names",))
    ids = torch.randint(400, 500, (1, 80), generator=torch.Generator().manual_seed(0))
    other = ids.clone()
    other[0, 0] += 1
    made = []
    one.model.model.language_model.layers[0].register_forward_hook(lambda _m, _i, out: made.append(out))
    with torch.no_grad():
        for window, same in ((None, False), (3, True)):
            made.clear()
            with one.forward.window(window):
                for each in (ids, other):
                    one.model.model(input_ids=each, use_cache=False)
            first, second = (out[0] if isinstance(out, tuple) else out for out in made)
            assert torch.allclose(first[0, -1], second[0, -1], atol=1e-5) == same


def test_towers_stand_still_until_the_decoder_has_use_for_them(trainer):
    one = trainer(name="mini-edge", skills=("scenes", "speech"))
    one.mixture.rows = 2
    for losses, sees, hears in (((0.1, 1.0), True, False), ((0.5, 0.5), False, True)):
        one.mixture.losses = dict(zip(("scenes", "speech"), losses, strict=True))
        one._practise()
        assert all(p.requires_grad == sees for p in one.model.model.vision_tower.parameters())
        assert all(p.requires_grad == hears for p in one.model.model.audio_tower.parameters())


def test_the_vision_tower_glances_at_larger_pictures_now_and_then(trainer, monkeypatch):
    one = trainer(skills=("digits",))
    one.spent = 30  # beyond the time in which the towers learn alone
    seen = []
    loss = one.perception.sight.loss
    monkeypatch.setattr(
        one.perception.sight, "large_loss", lambda rng, *, pictures, grid: seen.append((grid, pictures))
        or loss(rng, pictures=1, grid=4),
    )  # fmt: skip
    for one.step in range(32, 40):
        if one._sense() is not None:
            one._sense()(one.batcher)
    assert len(seen) == 1
    assert seen[0] in ((11, 12), (16, 12), (23, 12))
    assert all(p.requires_grad for p in one.model.model.vision_tower.parameters())


def test_a_focus_has_no_pretraining_keeps_its_rate_and_is_kept_when_resumed(trainer, tmp_path):
    one = trainer(skills=("names", "digits"), focus=("names",), rate=0.25)
    glances = [one._sense() for one.step in range(40)]
    assert [step for step, glance in enumerate(glances) if glance] == [0, 8, 16, 24, 32]
    assert {glance for glance in glances if glance} == {one.perception._glance}
    one.step = one._joint = 501
    one._practise = dict
    one._step()
    assert {group["lr"] for group in one.optimizer.param_groups} == {0.25 * 2e-3}
    one._save()
    again = Trainer(tmp_path, minutes=1, skills=("names", "digits"))
    assert (again.stages, again.mixture.focus) == (one.stages, ("names",))
    assert again.curriculum.alone == {}


@pytest.mark.parametrize(
    ("options", "named"),
    [({"focus": ("tools",)}, "tools"), ({"rate": 0.0}, "0.0"), ({"rate": float("nan")}, "nan")],
)
def test_a_focus_on_what_is_not_trained_and_no_rate_are_refused(options, named, tmp_path):
    with pytest.raises(LabError, match=named):
        Trainer(tmp_path, minutes=1, skills=("names",), **options)


@pytest.mark.parametrize("focus", ["names", "motion"])
def test_images_are_probed_only_with_skills_of_images_in_focus(focus, trainer):
    one = trainer(skills=("names", "motion"), focus=(focus,))
    seen = one._practise()
    assert "motion" in seen or "pointed" in seen  # images, in either
    assert bool(one.watchers.last) == (focus == "motion")
    learned = [weight.grad is not None for probe in one.watchers.probes for weight in probe.parameters()]
    assert any(learned) == (focus == "motion")


def test_the_last_stage_begins_when_its_time_has_come_and_goes_on_when_resumed(trainer, tmp_path):
    one = trainer(skills=("names", "tools"))
    one._practise = dict
    one.spent, one._joint = 0.84 * 60, 500
    one._step()
    assert (one.stage.name, one.mixture.focus) == ("all", ())
    one.spent = 0.86 * 60
    one._step()
    assert (one.stage.name, one.mixture.focus, one._joint) == ("focus", ("tools",), 1)  # warms up again
    one._step()
    one._save()
    again = Trainer(tmp_path, minutes=1, skills=("names", "tools"))
    assert (again.stage, again._joint, again.curriculum.alone) == (one.stage, 2, {})
    rate = {group["lr"] for group in one.optimizer.param_groups}
    again._practise = dict
    again._step()
    assert min(group["lr"] for group in again.optimizer.param_groups) > max(rate)


@pytest.mark.parametrize("name", SHAPES)
def test_one_command_trains_from_nothing_to_a_published_card(name, run, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from gemma_lab.cli.app import app

    skills = (
        "digits",
        *(["speech"] if SHAPES[name]["audio"] is not None else []),
        "names",
        "tools",
        "records",
    )
    monkeypatch.setattr(batched_checkup, "skill_names", lambda: skills)
    monkeypatch.setattr(
        batched_checkup,
        "load_questions",
        lambda *, skills, per_skill=None: load_questions(skills=skills, per_skill=2),
    )
    trained, folder = tmp_path / "run", tmp_path / name
    if name != "mini-moe":  # whose tokenizer is trained once more, as nothing is there
        trained.mkdir()
        (trained / "tokenizer").symlink_to(run[0] / "tokenizer")
    command = ["minis", "train", name, "--run", str(trained), "--publish-to", str(folder)]
    options = ["--skills", ",".join(skills), "--minutes", "0.2", "--seed", "3"]
    done = CliRunner().invoke(app, [*command, *options])
    assert done.exit_code == 0, done.output
    card = json.loads((folder / "card.json").read_text())
    stages = card["training"]["stages"]
    assert [(stage["name"], stage["focus"]) for stage in stages] == [
        ("all", []),
        ("focus", ["tools", "records"]),
    ]
    assert card["training"]["seed"] == 3
    assert "started_from" not in card["training"]
    assert {row["skill"] for row in card["skills"]} == {*skills}
    assert card["miniature_of"] == MINIATURE_OF[name]
    lab = gl.load(folder, progress=False)
    assert ("audio" in lab.modalities) == ("speech" in skills)
    assert lab.chat("?", images=digits.samples()[3], max_new_tokens=1).tokens


def test_a_mini_without_encoders_goes_on_from_one_with_experts_and_keeps_its_teacher(run, tmp_path):
    _, trainer, _ = run
    trainer.publish(tmp_path / "mini-moe")
    (tmp_path / "mini-moe" / "card.json").write_text(
        json.dumps({"name": "mini-moe", "training": {"steps": trainer.step}})
    )
    how = {"name": "mini-unified", "skills": ("names", "digits"), "keep_words": True}
    one = Trainer(tmp_path / "run", minutes=1, start=tmp_path / "mini-moe", **how)
    assert one.earlier == {"name": "mini-moe", "steps": trainer.step}
    assert one._sense() == one.perception.work
    assert "experts" in one._step()
    one._save()
    again = Trainer(tmp_path / "run", minutes=1, **how)
    assert (again.step, again._sense()) == (1, again.perception.work)
    for name, weight in one.perception.teacher.state_dict().items():
        assert torch.equal(weight, again.perception.teacher.state_dict()[name])


def test_a_layer_of_thousands_of_inputs_learns_more_slowly(trainer):
    one = trainer(name="mini-unified", skills=("names",))
    one._practise = dict
    one.step = one._joint = 500
    one._step()
    rates = {id(weight): group["lr"] for group in one.optimizer.param_groups for weight in group["params"]}
    wide = one.model.model.embed_vision.patch_dense
    assert wide.in_features == 6912
    assert rates[id(wide.weight)] == pytest.approx(0.1 * rates[id(wide.bias)])
    assert len(rates) == len([*one.model.parameters(), *one.probes.parameters()])


def test_quantisation_aware_training_moves_all_weights_and_publishes_those_of_the_grid(trainer, tmp_path):
    one = trainer(skills=("names",), qat=True)
    one.mixture.rows = 2
    one._joint = 100
    one._step()
    weight = one.model.model.language_model.layers[0].mlp.up_proj.weight
    assert len(weight[0, :32].unique()) > 16
    one._save()
    again = Trainer(tmp_path, minutes=1, skills=("names",))
    assert again.qat
    again.publish(tmp_path / "mini-moe")
    assert torch.equal(again.model.model.language_model.layers[0].mlp.up_proj.weight, weight)
    found = gl.qat_grid(gl.load(tmp_path / "mini-moe", progress=False))
    assert set(found.on_grid) == {part.part for part in found.parts} >= {"embedding", "attention", "experts"}


def test_questions_are_drawn_from_the_held_out_part_of_every_skill_the_same_every_time():
    drawn = held_out_questions(each=3)
    assert drawn == held_out_questions(each=3)
    assert {question.skill for question in drawn} >= set(skill_names()) | {"scenes", "tools", "long recall"}
    for skill in {question.skill for question in drawn}:
        assert len([question for question in drawn if question.skill == skill]) == 3


def test_nothing_is_published_without_a_run(tmp_path):
    from typer.testing import CliRunner

    from gemma_lab.cli.app import app

    done = CliRunner().invoke(
        app, ["minis", "publish", "--folder", str(tmp_path / "x"), "--run", str(tmp_path / "none")]
    )
    assert done.exit_code == 1
    assert "There is no training run" in done.output
    assert not (tmp_path / "x").exists()


def test_a_mini_without_encoders_is_meant_to_reach_five_points_less():
    assert (target("mini-moe", "digits"), target("mini-unified", "digits")) == (0.97, 0.92)
    assert target("mini-unified", "motion") is None


def test_a_card_keeps_the_rows_of_skills_that_were_not_asked_again(tmp_path):
    asked = load_questions(skills=["names"], per_skill=2)
    found = Checkup("mini", [GradedAnswer(one, "?", False) for one in asked], not_asked={})
    earlier = [
        {"skill": "numbers", "questions": 200},
        {"skill": "names", "questions": 9},
        {"skill": "digits"},
    ]
    write_card(tmp_path, found, training={}, earlier=earlier)
    rows = json.loads((tmp_path / "card.json").read_text())["skills"]
    assert [row["skill"] for row in rows] == ["digits", "names", "numbers"]
    assert [row.get("questions") for row in rows] == [None, 2, 200]


def test_a_skill_that_there_is_not_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(LabError, match="No skill is called 'direction'"):
        Trainer(tmp_path / "run", minutes=1, skills=("names", "direction"))
    assert not (tmp_path / "run").exists()


def test_a_skill_in_two_groups_of_rows_counts_once(trainer, monkeypatch):
    one = trainer(skills=("names",))
    a, b, c = (one.batcher.row("names", length=length) for length in (192, 60, 120))
    practice = Practice([a, b, c], 8, None)
    monkeypatch.setattr(one.curriculum, "draw", lambda progress: practice)
    monkeypatch.setattr(one.forward, "balance", lambda: torch.zeros(()))
    monkeypatch.setattr(type(one), "_watches", False)
    found, gradients = [], []
    for groups in ([[a, b, c]], [[a], [b, c]]):
        monkeypatch.setattr(training, "by_length", lambda rows, groups=groups: groups)
        one.optimizer.zero_grad()
        found.append(one._practise()["names"])
        gradients.append(one.model.lm_head.weight.grad.clone())
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-7)
