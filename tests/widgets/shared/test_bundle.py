from __future__ import annotations

import re
from pathlib import Path

import pytest

from gemma_lab.widgets.shared.bundle import bundle, stylesheet, top_level_names

ROOT = Path(__file__).parents[3] / "gemma_lab" / "widgets" / "js"
ENTRIES = sorted(
    str(path.relative_to(ROOT))
    for path in ROOT.rglob("*.js")
    if "export default" in path.read_text(encoding="utf-8")
    or (path.stem.endswith("_page") and path.stem != "saved_page")
)


@pytest.fixture
def folder(tmp_path):
    """Write modules; return a function that bundles one of them."""

    def write(**modules: str):
        for name, source in modules.items():
            path = tmp_path / f"{name.replace('__', '/')}.js"
            path.parent.mkdir(exist_ok=True)
            path.write_text(source, encoding="utf-8")
        return lambda entry: bundle(entry, root=tmp_path)

    return write


def test_every_widget_and_every_page_is_an_entry() -> None:
    widgets = {"chat/chat.js", "routing/routing.js", "attention/attention.js", "explorer/explorer.js"}
    pages = {f"{name}/{name}_page.js" for name in ("routing", "attention", "explorer")}
    assert widgets | pages <= set(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_bundle_has_no_imports_and_every_name_once(entry: str) -> None:
    source = bundle(entry)
    assert not re.search(r"^import\b|\bimport\(", source, re.MULTILINE)
    exports = re.findall(r"^export .*", source, re.MULTILINE)
    assert len(exports) == (0 if entry.endswith("_page.js") else 1 if entry == "chat/chat.js" else 2)
    names = top_level_names(source)
    assert len(names) > 30
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    "banned",
    [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "http://",
        "https://",
        "eval(",
        "new Function",
        " fetch(",
        "XMLHttpRequest",
        "WebSocket",
    ],
)
def test_no_module_parses_markup_or_reaches_the_network(entry: str, banned: str) -> None:
    assert banned not in bundle(entry).replace('"http://www.w3.org/2000/svg"', "")


def test_no_stylesheet_loads_anything() -> None:
    styles = stylesheet(*(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.css")))
    assert "url(" not in styles
    assert "@import" not in styles


def test_modules_come_once_and_before_their_users(folder) -> None:
    imports = 'import {\n  b,\n  c,\n} from "../b/both.js";\nimport d from "./d.js";\n'
    source = folder(
        a__main=f"{imports}export default {{ b, c, d }};\n",
        a__d='import { b } from "../b/both.js";\nexport default function d() {\n  return b;\n}\n',
        b__both="export const b = 1;\nexport function c() {}\n",
    )("a/main.js")
    assert source.count("const b = 1") == 1
    assert source.index("const b") < source.index("function d()") < source.index("export default {")
    assert "import" not in source
    assert source.count("export") == 1


def test_comments_with_types_are_left_out(folder) -> None:
    source = folder(main="/**\n * @param {number} a\n */\nexport function f(a) {\n  return a;\n}\n")(
        "main.js"
    )
    assert source == "export function f(a) {\n  return a;\n}\n"


@pytest.mark.parametrize(
    "declared", ["const same = 1;", "class same {}", "async function same() {}", "let [same] = [1];"]
)
def test_two_modules_with_one_name_are_refused(folder, declared: str) -> None:
    make = folder(
        main=f'import {{ x }} from "./other.js";\n{declared}\n', other=f"{declared}\nexport const x = 1;\n"
    )
    with pytest.raises(ValueError, match="same"):
        make("main.js")


@pytest.mark.parametrize(
    "line",
    [
        'import { x as y } from "./other.js";',
        'import * as other from "./other.js";',
        'import { x } from "package";',
        'import "./other.js";',
        'import { x } from "../../outside.js";',
    ],
)
def test_an_import_that_cannot_be_joined_is_refused(folder, line: str) -> None:
    make = folder(main=f"{line}\n", other="export const x = 1;\n")
    with pytest.raises(ValueError, match=r"main\.js"):
        make("main.js")
