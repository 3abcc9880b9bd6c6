"""The planner: memory, speed and cost of models on hardware, side by side."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import traitlets

from ...checks import real_number, short_repr
from ...errors import LabError
from ...planning.devices import Hardware, find_hardware, known_hardware
from ...planning.facts import unknown
from ...planning.models import model_shape
from ...planning.planner import plan
from ...planning.plans import Plan
from ...planning.quantization import quantization
from ...planning.runtimes import find_runtime, known_runtimes
from ...views.planning.html import plans_html
from ...views.planning.text import plans_text
from ..shared.base import LabWidget
from ..shared.bundle import bundle, stylesheet
from ..shared.saved_page import write_page
from .wire import planner_facts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_STATE = (
    "models",
    "hardware",
    "quantization",
    "runtime",
    "cache",
    "context",
    "batch",
    "runtime_date",
    "ownership",
    "prompt_per_answer",
    "day",
)


class Planner(LabWidget):
    """Pick models, hardware, bits, context and runtime; see memory, speed and cost.

    Memory is drawn as stacked bars against what the device leaves free, speed with its 80 % interval and
    the measured runs of that hardware as dots, cost as a month's bill against hosted models with the
    break-even. Every number explains itself where the pointer or the keyboard's focus is. The page computes
    everything itself, so `to_html` needs no kernel.

    Parameters
    ----------
    models
        Name or names as `gemma_lab.plan` takes them. Default: the five sizes.
    hardware
        A name, or a mapping as `gemma_lab.plan` takes it.
    **settings
        ``quantization``, ``runtime``, ``cache``, ``context``, ``batch``, ``runtime_date``, ``ownership``,
        ``prompt_per_answer``, ``day``: see the attributes.

    Attributes
    ----------
    models : list of str
        Short names, e.g. ``["E4B", "26B-A4B"]``. Every attribute can be set, and the views follow.
    hardware : str
        Name of the hardware.
    quantization, runtime, cache : str
        Names, as `gemma_lab.plan` takes them.
    context, batch : int
        Tokens of a sequence, and sequences. A context beyond a model's own is cut to it.
    runtime_date : str
        Date of the runtime's build, ISO; ``""`` for the newest.
    ownership : dict
        Fields of `gemma_lab.planning.cost.Ownership` that differ from the hardware's own.
    prompt_per_answer : float
        Tokens of prompts for each token of an answer.
    day : str
        Day whose prices hold, ISO.

    Raises
    ------
    LabError
        If a name is not known, or a number is out of range.

    Examples
    --------
    >>> planner = gl.Planner(["12B", "26B-A4B"], hardware="RTX 5060 Ti", quantization="IQ4_XS")
    >>> planner.context = 65_536
    >>> planner.plans[1].longest_context
    >>> planner.to_html("planner.html")
    """

    _esm = bundle("planner/planner.js")
    _css = stylesheet("shared/base.css", "planner/planner.css")
    _messages = ("set_values",)

    models = traitlets.List(traitlets.Unicode()).tag(sync=True)
    hardware = traitlets.Unicode().tag(sync=True)
    quantization = traitlets.Unicode("Q4_K_M").tag(sync=True)
    runtime = traitlets.Unicode("llama.cpp").tag(sync=True)
    cache = traitlets.Unicode("f16").tag(sync=True)
    context = traitlets.Int(8192).tag(sync=True)
    batch = traitlets.Int(1).tag(sync=True)
    runtime_date = traitlets.Unicode("").tag(sync=True)
    ownership = traitlets.Dict().tag(sync=True)
    prompt_per_answer = traitlets.Float(4.0).tag(sync=True)
    day = traitlets.Unicode().tag(sync=True)
    #: What the page computes with.
    _facts = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        models: str | Iterable[str] = ("E2B", "E4B", "12B", "26B-A4B", "31B"),
        *,
        hardware: str | Mapping[str, Any] = "RTX 5060 Ti 16GB",
        **settings: Any,
    ) -> None:
        wrong = [name for name in settings if name not in _STATE]
        if wrong:
            raise unknown("setting", wrong[0], _STATE)
        machine = find_hardware(hardware)
        self._extra: dict[str, Hardware] = (
            {} if machine.label in known_hardware() else {machine.label: machine}
        )
        settings.setdefault("day", dt.datetime.now(tz=dt.UTC).date().isoformat())
        settings = {**settings, "models": models, "hardware": machine.label}
        program = find_runtime(settings.get("runtime", _default_runtime(machine)))
        settings["runtime"] = program.name
        settings.setdefault("quantization", program.default_quantization)
        settings = self._checked(settings)
        super().__init__(_facts=planner_facts(self._extra.values()), **settings)

    def __repr__(self) -> str:
        names = ", ".join(self.models)
        what = f"{self.quantization}, {self.runtime}, {self.context:,} tokens"
        return f"Planner({names} on {self.hardware}, {what})"

    def _static_fallback(self) -> tuple[str, str]:
        plans = self.plans
        return plans_html(plans), plans_text(plans)

    @property
    def plans(self) -> list[Plan]:
        """A `Plan` for each of `models`, with the current settings."""
        return [self._plan(name, self._state()) for name in self.models]

    def set(self, **values: Any) -> None:
        """Set several attributes at once; what no longer goes with them takes the runtime's usual value.

        Raises
        ------
        LabError
            If a name is not known or a number out of range; then nothing changes.
        """
        wrong = [name for name in values if name not in _STATE]
        if wrong:
            raise unknown("setting", wrong[0], _STATE)
        checked = self._checked({**self._state(), **values})
        self._setting = True
        try:
            with self.hold_sync():
                for name, value in checked.items():
                    setattr(self, name, value)
        finally:
            self._setting = False

    def to_html(self, path: str | Path) -> Path:
        """Write the planner as one HTML file that needs neither kernel nor network, and return its path.

        Raises
        ------
        LabError
            If the folder does not exist.
        """
        html, _ = self._static_fallback()
        state = {"_facts": self._facts, **self._state()}
        return write_page(
            path,
            state,
            {},
            title="Planner",
            fallback=html,
            program="planner/planner_page.js",
            style=self._css,
        )

    #: Whether `set` is under way, which has checked the values together.
    _setting = False

    @traitlets.validate(*_STATE)
    def _validate(self, proposal: dict[str, Any]) -> Any:
        """Check one attribute that was set on its own, beside the others."""
        name, value = proposal["trait"].name, proposal["value"]
        if self._setting or not self.models or not self.hardware:
            return value
        return self._checked({**self._state(), name: value})[name]

    def _state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _STATE}

    def _checked(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return a state with full names, or raise a `LabError`."""
        names = state["models"]
        if not isinstance(names, Iterable):
            raise LabError(f"models is a list of names, not {short_repr(names)}.", hint='E.g. ["26B-A4B"].')
        names = [names] if isinstance(names, str) else names
        keys = list(dict.fromkeys(model_shape(name).key for name in names))
        if not keys:
            raise LabError("A planner needs a model.", hint='E.g. models=["26B-A4B"].')
        if not isinstance(state.get("quantization"), str):
            raise LabError("The planner takes a quantisation by name.", hint="gl.plan takes a file's size.")
        machine = find_hardware(self._extra.get(state["hardware"], state["hardware"]))
        if machine.label not in known_hardware() and machine.label not in self._extra:
            self._extra[machine.label] = machine
            self._facts = planner_facts(self._extra.values())
        full = {**state, "models": keys, "hardware": machine.label}
        if "runtime" in full:
            full["runtime"] = find_runtime(full["runtime"]).name
        full["quantization"] = quantization(state["quantization"], runtime=full.get("runtime", "")).name
        if "day" in full:
            _check_day(full["day"])
        ratio = full.get("prompt_per_answer", 0.0)
        real_number("prompt_per_answer", ratio, minimum=0, maximum=1e6)
        ownership = full.get("ownership", {})
        if not isinstance(ownership, Mapping):
            raise LabError(
                f"ownership is a mapping, not {short_repr(ownership)}.", hint='E.g. {"price_usd": 1500}.'
            )
        for name in keys:
            made = self._plan(name, full)
            owned = {"price_usd": 0.0, "power_w": 0.0, **ownership}
            made.ownership(owned)
        return full

    def _plan(self, name: str, state: Mapping[str, Any]) -> Plan:
        shape = model_shape(name)
        context = state.get("context", 8192)
        return plan(
            shape,
            hardware=self._extra.get(state["hardware"], state["hardware"]),
            quantization=state["quantization"],
            context=min(context, shape.context) if isinstance(context, int) else context,
            batch=state.get("batch", 1),
            runtime=state["runtime"],
            runtime_date=state.get("runtime_date", ""),
            cache=state.get("cache", "f16"),
        )

    def _on_set_values(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Take over what a view changed."""
        values = content.get("values")
        if not isinstance(values, dict):
            raise LabError("The page sent no settings.", hint="Reload it.")
        self.set(**{str(name): value for name, value in values.items()})


def _default_runtime(machine: Hardware) -> str:
    return "llama.cpp" if machine.kind in known_runtimes()["llama.cpp"].kinds else "vLLM"


def _check_day(day: object) -> None:
    try:
        dt.date.fromisoformat(str(day))
    except ValueError as error:
        raise LabError(f"day is an ISO date, not {day!r}.", hint='E.g. "2026-11-29".') from error
