"""``python -m tools.bfcl FOLDER``: cut data/bfcl/cases.json from the data of bfcl-eval 2026.3.23."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import typer

#: Category to the kind of case; `EACH` are drawn of each with a fixed seed.
KINDS = {
    "simple_python": "single",
    "multiple": "multiple",
    "parallel": "parallel",
    "irrelevance": "irrelevance",
}
EACH, SEED = 10, 4
#: BFCL writes Python's names of types; JSON Schema has these.
_TYPES = {"dict": "object", "float": "number", "tuple": "array", "list": "array"}
_KEPT = ("type", "description", "properties", "required", "items", "enum")


def schema(given: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter's description as JSON Schema; what has no place in it is left out."""
    made: dict[str, Any] = {key: given[key] for key in _KEPT if key in given}
    if made.get("type") == "any":
        del made["type"]
    elif "type" in made:
        made["type"] = _TYPES.get(made["type"], made["type"])
    if "properties" in made:
        made["properties"] = {name: schema(part) for name, part in made["properties"].items()}
    if isinstance(made.get("items"), dict):
        made["items"] = schema(made["items"])
    return made


def case(kind: str, question: dict[str, Any], answer: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one case: its prompt, its tools in OpenAI's form, and the calls that are right.

    A call is right with any of the listed values of each argument; ``""`` among them means that it may be
    left out.
    """
    [[message]] = question["question"]
    tools = [
        {
            "type": "function",
            "function": {
                "name": function["name"],
                "description": function["description"],
                "parameters": schema(function["parameters"]),
            },
        }
        for function in question["function"]
    ]
    return {"id": question["id"], "kind": kind, "prompt": message["content"], "tools": tools, "calls": answer}


def main(folder: Path) -> None:
    """Write the slice: the same cases every time."""
    cases = []
    for category, kind in KINDS.items():
        questions = _lines(folder / f"BFCL_v4_{category}.json")
        answers = folder / "possible_answer" / f"BFCL_v4_{category}.json"
        truth = {line["id"]: line["ground_truth"] for line in _lines(answers)} if answers.exists() else {}
        plain = [one for one in questions if len(one["question"]) == 1 and len(one["question"][0]) == 1]
        chosen = random.Random(SEED).sample(plain, EACH)  # noqa: S311 a fixed choice, no secret
        cases += [
            case(kind, one, truth.get(one["id"], [])) for one in sorted(chosen, key=lambda one: one["id"])
        ]
    target = Path(__file__).resolve().parents[1] / "data" / "bfcl" / "cases.json"
    target.write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    typer.echo(f"{len(cases)} cases in {target}")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


if __name__ == "__main__":
    typer.run(main)
