"""What a registry holds, as a state: read piece by piece while others go on changing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deker_cluster.errors import ClusterNotFoundError
from deker_cluster.rebuild.paging import PAGE, whole_batch
from deker_cluster.rebuild.state import ArrayState, HistoryRecord, RegistryState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.registry.client import Registry

__all__ = ["dump_state"]

_BEYOND = 2**53 - 1


def dump_state(registry: Registry) -> RegistryState:
    """Return the state of a registry at one of its journal's records.

    Notes
    -----
    Every array is read whole, at a moment of its own; then what the registry has noted since the
    beginning is added, which is harmless where it is in already.

    Raises
    ------
    ClusterNotFoundError
        The registry is empty, or somebody is making it again: what is there now is not all.
    """
    while True:
        begin = registry.journal_page(_BEYOND, 1)
        state = RegistryState(number=begin.last, tokens=begin.tokens)
        cluster, _, collections = registry.dump_base()
        for collection_id in collections:
            for row in registry.dump_arrays(collection_id):
                state.arrays[row[0].decode()] = _array(collection_id, row)
        # Again, and after the arrays: how many changes there were is counted in here.
        state.cluster, state.shards, state.collections = registry.dump_base()
        if not cluster or not state.cluster:
            raise ClusterNotFoundError(
                f"the registry holds no cluster named {registry.name!r}: it is empty, or being "
                "rebuilt"
            )
        if _catch_up(registry, state):
            return state


def _catch_up(registry: Registry, state: RegistryState) -> bool:
    """Add what was noted since the state was begun; False when some of it is gone already."""
    target: int | None = None
    while True:
        page = registry.journal_page(state.number, PAGE)
        target = page.last if target is None else target
        if page.records:
            if page.records[0][0] != state.number + 1:
                return False  # others have taken it to the shards
            state.apply_batch(whole_batch(registry, page))
        elif page.last > state.number:
            return False
        elif target == state.number:
            state.lowest_live = max(state.lowest_live, page.lowest_live)
        if state.number >= target:
            return True


def _array(collection_id: str, row: Sequence[Any]) -> ArrayState:
    _, seq, keyed, primary_key, meta, generation, time_ms, index, manifest, history = row
    return ArrayState(
        collection_id=collection_id,
        seq=seq,
        primary_key=primary_key if keyed else None,
        meta=meta,
        index=tuple(index),
        generation=generation,
        time_ms=time_ms,
        entries=_tiles(manifest),
        history={
            number: HistoryRecord(record[0], record[1], int(record[2]), _tiles(record[3:]))
            for number, record in zip(history[::2], history[1::2], strict=True)
        },
    )


def _tiles(flat: Sequence[bytes]) -> dict[int, bytes]:
    return {int(ordinal): entry for ordinal, entry in zip(flat[::2], flat[1::2], strict=True)}
