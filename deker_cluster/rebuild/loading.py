"""Make a registry from a state."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from deker_cluster.rebuild.state import ArrayState, RegistryState
    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.link import Word
    from deker_cluster.transport.messages import TileKey

__all__ = ["LEFTOVER_GRACE_S", "load_state"]

LEFTOVER_GRACE_S = 3600
"""How long files stay that a state does not need: time to find that it should have."""

_WORDS = 2000
"""Ordinals and entries of one group: an even number."""


def load_state(
    registry: Registry,
    state: RegistryState,
    *,
    leftovers: Iterable[TileKey] = (),
    before_end: Callable[[], None],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Put everything of `state` into a registry without a cluster.

    May be killed at any line: the cluster's record is written last, and without it the registry
    counts as empty. What an earlier attempt has left is removed first.

    Parameters
    ----------
    leftovers
        Tile files that may be deleted after :data:`LEFTOVER_GRACE_S`.
    before_end
        Called when all but the cluster's record is in place.
    progress
        Called with the number of arrays done, and of all.

    Raises
    ------
    DekerClientError
        The registry holds a cluster.
    """
    mark = registry.rebuild_clear()
    # Before anything can be leased: files of those versions may be on the disks.
    registry.raise_tokens(state.tokens)
    registry.raise_journal(state.number)
    if state.shards:
        registry.rebuild_put(mark, "shards", [_flat(state.shards)])
    arrays = list(state.alive_arrays())
    # Before the arrays: a client that never closed must not find one that lacks its tiles.
    registry.rebuild_put(mark, "entries", _all_entries(arrays, progress))
    registry.rebuild_put(
        mark,
        "history",
        (group for key, array in arrays for group in _history_groups(key, array, state)),
    )
    registry.rebuild_put(
        mark,
        "garbage",
        ([LEFTOVER_GRACE_S, f"S:{k.array_id}:{k.ordinal}:{k.version}"] for k in leftovers),
    )
    registry.rebuild_put(
        mark, "collection", ([key, *_flat(fields)] for key, fields in state.collections.items())
    )
    registry.rebuild_put(mark, "array", (_array_words(key, array) for key, array in arrays))
    before_end()
    registry.rebuild_end(mark, _flat(state.cluster))


def _flat(fields: dict[bytes, bytes]) -> list[Word]:
    return [word for pair in fields.items() for word in pair]


def _array_words(key: str, array: ArrayState) -> list[Word]:
    keyed = array.primary_key is not None
    return [
        array.collection_id,
        key,
        array.seq,
        int(keyed),
        array.primary_key or b"",
        array.meta,
        array.generation,
        array.time_ms,
        *array.index,
    ]


def _all_entries(
    arrays: Sequence[tuple[str, ArrayState]], progress: Callable[[int, int], None] | None
) -> Iterator[list[Word]]:
    for done, (key, array) in enumerate(arrays):
        yield from _entry_groups(key, array)
        if progress is not None:
            progress(done + 1, len(arrays))


def _entry_groups(key: str, array: ArrayState) -> Iterator[list[Word]]:
    flat: list[Word] = [word for pair in array.entries.items() for word in pair]
    for first in range(0, len(flat), _WORDS):
        yield [key, *flat[first : first + _WORDS]]


def _history_groups(key: str, array: ArrayState, state: RegistryState) -> Iterator[list[Word]]:
    if not array.history:
        return
    keep_ms = int(state.collections[array.collection_id].get(b"keep_ms", b"0"))
    oldest_ms = array.history[min(array.history)].time_ms
    due_ms = oldest_ms + keep_ms if keep_ms else 0
    for generation, record in sorted(array.history.items()):
        tiles = [word for pair in record.replaced.items() for word in pair]
        yield [
            key,
            due_ms,
            generation,
            record.time_ms,
            record.before_ms,
            str(record.token),
            *tiles,
        ]
