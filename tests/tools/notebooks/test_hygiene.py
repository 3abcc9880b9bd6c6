"""What must hold in every committed notebook, read from its file: no kernel, no torch."""

from __future__ import annotations

import base64
import json
import re

import nbformat
import pytest

from tools.notebooks import form
from tools.notebooks.checkout import checkout
from tools.notebooks.links import BADGES_ID, INSTALL_ID
from tools.notebooks.opening import opening

PLACE = checkout()
NOTEBOOKS = PLACE.notebooks
#: Of one picture in an output: bytes.
MAX_PICTURE = 150_000
EVERY = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(path):
    return [cell for cell in form.read(path).cells if cell.cell_type == "code"]


def outputs(path):
    return [output for cell in code(path) for output in cell.outputs]


def text_of(output):
    return output.get("text", "") + json.dumps(
        {mime: data for mime, data in output.get("data", {}).items() if not mime.startswith("image/")}
    )


def test_there_are_notebooks_and_each_has_a_number_of_its_own_from_zero_on():
    names = [re.fullmatch(r"(\d\d)_([a-z][a-z0-9_]*)\.ipynb", path.name) for path in NOTEBOOKS]
    assert all(names), [path.name for path in NOTEBOOKS]
    numbers = [int(name[1]) for name in names]  # a number belongs to a topic; topics to come leave gaps
    assert numbers[0] == 0
    assert numbers == sorted(set(numbers))


@EVERY
def test_it_is_valid_and_in_the_committed_form(path):
    notebook = form.read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert not any(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f-]+)?", cell_id) for cell_id in ids), "name the cells"
    text = path.read_text(encoding="utf-8")
    assert text == form.dumps(form.normal(notebook, name=path.name)), (
        f"run: make notebooks NOTEBOOKS={path.name}"
    )
    assert len(text.encode()) <= form.MAX_BYTES


@EVERY
def test_every_cell_was_executed_in_order(path):
    counts = [cell.execution_count for cell in code(path)]
    assert counts == list(range(1, len(counts) + 1)), (
        "a cell without a count is run by nbval but not compared"
    )


@EVERY
def test_no_output_is_an_error_or_a_memory_address(path):
    for output in outputs(path):
        assert output.output_type != "error"
        assert not re.search(r"\bat 0x[0-9a-f]{6,}", text_of(output)), text_of(output)[:200]


@EVERY
def test_outputs_carry_no_script(path):
    for output in outputs(path):
        page = output.get("data", {}).get("text/html", "")
        assert not re.search(r"<script|\son\w+\s*=\s*[\"']|javascript:", page, re.IGNORECASE), page[:200]


@EVERY
def test_pictures_are_small(path):
    for output in outputs(path):
        for mime, data in output.get("data", {}).items():
            if mime.startswith("image/") and "svg" not in mime:
                assert len(base64.b64decode(data)) <= MAX_PICTURE


@EVERY
def test_it_opens_with_what_it_shows_needs_and_takes(path):
    first = opening(path)
    assert re.search(r"\d+ (second|minute)s?|a minute", first.takes), first.takes
    assert [cell.id for cell in form.read(path).cells[1:3]] == [BADGES_ID, INSTALL_ID]


@EVERY
def test_no_cell_ends_in_a_semicolon(path):
    # Under nbval it does not suppress the output: assign to _ instead.
    assert not [cell.id for cell in code(path) if cell.source.rstrip().endswith(";")]


@EVERY
def test_no_path_of_somebody_elses_machine(path):
    pattern = re.compile(r"(?<![\w.:/])(/(home|Users|root|tmp|work|opt|content|mnt)/|[A-Z]:\\\\)")
    sources = [cell.source for cell in form.read(path).cells]
    found = [text[:200] for text in [*sources, *map(text_of, outputs(path))] if pattern.search(text)]
    assert not found


@EVERY
def test_images_in_the_prose_have_alternative_text(path):
    for cell in form.read(path).cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"!\[\s*\]\(", cell.source)
            assert not re.search(r"<img(?![^>]*\balt=\"[^\"]+\")", cell.source)


def test_badges_and_install_cell_are_the_same_everywhere():
    install = {next(c.source for c in form.read(path).cells if c.id == INSTALL_ID) for path in NOTEBOOKS}
    assert len(install) == 1
    shapes = {
        next(c.source for c in form.read(path).cells if c.id == BADGES_ID).replace(path.name, "NAME")
        for path in NOTEBOOKS
    }
    assert len(shapes) == 1


def test_no_sanitiser_rule_is_dropped_in_silence():
    from nbval.plugin import get_sanitize_patterns

    text = (PLACE.folder / "notebooks" / "sanitize.cfg").read_text(encoding="utf-8")
    patterns = get_sanitize_patterns(text)
    assert len(patterns) == text.count("regex:") > 0
    for pattern, _ in patterns:
        re.compile(pattern)
