"""Where a pass over the samples stands, in a form that is saved with a model. Pure (no I/O)."""

from __future__ import annotations

from typing import Any

import attrs

from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerValidationError

__all__ = ["Checkpoint"]

_FORMAT = 1
_COUNTERS = ("epoch", "start", "lanes", "worker", "workers", "given")


@attrs.frozen(kw_only=True)
class Checkpoint:
    """How far an epoch has come."""

    epoch: int = 0
    start: int = 0
    """Batches that were given out before this pass began: it has gone on from a checkpoint."""
    lanes: int = 0
    """Of the epoch's :meth:`.Order.plan`; 0: as many as there are workers."""
    worker: int = 0
    """Which of the workers this is the state of."""
    workers: int = 1
    given: int = 0
    """Batches that this worker has given out since `start`."""

    def saved(self, dataset: dict[str, Any]) -> dict[str, Any]:
        """Return it as JSON has it, with what describes the samples and their order."""
        return {"format": _FORMAT, "dataset": dataset, **attrs.asdict(self)}

    @classmethod
    def loaded(cls, state: Any, dataset: dict[str, Any]) -> Checkpoint:
        """Return what :meth:`saved` has written.

        Raises
        ------
        DekerValidationError
            It is of other samples or of another order: it would go on with the wrong ones.
        """
        counters = {}
        if isinstance(state, dict) and state.get("format") == _FORMAT:
            found = {name: plain_int(state.get(name)) for name in _COUNTERS}
            counters = {name: n for name, n in found.items() if n is not None and n >= 0}
        if len(counters) < len(_COUNTERS) or not isinstance(state.get("dataset"), dict):
            raise DekerValidationError(f"not a state that state_dict() has given: {shown(state)}")
        saved = state["dataset"]
        for name in sorted({*saved, *dataset}):
            if saved.get(name) != dataset.get(name):
                advice = (
                    "; array.at(generation) opens a generation as long as it is kept"
                    if name == "generation"
                    else ""
                )
                raise DekerValidationError(
                    f"this state is of other samples: its {name} is {shown(saved.get(name))}, here "
                    f"it is {shown(dataset.get(name))}; make the dataset as it was then, or begin "
                    f"an epoch without a state{advice}"
                )
        return cls(**counters)
