"""Use an install without the extra `models`, and print what works as one line of JSON.

``--hide`` makes the packages of the extra look as if they were missing, and psutil, which Pyodide has not.
"""

from __future__ import annotations

import importlib.abc
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODELS = {
    "accelerate",
    "jsonschema",
    "llguidance",
    "safetensors",
    "soxr",
    "torch",
    "torchvision",
    "transformers",
}
NOT_IN_PYODIDE = {"psutil"}


class Hidden(importlib.abc.MetaPathFinder):
    """Finder that reports packages as missing."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in MODELS | NOT_IN_PYODIDE:
            msg = f"No module named {name!r}"
            raise ModuleNotFoundError(msg, name=name)


def main() -> None:
    if "--hide" in sys.argv:
        sys.meta_path.insert(0, Hidden())
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    import gemma_lab as gl
    from gemma_lab.assets import data_path

    trace = gl.open_trace(data_path("traces/needle-131k.trace"))
    with tempfile.TemporaryDirectory() as folder:
        again = gl.open_trace(trace.save(Path(folder) / "again.trace"))
        equal = bool((again.tokens.ids == trace.tokens.ids).all()) and repr(again) == repr(trace)
        from support.routing_traces import arabic_trace

        routed = arabic_trace()
        widgets = [gl.AttentionExplorer(trace), gl.Explorer(trace), gl.RoutingExplorer(routed), gl.Planner()]
        pages = {
            type(widget).__name__: widget.to_html(Path(folder) / "page.html").stat().st_size
            for widget in widgets
            if hasattr(widget, "to_html")
        }
    missing = {}
    for name in gl.__all__:
        try:
            getattr(gl, name)
        except gl.LabError as error:
            missing[name] = str(error)
    plan = gl.plan("26B-A4B", hardware="RTX 3090", quantization="q4_0")
    print(
        json.dumps(
            {
                "tokens": len(trace.tokens),
                "saved_equal": equal,
                "explorers": sorted(type(widget).__name__ for widget in widgets),
                "pages": pages,
                "missing": missing,
                "plan_bytes": int(plan.needed_bytes),
                "loaded": sorted(MODELS & {name.partition(".")[0] for name in sys.modules}),
            }
        )
    )


if __name__ == "__main__":
    main()
