"""An edit of a model's experts and attention as a value that can be printed, compared, merged and saved.

No torch here: `gemma_lab.trace.interventions.apply` applies an edit to a model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...display import Displayed
from ...errors import BadEdit
from ..records.activations import Activations
from .attention_knockout import AttentionKnockout, as_knockouts
from .direction import Direction
from .parsing import Boosts, Experts, Heads, Layer, boosts, expert_sets, head_sets, order, union
from .patch import Patch, as_patches
from .serialization import KINDS, SETS, from_plain, read, to_plain, write
from .steering import Steering, as_steerings
from .validation import Anatomy, check, check_disjoint

_LONGEST_REPR = 200


@dataclass(frozen=True)
class LayerEdit:
    """The edit of the experts of one layer.

    Attributes
    ----------
    ablate, force
        Experts that are never chosen, and those that are always chosen; sorted.
    boost
        Experts and the nats added to their logits, sorted; boosts of 0 are left out.
    """

    ablate: tuple[int, ...] = ()
    boost: tuple[tuple[int, float], ...] = ()
    force: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ablate or self.boost or self.force)


@dataclass(frozen=True, init=False, repr=False)
class Edit(Displayed):
    """Interventions on a model: edits of its routers, head ablations, knockouts, patches and steering.

    Experts and heads are given by layer. Without layers they apply to every layer that has them, which is the
    key ``"all"``; entries of ``"all"`` and of a layer are combined in that layer.

    Parameters
    ----------
    ablate_experts
        Experts that are never chosen: their logit is −∞, so the top-k is taken among the others and weighted
        by the family's own rule.
    boost_experts
        Nats added to an expert's router logit: its odds against every other expert are multiplied by
        ``exp(nats)``. May be negative. A layer's own boost of an expert replaces the one of ``"all"``.
    force_experts
        Experts that are always chosen, instead of the least likely of the top-k, with the weight that the
        family's rule gives them: small if the router finds them unlikely. Boost them to change it.
    ablate_heads
        Query heads whose output is zero: what they attended to does not reach the residual stream (Michel et
        al. 2019, arXiv:1905.10650). Heads that share their keys and values are unchanged.
    knock_out_attention
        One `AttentionKnockout` or several: queries that cannot attend to keys.
    patch
        One `Patch` (or `Activations`) or several: outputs of layers in another run, which replace the outputs
        of the same layers. Where two patches write the same layer and token, the last one is used.
    steer
        One `Steering` (or `Direction`) or several: directions that are added to the outputs of layers, after
        patches.

    Attributes
    ----------
    ablate_experts, force_experts, ablate_heads : mapping of layer to tuple of int
    boost_experts : mapping of layer to mapping of int to float
    knock_out_attention : tuple of AttentionKnockout
    patch : tuple of Patch
    steer : tuple of Steering

    Raises
    ------
    BadEdit
        If something is not a valid layer, expert, head, number of nats, knockout, patch or steering, or if
        an expert is both ablated and forced.

    Notes
    -----
    ``a | b`` is the union of both. Boosts merge as dictionaries do: where both boost an expert of a layer,
    the value of `b` is used; of steerings along the same direction at the same tokens, the strength of `b`.
    Patches of `b` come after those of `a`; ``a | a == a``. An edit is true if it
    changes anything.

    Examples
    --------
    >>> Edit(ablate_experts={4: [90, 17]}) | Edit(boost_experts={17: 2})
    Edit(ablate_experts={4: [17, 90]}, boost_experts={'all': {17: 2.0}})
    >>> Edit(ablate_heads={5: [0]}, knock_out_attention=AttentionKnockout(queries=(30, None), keys=(4, 20)))
    Edit(ablate_heads={5: [0]}, knock_out_attention=[AttentionKnockout(queries=(30, None), keys=(4, 20))])
    """

    ablate_experts: Mapping[Layer, tuple[int, ...]]
    boost_experts: Mapping[Layer, Mapping[int, float]]
    force_experts: Mapping[Layer, tuple[int, ...]]
    ablate_heads: Mapping[Layer, tuple[int, ...]]
    knock_out_attention: tuple[AttentionKnockout, ...]
    patch: tuple[Patch, ...]
    steer: tuple[Steering, ...]

    def __init__(
        self,
        *,
        ablate_experts: Experts = (),
        boost_experts: Boosts = MappingProxyType({}),
        force_experts: Experts = (),
        ablate_heads: Heads = (),
        knock_out_attention: AttentionKnockout | Iterable[AttentionKnockout] = (),
        patch: Patch | Activations | Iterable[Patch] = (),
        steer: Steering | Direction | Iterable[Steering | Direction] = (),
    ) -> None:
        found: dict[str, dict[Layer, Any]] = {
            "ablate_experts": expert_sets("ablate_experts", ablate_experts),
            "boost_experts": boosts(boost_experts),
            "force_experts": expert_sets("force_experts", force_experts),
            "ablate_heads": head_sets(ablate_heads),
        }
        for name, value in found.items():
            object.__setattr__(self, name, MappingProxyType(value))
        object.__setattr__(self, "knock_out_attention", as_knockouts(knock_out_attention))
        object.__setattr__(self, "patch", as_patches(patch))
        object.__setattr__(self, "steer", as_steerings(steer))
        check_disjoint(self)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that the edit names: ascending, then ``"all"``."""
        named: set[Layer] = {layer for kind in KINDS[:4] for layer in getattr(self, kind)}
        for knockout in self.knock_out_attention:
            named |= {"all"} if knockout.layers is None else set(knockout.layers)
        for patch in self.patch:
            named |= set(patch.layers)
        for steering in self.steer:
            named |= set(steering.layers)
        return tuple(sorted(named, key=order))

    def at(self, layer: int) -> LayerEdit:
        """Return the edit of the experts of one layer, entries of ``"all"`` included."""
        added = {**self.boost_experts.get("all", {}), **self.boost_experts.get(layer, {})}
        return LayerEdit(
            ablate=self.listed("ablate_experts", layer),
            boost=tuple(sorted((expert, nats) for expert, nats in added.items() if nats)),
            force=self.listed("force_experts", layer),
        )

    def listed(self, kind: str, layer: Layer) -> tuple[int, ...]:
        """Return the experts or heads that one kind of edit names in a layer, those of ``"all"`` included."""
        stored = getattr(self, kind)
        return tuple(sorted({*stored.get("all", ()), *stored.get(layer, ())}))

    def check(self, anatomy: Anatomy | Mapping[int, tuple[int, int]], *, model: str = "the model") -> None:
        """Raise `BadEdit` unless a model has the layers, experts and heads that the edit names.

        Parameters
        ----------
        anatomy
            The model's layers, experts and heads; a mapping gives the number of experts and the top-k of each
            layer that has experts.
        model
            The model's name in errors.

        Raises
        ------
        BadEdit
            If a layer has no experts or heads, an expert or head does not exist, fewer than top-k experts
            would be left, more than top-k are forced, a patch or a direction is not as wide as the residual
            stream, or a direction is of other weights.
        """
        check(self, anatomy if isinstance(anatomy, Anatomy) else Anatomy(experts=anatomy), model=model)

    def check_length(self, tokens: int) -> None:
        """Raise `BadEdit` unless every knockout, patch and steering applies to the first `tokens` tokens.

        Raises
        ------
        BadEdit
            If a knockout or a steering begins, or a patch writes, beyond them: it would silently have no
            effect there.
        """
        starts = [(cut, max(cut.queries[0], cut.keys[0])) for cut in self.knock_out_attention]
        ends = [(patch, max(patch.positions)) for patch in self.patch]
        added = [(each, each.tokens[0]) for each in self.steer if each.tokens is not None]
        for what, position in (*starts, *ends, *added):
            if position >= tokens:
                raise BadEdit(
                    f"{what!r} names token {position:,}; {tokens:,} are read and written at most.",
                    hint="Its positions are rows of trace.tokens, from 0.",
                )

    def to_dict(self) -> dict[str, Any]:
        """Return the edit as JSON values, with layers as strings."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Edit:
        """Return the edit that `to_dict` converted to these values.

        Raises
        ------
        BadEdit
            If the values are not those of an edit.
        """
        return cls(**from_plain(data))

    def save(self, path: str | Path) -> Path:
        """Write the edit as a JSON file and return the file's path."""
        return write(self, path)

    @classmethod
    def open(cls, path: str | Path) -> Edit:
        """Read an edit from a file written by `save`.

        Raises
        ------
        BadEdit
            If the file cannot be read or does not hold an edit.
        """
        return cls(**read(path))

    def __or__(self, other: Edit) -> Edit:
        if not isinstance(other, Edit):
            return NotImplemented
        boosted = {
            layer: {**self.boost_experts.get(layer, {}), **other.boost_experts.get(layer, {})}
            for layer in (*self.boost_experts, *other.boost_experts)
        }
        return Edit(
            ablate_experts=union(self.ablate_experts, other.ablate_experts),
            boost_experts=boosted,
            force_experts=union(self.force_experts, other.force_experts),
            ablate_heads=union(self.ablate_heads, other.ablate_heads),
            knock_out_attention=(*self.knock_out_attention, *other.knock_out_attention),
            patch=(*self.patch, *other.patch),
            steer=(*self.steer, *other.steer),
        )

    def __bool__(self) -> bool:
        nats = (value for of in self.boost_experts.values() for value in of.values())
        strengths = (steering.strength for steering in self.steer)
        others = (getattr(self, kind) for kind in KINDS if kind not in ("boost_experts", "steer"))
        return any(nats) or any(strengths) or any(map(bool, others))

    def __hash__(self) -> int:
        return hash(
            (json.dumps({kind: to_plain(self).get(kind) for kind in KINDS[:5]}), self.patch, self.steer)
        )

    def __reduce__(self) -> tuple[Callable[[Mapping[str, Any]], Edit], tuple[dict[str, Any]]]:
        return Edit.from_dict, (self.to_dict(),)  # mapping proxies are neither copied nor pickled

    def __repr__(self) -> str:
        parts: dict[str, Any] = {}
        for kind in KINDS:
            value = getattr(self, kind)
            if kind in SETS:
                parts[kind] = {layer: list(of) for layer, of in value.items()}
            elif kind == "boost_experts":
                parts[kind] = {layer: dict(of) for layer, of in value.items()}
            else:
                parts[kind] = list(value)
        full = f"Edit({', '.join(f'{kind}={part}' for kind, part in parts.items() if part)})"
        return full if len(full) <= _LONGEST_REPR else f"Edit({self._summary()})"

    def _summary(self) -> str:
        parts = []
        for kind in KINDS:
            value = getattr(self, kind)
            if not value:
                continue
            if kind in ("knock_out_attention", "patch", "steer"):
                parts.append(f"{kind}: {len(value):,}")
                continue
            count = sum(len(of) for of in value.values())
            plural = "s" * (len(value) > 1)
            where = "all layers" if set(value) == {"all"} else f"{len(value)} layer{plural}"
            parts.append(f"{kind}: {count:,} in {where}")
        return ", ".join(parts)
