"""Edits as values: what they accept, how they merge, and what a file may hold."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

from gemma_lab import Edit, LabError
from gemma_lab.errors import BadEdit
from gemma_lab.trace.interventions.edit import LayerEdit

SHAPE = dict.fromkeys(range(6), (128, 8))


def full() -> Edit:
    return Edit(ablate_experts={4: [90, 17], "all": [3]}, boost_experts={4: {17: 2}, 1: {0: -0.5}},
                force_experts={2: [5]})  # fmt: skip


def test_one_edit_has_one_form():
    assert Edit(ablate_experts={4: [90, 17, 17]}) == Edit(ablate_experts={np.int64(4): {17, 90}, 5: []})
    assert Edit(ablate_experts=range(3)) == Edit(ablate_experts={"all": (2, 1, 0)})
    assert Edit(boost_experts={17: 2}) == Edit(boost_experts={"all": {17: 2.0}})
    assert len({full(), full(), Edit()}) == 2


def test_its_repr_makes_it_again():
    assert repr(full()) == (
        "Edit(ablate_experts={4: [17, 90], 'all': [3]}, boost_experts={1: {0: -0.5}, 4: {17: 2.0}}, "
        "force_experts={2: [5]})"
    )
    assert eval(repr(full())) == full()
    assert eval(repr(Edit())) == Edit()


def test_a_large_edit_prints_as_numbers():
    many = Edit(ablate_experts={layer: range(100) for layer in range(30)}, force_experts=[120])
    assert repr(many) == "Edit(ablate_experts: 3,000 in 30 layers, force_experts: 1 in all layers)"


def test_it_does_not_change():
    edit = full()
    with pytest.raises(TypeError):
        edit.ablate_experts[4] = (1,)
    with pytest.raises(TypeError):
        edit.boost_experts[4][17] = 1.0
    with pytest.raises(AttributeError):
        edit.force_experts = {}


def test_it_is_copied_and_pickled():
    assert copy.deepcopy(full()) == pickle.loads(pickle.dumps(full())) == full()


def test_what_it_does_in_a_layer():
    assert full().at(4) == LayerEdit(ablate=(3, 17, 90), boost=((17, 2.0),))
    assert full().at(2) == LayerEdit(ablate=(3,), force=(5,))
    assert not Edit().at(0)
    own = Edit(boost_experts={"all": {1: 1.0, 2: 1.0}, 4: {1: 0.0, 3: 3.0}})
    assert own.at(4).boost == ((2, 1.0), (3, 3.0))
    assert own.at(5).boost == ((1, 1.0), (2, 1.0))


def test_it_is_true_if_it_changes_something():
    assert not Edit()
    assert not Edit(boost_experts={4: {17: 0}}, ablate_experts={4: []})
    assert Edit(force_experts=[1])
    assert Edit(boost_experts={4: {17: 1e-3}})


def test_merging():
    one = Edit(ablate_experts={4: [1]}, boost_experts={4: {7: 1.0, 8: 1.0}}, force_experts=[9])
    two = Edit(ablate_experts={4: [2], 5: [3]}, boost_experts={4: {7: 2.0}})
    assert one | two == Edit(
        ablate_experts={4: [1, 2], 5: [3]}, boost_experts={4: {7: 2.0, 8: 1.0}}, force_experts=[9]
    )
    assert (two | one).at(4).boost == ((7, 1.0), (8, 1.0))
    assert one | one == one | Edit() == Edit() | one == one
    assert (one | two) | full() == one | (two | full())
    with pytest.raises(TypeError):
        one | {4: [1]}


@pytest.mark.parametrize("layer", [4, "all"])
def test_never_and_always_contradict_each_other(layer):
    with pytest.raises(BadEdit, match=r"Expert 17 of .* both ablated and forced"):
        Edit(ablate_experts={layer: [17]}, force_experts={4: [17]})
    with pytest.raises(BadEdit, match="both ablated and forced"):
        _ = Edit(ablate_experts={layer: [17]}) | Edit(force_experts=[17])


@pytest.mark.parametrize(
    "given",
    [
        {"ablate_experts": "17"}, {"ablate_experts": 17}, {"ablate_experts": {4: 17}},
        {"ablate_experts": {4: "17"}}, {"ablate_experts": {4: [1.0]}}, {"ablate_experts": [True, False]},
        {"ablate_experts": [-1]}, {"ablate_experts": {"4": [1]}}, {"ablate_experts": {-1: [1]}},
        {"ablate_experts": {4: {17: 2.0}}}, {"ablate_experts": [70_000]}, {"ablate_experts": None},
        {"boost_experts": [17]}, {"boost_experts": {4: {17: "2"}}}, {"boost_experts": {17: float("nan")}},
        {"boost_experts": {17: float("inf")}}, {"boost_experts": {17: None}},
        {"boost_experts": {17: 10**400}},
        {"boost_experts": {17: 1.0, 4: {17: 1.0}}}, {"boost_experts": {17: True}},
        {"force_experts": {4: None}},
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_edit_is_refused_with_an_example(given):
    with pytest.raises(BadEdit, match="→") as caught:
        Edit(**given)
    assert len(str(caught.value)) < 300
    assert isinstance(caught.value, LabError)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (Edit(ablate_experts={9: [1]}), "Layer 9 of tiny does not exist or has no experts.\n→ .*0 to 5"),
        (Edit(ablate_experts=[127, 128, 300]), "experts 128, 300 does not exist in layer 0.*\n→ .*0 to 127"),
        (Edit(boost_experts={2: {128: 0.0}}), "Expert 128 does not exist in layer 2"),
        (Edit(force_experts={3: range(9)}), "9 experts of layer 3 would be forced; tiny sends .* to 8"),
        (
            Edit(ablate_experts={3: range(100), "all": range(100, 121)}),
            "121 of 128 .* layer 3.*\n→ .*most 120",
        ),
    ],
)
def test_what_a_model_does_not_have_is_named(edit, said):
    with pytest.raises(BadEdit, match=said):
        edit.check(SHAPE, model="tiny")


def test_what_a_model_has_is_accepted():
    Edit(ablate_experts=range(120), force_experts=range(120, 128)).check(SHAPE)
    full().check(SHAPE)
    Edit().check({})
    with pytest.raises(BadEdit, match="no experts to edit in E2B"):
        full().check({}, model="E2B")


def test_layers_without_experts_are_named_briefly():
    with pytest.raises(BadEdit, match=r"with experts: 1, 3 to 5\."):
        Edit(ablate_experts={0: [1]}).check({3: (8, 2), 4: (8, 2), 5: (8, 2), 1: (8, 2)})


def test_it_goes_to_a_file_and_back(tmp_path):
    for edit in (full(), Edit(), Edit(boost_experts={4: {17: 0.0}})):
        assert Edit.open(edit.save(tmp_path / "edit.json")) == edit
        assert Edit.from_dict(json.loads(json.dumps(edit.to_dict()))) == edit


GOOD = '{"format": "gemma_lab edit", "version": 1, '


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", "{}", '{"format": "gemma_lab trace", "version": 1}', GOOD[:30],
        '{"format": "gemma_lab edit", "version": 2}', '{"format": "gemma_lab edit", "version": true}',
        GOOD + '"other": {}}',
        GOOD + '"ablate_experts": [1]}',
        GOOD + '"ablate_experts": {"4": 1}}',
        GOOD + '"ablate_experts": {"4": {"1": 2}}}',
        GOOD + '"ablate_experts": {"4": ["1"]}}',
        GOOD + '"ablate_experts": {"4": [1.5]}}',
        GOOD + '"ablate_experts": {"04": [1]}}',
        GOOD + '"ablate_experts": {"٤": [1]}}',
        GOOD + '"ablate_experts": {"-1": [1]}}',
        GOOD + '"ablate_experts": {"4": [1]}, "ablate_experts": {}}',
        GOOD + '"ablate_experts": {"4": [' + "9" * 5000 + "]}}",
        GOOD + '"ablate_experts": ' + '{"4":' * 100_000,
        GOOD + '"boost_experts": {"4": {"17": NaN}}}',
        GOOD + '"boost_experts": {"4": {"17": 1e999}}}',
        GOOD + '"boost_experts": {"4": [17]}}',
        GOOD + '"boost_experts": {"4": {"x": 1}}}',
        GOOD + '"ablate_experts": {"4": [1]}, "force_experts": {"4": [1]}}',
    ],
    ids=lambda text: text[-40:],
)  # fmt: skip
def test_a_file_that_is_no_edit_is_refused(tmp_path, text):
    path = tmp_path / "edit.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadEdit) as caught:
        Edit.open(path)
    assert len(str(caught.value)) < 400


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "edit.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadEdit, match="cannot be read"):
        Edit.open(path)
    path.write_bytes(b" " * (32 << 20) + b"{}")
    with pytest.raises(BadEdit, match="larger than 33,554,432 bytes"):
        Edit.open(path)
    with pytest.raises(BadEdit, match="no file"):
        Edit.open(tmp_path)


def test_it_needs_no_torch():
    program = (
        "import sys; from gemma_lab import Edit; Edit(ablate_experts=[1]).to_dict(); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
