"""Order experts or heads by what answers lose without them: the sets of positive controls."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .components import by_layer

if TYPE_CHECKING:
    from .answer_scores import AnswerReader, AnswerScores
    from .components import Kind, Unit
    from .result import Measure

Array = np.ndarray[Any, np.dtype[Any]]

#: Rounds of forward selection: two heads may do nothing alone and much together; for more than one round of
#: experts there are too many.
_ROUNDS = {"heads": 4, "experts": 1}


class CausalOrder:
    """Selects units by the loss of log-probability without them, on development questions.

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
    """

    def __init__(
        self,
        kind: Kind,
        reader: AnswerReader,
        intact: AnswerScores,
        groups: tuple[str, ...],
        units: list[Unit],
    ) -> None:
        self._kind, self._reader, self._intact, self._groups = kind, reader, intact, groups
        self._units = [unit for unit in units if kind == "heads" or reader.load[unit[0]][unit[1]] > 0]
        self._alone: Array | None = None

    def select(
        self, count: int, measure: Measure, strata: Mapping[Unit, Hashable], *, bar: Any
    ) -> list[Unit]:
        """Return units in the order in which they are selected, the ones with the largest effect first.

        In each round every unit is ablated together with those selected so far, and those that add the most
        damage are selected: heads in up to four rounds, experts in one. At most half of a stratum is
        selected, so that there are other sets to compare with.

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
        rounds = min(_ROUNDS[self._kind], count)
        selected: list[Unit] = []
        for number in range(rounds):
            free = [unit for unit in self._units if unit not in set(selected) and room[strata[unit]] > 0]
            wanted = math.ceil((count - len(selected)) / (rounds - number))
            lost = self._lost(selected, free, measure, bar)
            for at in np.argsort(-lost, kind="stable"):
                if wanted and room[strata[free[at]]] > 0:
                    selected.append(free[at])
                    room[strata[free[at]]] -= 1
                    wanted -= 1
        return selected

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

    def _lost(self, selected: list[Unit], free: list[Unit], measure: Measure, bar: Any) -> Array:
        """Return the damage without each free unit and all selected ones, ``[free units]``."""
        if not free:
            return np.zeros(0)
        if selected:
            log_probs = self._read([[*selected, unit] for unit in free], bar)
        else:
            if self._alone is None:
                self._alone = self._read([[unit] for unit in self._units], bar)
            at = {unit: index for index, unit in enumerate(self._units)}
            log_probs = self._alone[[at[unit] for unit in free]]
        return np.asarray((self._intact.log_probs[0] - log_probs) @ measure.weights(self._groups))

    def _read(self, sets: list[list[Unit]], bar: Any) -> Array:
        return self._reader.read([by_layer(one) for one in sets], self._kind, bar=bar).log_probs
