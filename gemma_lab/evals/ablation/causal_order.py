"""Order experts or heads by what answers lose without them: the sets of positive controls.

One of them is easily replaced: on a mini no single expert cost an answer more than 0.13 nats, and those that
cost most did no more damage together than random sets. So each is judged as a member of random sets (a
regression on random subsets, as of datamodels, Ilyas et al. 2022, arXiv:2202.00622): the difference of the
mean damage with and without it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .components import by_layer

if TYPE_CHECKING:
    from .answer_scores import AnswerReader, AnswerScores
    from .components import Kind, Unit
    from .result import Measure

Array = np.ndarray[Any, np.dtype[Any]]

#: Fraction of all units in each random set: with half as many, most did nothing to a mini's answers.
_FRACTION = 0.3
_FEWEST_SETS = 128


class CausalOrder:
    """Selects units by the loss of log-probability without them, on screening questions.

    Parameters
    ----------
    kind
        Of the units.
    reader, intact
        Reads the answers; has read them with everything in place.
    groups
        Of each question.
    units
        All units; experts that no token chose are left out, since nothing is lost without them.
    seed
        Of the random sets.
    room
        By layer, how many of its units can be ablated at once. Default: all.
    """

    def __init__(
        self,
        kind: Kind,
        reader: AnswerReader,
        intact: AnswerScores,
        groups: tuple[str, ...],
        units: list[Unit],
        *,
        seed: int = 0,
        room: Mapping[int, int] | None = None,
    ) -> None:
        self._kind, self._reader, self._intact, self._groups = kind, reader, intact, groups
        self._room = {unit[0]: len(units) for unit in units} | dict(room or {})
        self._units = [
            unit
            for unit in units
            if self._room[unit[0]] > 0 and (kind == "heads" or reader.load[unit[0]][unit[1]] > 0)
        ]
        self._seed = seed
        self._among: tuple[Array, Array] | None = None  # random sets, and what is read without them

    def select(
        self, count: int, measure: Measure, strata: Mapping[Unit, Hashable], *, bar: Any
    ) -> list[Unit]:
        """Return units in the order of the damage without them, the ones with the largest effect first.

        At most half of a stratum is selected, so that there are other sets to compare with, and no more of a
        layer than can be ablated at once.

        Parameters
        ----------
        count
            Number of units; fewer are returned where there are no more.
        measure
            What damage is.
        strata
            Stratum of every unit.
        bar
            A progress bar that counts questions.
        """
        sizes: dict[Hashable, int] = {}
        for name in strata.values():
            sizes[name] = sizes.get(name, 0) + 1
        room = {name: max(1, size // 2) for name, size in sizes.items()}
        of_layer = dict(self._room)
        selected: list[Unit] = []
        for at in np.argsort(-self._lost(measure, bar), kind="stable"):
            unit = self._units[at]
            if len(selected) < count and room[strata[unit]] > 0 and of_layer[unit[0]] > 0:
                selected.append(unit)
                room[strata[unit]] -= 1
                of_layer[unit[0]] -= 1
        return selected

    def _lost(self, measure: Measure, bar: Any) -> Array:
        """Return the mean damage of random sets with each unit minus that of those without, ``[units]``."""
        if not self._units:
            return np.zeros(0)
        if self._among is None:
            members = self._random_members()
            sets = [[unit for unit, is_in in zip(self._units, row, strict=True) if is_in] for row in members]
            self._among = members, self._read(sets, bar)
        members, log_probs = self._among
        damage = (self._intact.log_probs[0] - log_probs) @ measure.weights(self._groups)
        inside = members.sum(0)
        with_each, without = damage @ members, damage @ ~members
        return np.asarray(with_each / np.maximum(inside, 1) - without / np.maximum(len(members) - inside, 1))

    def _random_members(self) -> Array:
        """Return which units are in each random set, ``[sets, units]``: some, and of no layer too many."""
        random = np.random.default_rng(self._seed)
        members = random.random((max(_FEWEST_SETS, len(self._units)), len(self._units))) < _FRACTION
        members[~members.any(1), 0] = True  # no set is empty
        layers = np.array([unit[0] for unit in self._units])
        for layer in np.unique(layers):
            inside, most = members & (layers == layer), self._room[int(layer)]
            for row in np.flatnonzero(inside.sum(1) > most):
                listed = np.flatnonzero(inside[row])
                members[row, random.choice(listed, len(listed) - most, replace=False)] = False
        return members

    def layer(self, measure: Measure, *, bar: Any) -> list[Unit]:
        """Return all units of the layer that does most damage when all of them are ablated.

        What two heads do alike is not seen by ablating one of them; heads of a layer often do alike.

        Parameters
        ----------
        measure
            What damage is.
        bar
            A progress bar that counts questions.
        """
        layers: dict[int, list[Unit]] = {}
        for unit in self._units:
            layers.setdefault(unit[0], []).append(unit)
        listed = list(layers.values())
        lost = (self._intact.log_probs[0] - self._read(listed, bar)) @ measure.weights(self._groups)
        return listed[int(np.argmax(lost))]

    def _read(self, sets: list[list[Unit]], bar: Any) -> Array:
        return self._reader.read([by_layer(one) for one in sets], self._kind, bar=bar).log_probs
