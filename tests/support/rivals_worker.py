"""One measurement of one tool, in a process of its own; prints one line of JSON.

``python rivals_worker.py capture WAY MODEL TOKENS`` prefills a prompt of that many tokens and keeps its
attention. ``python rivals_worker.py page WAY ARRAYS OUT`` writes a page that needs no network: ARRAYS is an
``.npz`` of ``attention`` [layers, heads, tokens, tokens] and ``tokens``. Its bytes are those of the HTML
that a notebook saves, scripts from elsewhere not counted.

It runs in the rivals' environment, where gemma_lab is not installed (WAY ``gemma_lab`` runs in the other),
and each way is the one that the tool's own documentation shows for this purpose.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MAX_SECONDS, MAX_ROUNDS = 10.0, 5


def plain(model: str) -> Callable[[Any], Any]:
    loaded = load(model, "sdpa")
    return lambda ids: (loaded(input_ids=ids, use_cache=False, logits_to_keep=1), ())[1]


def eager(model: str) -> Callable[[Any], Any]:
    loaded = load(model, "eager")
    return lambda ids: (
        loaded(input_ids=ids, use_cache=False, logits_to_keep=1, output_attentions=True).attentions
    )


def transformer_lens(model: str) -> Callable[[Any], Any]:
    import torch
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(model, device="cpu", dtype=torch.float32)

    def run(ids: Any) -> Any:
        _, cache = bridge.run_with_cache(ids, names_filter=lambda name: name.endswith("hook_pattern"))
        return list(cache.values())

    return run


def nnterp(model: str) -> Callable[[Any], Any]:
    import torch
    from nnterp import StandardizedTransformer

    standard = StandardizedTransformer(
        model, enable_attention_probs=True, device_map="cpu", dtype=torch.float32
    )

    def run(ids: Any) -> Any:
        with standard.trace(ids, use_cache=False, logits_to_keep=1):
            kept = [].save()
            for layer in range(standard.num_layers):
                kept.append(standard.attention_probabilities[layer])
        return kept

    return run


def gemma_lab(model: str) -> Callable[[Any], Any]:
    from gemma_lab.trace.probes.attention.probe import AttentionProbe
    from gemma_lab.trace.probes.recorder import Recorder
    from gemma_lab.trace.records.attention import AttentionRequest

    loaded = load(model, "sdpa")

    def run(ids: Any) -> Any:
        probe = AttentionProbe(AttentionRequest())
        with Recorder(loaded, [probe]):
            loaded(input_ids=ids, use_cache=False, logits_to_keep=1)
        return (probe.result(),)

    return run


CAPTURE = {
    "plain": (plain, "transformers"), "eager": (eager, "transformers"),
    "TransformerLens": (transformer_lens, "transformer-lens"), "nnterp": (nnterp, "nnterp"),
    "gemma_lab": (gemma_lab, "gemma_lab"),
}  # fmt: skip


def load(model: str, attention: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32, attn_implementation=attention
    ).eval()


def high_water() -> int | None:
    """Return the most memory this process has held since `reset_high_water`, in bytes; Linux only."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def reset_high_water() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # no Linux, or not allowed: the memory column stays empty
        return


def capture(way: str, model: str, tokens: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)  # a thread that waits for work counts as processor time
    build, package = CAPTURE[way]
    random = torch.Generator().manual_seed(0)
    vocabulary = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    ids = torch.randint(vocabulary // 10, vocabulary * 6 // 10, (1, tokens), generator=random)
    with torch.no_grad():
        run = build(model)
        run(ids[:, :64])
        reset_high_water()
        before = high_water()
        kept = run(ids)
        peak = high_water()
        size = sum(kept_bytes(each) for each in kept)
        del kept
        seconds: list[float] = []
        while len(seconds) < MAX_ROUNDS and sum(seconds) < MAX_SECONDS:
            start = time.process_time()
            run(ids)
            seconds.append(time.process_time() - start)
    return {
        "way": way, "version": importlib.metadata.version(package), "tokens": tokens,
        "seconds": min(seconds), "median": statistics.median(seconds), "rounds": len(seconds),
        "memory": None if before is None or peak is None else peak - before, "kept": size,
    }  # fmt: skip


def kept_bytes(captured: Any) -> int:
    return captured.nbytes if hasattr(captured, "nbytes") else captured.numel() * captured.element_size()


def bertviz(attention: Any, tokens: list[str]) -> tuple[str, str]:
    """Its page asks a CDN for three scripts; here they come from npm packages that `make rivals` installs."""
    import torch
    from bertviz import head_view

    shown = head_view([torch.tensor(layer)[None] for layer in attention], tokens, html_action="return").data
    modules, local = Path(sys.prefix) / "node_modules", shown
    for asked, file in CDN.items():
        if (modules / file).exists():
            found = (modules / file).as_uri()
            local = local.replace(asked, found if asked.endswith(".js") else found.removesuffix(".js"))
    return shown, local


CDN = {
    "https://cdnjs.cloudflare.com/ajax/libs/require.js/2.3.6/require.min.js": "requirejs/require.js",
    "https://cdnjs.cloudflare.com/ajax/libs/d3/5.7.0/d3.min": "d3/dist/d3.min.js",
    "https://cdnjs.cloudflare.com/ajax/libs/jquery/2.0.0/jquery.min": "jquery/dist/jquery.min.js",
}


def circuitsvis(attention: Any, tokens: list[str]) -> tuple[str, str]:
    """One view a layer, as its notebooks do: a view shows the heads of one layer."""
    from circuitsvis.attention import attention_heads

    views = [attention_heads(attention=layer, tokens=tokens) for layer in attention]
    return "".join(view.cdn_src for view in views), "".join(view.local_src for view in views)


def inspectus(attention: Any, tokens: list[str]) -> tuple[str, str]:
    import inspectus as tool
    import IPython.display
    from IPython.core.display import HTML
    from IPython.utils.capture import capture_output

    shown: list[str] = []
    with capture_output():
        IPython.display.display = lambda page: shown.append(page.data if isinstance(page, HTML) else "")
        tool.attention(attention, tokens)
    return "".join(shown), "".join(shown)


PAGE = {
    "BertViz": (bertviz, "bertviz"), "CircuitsVis": (circuitsvis, "circuitsvis"),
    "Inspectus": (inspectus, "inspectus"),
}  # fmt: skip


def page(way: str, arrays: Path, out: Path) -> dict[str, Any]:
    import numpy as np

    build, package = PAGE[way]
    with np.load(arrays) as file:
        attention, tokens = file["attention"].astype("float32"), [str(token) for token in file["tokens"]]
    start = time.process_time()
    saved, local = build(attention, tokens)
    seconds = time.process_time() - start
    html = f"<!doctype html><meta charset=utf-8><body>{local}</body>"
    out.write_text(html, encoding="utf-8")
    return {
        "way": way, "version": importlib.metadata.version(package), "seconds": seconds,
        "bytes": len(saved.encode()), "layers": len(attention), "heads": len(attention[0]),
        "tokens": len(tokens),
    }  # fmt: skip


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    task, way, source, last = sys.argv[1:]
    done = capture(way, source, int(last)) if task == "capture" else page(way, Path(source), Path(last))
    sys.stdout.write("\n" + json.dumps(done) + "\n")
