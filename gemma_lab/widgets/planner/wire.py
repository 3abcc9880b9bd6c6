"""What the planner's front end computes with: models, formats, hardware, constants, runs, prices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...planning import speed, workload
from ...planning.devices import Hardware, known_hardware
from ...planning.estimates import MEASURED_FAMILIES, WIDER, hardware_width
from ...planning.evidence import MeasuredRun, measured_runs
from ...planning.facts import read_facts
from ...planning.memory import LABELS
from ...planning.models import ModelShape, shapes_by_key
from ...planning.prices import HostedPrice, hosted_prices
from ...planning.quantization import Quantization, known_quantizations
from ...planning.runtimes import Runtime, known_runtimes
from ...views.planning.figures import PART_COLORS


def planner_facts(extra: Iterable[Hardware] = ()) -> dict[str, Any]:
    """Return everything that the front end computes with, as plain data.

    Parameters
    ----------
    extra
        Hardware that is not among the known, listed first.
    """
    return {
        "models": {key: _model(shape) for key, shape in shapes_by_key().items()},
        "quantizations": [_quantization(each) for each in known_quantizations().values()],
        "caches": [
            {name: row[name] for name in ("name", "bits", "runtimes")}
            for row in read_facts("quantizations.json")["caches"]
        ],
        "hardware": [_hardware(each) for each in (*extra, *known_hardware().values())],
        "runtimes": [_runtime(each) for each in known_runtimes().values()],
        "rules": _rules(),
        "runs": [_run(run) for run in measured_runs() if run.use in ("fit", "check")],
        "prices": [
            _price(price) for price in hosted_prices(on="") if not price.prompt_above and price.usd_per_m_out
        ],
        "colors": PART_COLORS,
    }


def _quantization(each: Quantization) -> dict[str, Any]:
    return {
        "name": each.name,
        "bits": dict(each.bits),
        "fallback_bits": each.fallback_bits,
        "runtimes": list(each.runtimes),
        "source": each.source,
        "note": each.note,
    }


def _runtime(each: Runtime) -> dict[str, Any]:
    return {
        "name": each.name,
        "family": each.family,
        "kinds": list(each.kinds),
        "window_padding": each.window_padding,
        "piece": each.piece,
        "ple_on_host": each.ple_on_host,
        "logits_bytes": each.logits_bytes,
        "overhead_gib": dict(each.overhead_gib),
        "default_quantization": each.default_quantization,
        "source": each.source,
        "offload": each.offload,
        "host_share": each.host_share,
    }


def _run(run: MeasuredRun) -> dict[str, Any]:
    return {
        "model": run.model,
        "quantization": run.quantization,
        "hardware": run.hardware,
        "runtime": run.runtime,
        "date": run.date,
        "depth": run.depth,
        "speed": run.tokens_per_second,
        "source": run.source,
    }


def _price(price: HostedPrice) -> dict[str, Any]:
    return {
        "label": price.label,
        "model": price.model,
        "usd_per_m_in": price.usd_per_m_in,
        "usd_per_m_out": price.usd_per_m_out,
        "valid_from": price.valid_from,
        "valid_until": price.valid_until,
        "condition": price.condition,
        "checked": price.checked,
        "source": price.source,
    }


def _rules() -> dict[str, Any]:
    facts = read_facts("constants.json")
    return {
        "constants": dict(facts["log"]),
        "interval": facts["interval"],
        "wider": WIDER,
        "union_exponent": workload.BATCH_UNION_EXPONENT,
        "reference_bandwidth": speed.REFERENCE_BANDWIDTH,
        "labels": LABELS,
        "measured_families": list(MEASURED_FAMILIES),
        "fitted_to": facts["fitted_to"],
        "newest_run": facts["newest_run"],
    }


def _model(shape: ModelShape) -> dict[str, Any]:
    return {
        "key": shape.key,
        "name": shape.name,
        "family": shape.family,
        "kind": shape.kind,
        "parts": dict(shape.parts),
        "layers": shape.layers,
        "hidden": shape.hidden,
        "vocabulary": shape.vocabulary,
        "context": shape.context,
        "widest": shape.widest,
        "per_layer_width": shape.per_layer_width,
        "experts": shape.experts,
        "top_k": shape.top_k,
        "expert_width": shape.expert_width,
        "cache": [
            {
                "kind": group.stored.kind,
                "count": group.stored.count,
                "readers": group.readers,
                "query_width": group.query_width,
                "kv_heads": group.stored.kv_heads,
                "head_dim": group.stored.head_dim,
                "window": group.stored.window,
                "state": group.stored.state,
                "state_bytes": group.stored.state_bytes,
                "convolution": group.stored.convolution,
            }
            for group in shape.cache
        ],
    }


def _hardware(each: Hardware) -> dict[str, Any]:
    many = each.devices
    return {
        "name": each.label,
        "kind": each.kind,
        "speed_class": speed.speed_class(each.kind, unified=each.unified),
        "unified": each.unified,
        "old": workload.is_old(each),
        "devices": many,
        "memory_gib": each.memory_gib,
        "usable_bytes": each.usable_bytes,
        "bandwidth": None if each.bandwidth_gb_s is None else each.bandwidth_gb_s * 1e9,
        "rate": (each.tensor_tflops or 0.0) * 1e12,
        "wider": hardware_width(each),
        "host_bandwidth": (each.host_bandwidth_gb_s or workload.HOST_BANDWIDTH) * 1e9,
        "link_bandwidth": (each.link_gb_s or workload.LINK_BANDWIDTH) * 1e9,
        "price_usd": None if each.price_usd is None else each.price_usd * many,
        "power_w": None if each.power_w is None else each.power_w * many,
        "source": each.source,
        "note": each.note,
    }
