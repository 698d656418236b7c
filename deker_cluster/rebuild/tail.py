"""The writes of the last moment, which no journal has: found by what their tile files say.

Every file of a write outside a transaction names its base, the version that it replaces, and how
many files the write has. So a write is taken if all its files are there, its token could still
commit when the journal was last written, and what it was based on is the present state. Such a
write was committed, or it was given up in that moment by a writer that nobody heard of again.

A later write to the same tile was leased when the one before had ended, so its files, whether it
counts or not, tell how that ended: their base is that write, or what was there before it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from deker_cluster.attribute_index import index_keys
from deker_cluster.attribute_json import decode_meta
from deker_cluster.attributes import primary_key
from deker_cluster.collection_metadata import schema_and_options
from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerBaseApplicationError
from deker_cluster.rebuild.state import ArrayState
from deker_cluster.transport.messages import TileCheck, TileKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deker_cluster.rebuild.reachable import ReachableShard
    from deker_cluster.rebuild.state import RegistryState
    from deker_cluster.transport.messages import TileDescription

__all__ = ["FoundWrite", "add_tail"]

_MOST_CLEARED = 10_000_000
"""Tiles that one write can set back: beyond it, the file is not of our making."""

_Keys = set[tuple[str, bytes | None]]
"""Collection and primary key of every array."""


class FoundWrite(NamedTuple):
    """A write that the journal does not have."""

    array_id: str
    token: int
    tiles: int
    """Files that were found."""
    why_not: str | None
    """Why it was not taken; None: it was."""


class _RefusedError(Exception):
    """Why a write is not taken."""


class _Holder(NamedTuple):
    number: int
    shard: ReachableShard


class _File(NamedTuple):
    ordinal: int
    description: TileDescription
    holders: tuple[_Holder, ...]


class _Told(NamedTuple):
    """What the files of a write say of it."""

    token: int
    array_id: str
    found: int
    """Ordinals of which there is a file, damaged or not."""
    files: list[_File]
    bases: dict[int, int]
    """Ordinal -> version that the write replaces; 0: none."""
    cleared: tuple[int, ...]
    tiles: int
    """How many files the write has; 0: it was part of a transaction."""
    trouble: str | None
    """Why the files are of no use."""


def add_tail(state: RegistryState, shards: Sequence[ReachableShard]) -> list[FoundWrite]:
    """Add the writes to `state` that only tile files tell of; return them, taken or not.

    Raises
    ------
    DekerBaseApplicationError, OSError
        A shard cannot be listed.
    """
    found: list[FoundWrite] = []
    places: dict[tuple[int, str], dict[int, list[_Holder]]] = defaultdict(dict)
    for shard in shards:
        number = shard.number_in(state)
        if number is None:
            continue
        for key in shard.files():
            if _may_be_new(state, key):
                held = places[key.version, key.array_id]
                held.setdefault(key.ordinal, []).append(_Holder(number, shard))
    keys = {(array.collection_id, array.primary_key) for array in state.arrays.values()}
    writes = [_told(*key, held) for key, held in sorted(places.items(), key=lambda item: item[0])]
    contradicted = _contradicted(writes)
    for number, write in enumerate(writes):
        try:
            _take(state, keys, write, contradicted.get(number))
        except _RefusedError as refused:
            found.append(FoundWrite(write.array_id, write.token, write.found, str(refused)))
        else:
            found.append(FoundWrite(write.array_id, write.token, write.found, None))
    return found


def _may_be_new(state: RegistryState, key: TileKey) -> bool:
    if key.version < state.lowest_live or key.version in state.committed:
        return False
    if key.version <= state.dead_arrays.get(key.array_id, -1):
        return False
    array = state.arrays.get(key.array_id)
    if array is None:
        return True
    if array.collection_id not in state.collections:
        return False
    entry = array.entries.get(key.ordinal)
    return entry is None or TileEntry.unpack(entry).version != key.version


def _told(token: int, array_id: str, held: dict[int, list[_Holder]]) -> _Told:
    files: list[_File] = []
    bases: dict[int, int] = {}
    told: set[tuple[int, str]] = set()
    trouble: str | None = None
    for ordinal, holders in sorted(held.items()):
        file = _described(TileKey(array_id, ordinal, token), holders)
        if file is None:
            trouble = f"the file of tile {ordinal} is damaged"
            continue
        meta = file.description.meta
        try:
            bases[ordinal] = int(meta["base"])
            told.add((int(meta["tiles"]), str(meta["cleared"])))
        except (KeyError, TypeError, ValueError) as error:
            trouble = f"its files do not say what they belong to ({error!r})"
        files.append(file)
    ((tiles, text),) = told if len(told) == 1 else {(-1, "")}
    try:
        cleared = tuple(_runs(text))
    except ValueError as error:
        cleared, trouble = (), f"its files do not say what they belong to ({error!r})"
    return _Told(token, array_id, len(held), files, bases, cleared, tiles, trouble)


def _described(key: TileKey, holders: Sequence[_Holder]) -> _File | None:
    copies: list[tuple[_Holder, TileDescription]] = []
    for holder in holders:
        (description,) = holder.shard.handle.describe([key])
        if description is not None and _names(description.meta) == key:
            copies.append((holder, description))
    if not copies:
        return None
    first = copies[0][1]
    same = tuple(holder for holder, copy in copies if copy.digest == first.digest)
    return _File(key.ordinal, first, same)


def _names(meta: dict[str, Any]) -> TileKey:
    return TileKey(meta.get("array"), meta.get("ordinal"), meta.get("version"))  # type: ignore[arg-type]


def _contradicted(writes: Sequence[_Told]) -> dict[int, str]:
    """Find the writes that had not taken place when one of their tiles was next written.

    Parameters
    ----------
    writes
        In the order of their tokens.

    Returns
    -------
    dict
        Place in `writes` -> why it is not taken.
    """
    found: dict[int, str] = {}
    after: dict[tuple[str, int], int | None] = {}  # base of the next write; None: it has cleared
    for number, write in reversed(list(enumerate(writes))):
        for ordinal in (*write.bases, *write.cleared):
            base = after.get((write.array_id, ordinal))
            # No tile, where there was one: it was cleared since, which tells nothing of this write.
            if (
                base is not None
                and base < write.token
                and (base or not write.bases.get(ordinal, 1))
            ):
                found[number] = f"tile {ordinal} was still as before when it was next written"
        for ordinal, base in write.bases.items():
            after[write.array_id, ordinal] = base
        for ordinal in write.cleared:
            after[write.array_id, ordinal] = None
    return found


def _take(state: RegistryState, keys: _Keys, write: _Told, contradicted: str | None) -> None:
    array_id, token, files, tiles = write.array_id, write.token, write.files, write.tiles
    trouble = write.trouble or contradicted
    if trouble is not None:
        raise _RefusedError(trouble)
    if tiles == 0:
        raise _RefusedError("it was part of a transaction, which the journal has or nobody")
    if tiles != len(files):
        raise _RefusedError(f"{len(files)} of its {tiles} files are there")
    meta = files[0].description.meta
    collection_id = str(meta.get("collection_id"))
    array = state.arrays.get(array_id)
    if array is None:
        made = array = _made_array(state, keys, collection_id, meta)
    else:
        made = None
    if array.collection_id != collection_id:
        raise _RefusedError("the array's id is another array's now")
    _check_bases(array, token, write.bases, write.cleared)
    sound = [_sound(write, file) for file in files]
    if made is not None:
        _put_array(state, array_id, made)
        keys.add((collection_id, made.primary_key))
    fields = state.collections[collection_id]
    array = state.arrays[array_id]
    keep, generation = int(fields.get(b"keep", b"1")), array.generation + 1
    entries = (
        (file.ordinal, TileEntry(token, copy.digest, copy.stored_bytes, numbers).pack())
        for file, numbers in zip(files, sound, strict=True)
        for copy in [file.description]
    )
    state.commit(
        array_id,
        generation=generation,
        time_ms=max(array.time_ms, *(file.description.time_ms for file in files)),
        token=token,
        kept=max(generation - keep + 2, 1) if keep > 1 else 0,
        change=int(fields.get(b"changes", b"0")) + 1,
        moves=[*entries, *((ordinal, b"") for ordinal in write.cleared)],
    )


def _sound(write: _Told, file: _File) -> tuple[int, ...]:
    """Return the numbers of the shards whose copy of a file is whole, to the last byte.

    A power cut may have left others, after writes that were not synced.
    """
    key = TileKey(write.array_id, file.ordinal, write.token)
    check = TileCheck(key, file.description.digest, file.description.stored_bytes)
    good = tuple(
        holder.number
        for holder in file.holders
        if holder.shard.handle.verify([check], deep=True) == [None]
    )
    if not good:
        raise _RefusedError(f"the file of tile {file.ordinal} is damaged")
    return good


def _check_bases(
    array: ArrayState, token: int, bases: dict[int, int], cleared: Sequence[int]
) -> None:
    for ordinal in [*bases, *cleared]:
        entry = array.entries.get(ordinal)
        version = 0 if entry is None else TileEntry.unpack(entry).version
        # Tokens of one tile are given one after the other: what is newer here was later.
        if max(version, array.dropped.get(ordinal, 0)) > token:
            raise _RefusedError(f"tile {ordinal} was changed later")
        if version != bases.get(ordinal, version):
            raise _RefusedError(
                f"tile {ordinal} is at version {version}, it was based on {bases[ordinal]}"
            )


def _runs(text: str) -> Iterator[int]:
    left = _MOST_CLEARED
    for run in filter(None, text.split(",")):
        first, last = map(int, run.split("-"))
        left -= last - first + 1
        if left < 0:
            raise ValueError(run)
        yield from range(first, last + 1)


def _made_array(
    state: RegistryState, keys: _Keys, collection_id: str, meta: dict[str, Any]
) -> ArrayState:
    """Return an array that was made in the last moment, too, from what its tile says of it."""
    if collection_id in state.dead_collections:
        raise _RefusedError("its collection was deleted")
    fields = state.collections.get(collection_id)
    if fields is None:
        raise _RefusedError(f"its collection {collection_id} is not in the journal")
    try:
        text = json.dumps({"primary": meta["primary"], "custom": meta["custom"]})
        schema, _ = schema_and_options(json.loads(fields[b"record"]))
        primary, custom = decode_meta(text)
        key = primary_key(schema.attributes, primary).encode() if primary else None
        index = tuple(index_keys(schema.attributes, {**primary, **custom}))
    except (DekerBaseApplicationError, KeyError, TypeError, ValueError) as error:
        raise _RefusedError(f"its attributes cannot be read: {error}") from error
    if key is not None and (collection_id, key) in keys:
        raise _RefusedError("another array has its primary attributes")
    return ArrayState(
        collection_id,
        int(fields.get(b"seq", b"0")) + 1,
        key,
        text.encode(),
        index if b"indexes" in fields else (),
    )


def _put_array(state: RegistryState, array_id: str, array: ArrayState) -> None:
    state.put_array(
        array.collection_id,
        array_id,
        seq=array.seq,
        primary_key=array.primary_key,
        meta=array.meta,
        index=array.index,
    )
