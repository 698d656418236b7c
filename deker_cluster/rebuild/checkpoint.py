"""A state as bytes: a shard's checkpoint, or a file that an administrator keeps. Pure (no I/O).

``DKCK``, format version (1 byte), number of the last journal record (8), newest token (8), digest
of that record or 0 (8), bytes of the payload (8), xxh3 of all the other bytes (8), payload: msgpack
of the state. Numbers are little-endian.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import msgpack
import xxhash

from deker_cluster.errors import DekerMetaDataError
from deker_cluster.rebuild.batches import parse_log, rest_of_log
from deker_cluster.rebuild.state import ArrayState, HistoryRecord, RegistryState
from deker_cluster.transport.messages import JournalPosition

if TYPE_CHECKING:
    from deker_cluster.transport.messages import JournalContents

__all__ = ["checkpoint_position", "find_damage", "fold", "pack_state", "unpack_state"]

_MAGIC = b"DKCK"
_VERSION = 1
_HEAD = struct.Struct("<4sBQQQQ")
_CHECKSUM = struct.Struct("<Q")

_HEAD_BYTES = _HEAD.size + _CHECKSUM.size


def pack_state(state: RegistryState) -> bytes:
    """Return the state as :func:`unpack_state` reads it."""
    payload: bytes = msgpack.packb(
        {
            "number": state.number,
            "tokens": state.tokens,
            "lowest_live": state.lowest_live,
            "cluster": state.cluster,
            "shards": state.shards,
            "collections": state.collections,
            "arrays": {key: _packed_array(array) for key, array in state.arrays.items()},
            "dead_arrays": state.dead_arrays,
            "dead_collections": state.dead_collections,
            "committed": sorted(state.committed),
        }
    )
    head = _HEAD.pack(_MAGIC, _VERSION, state.number, state.tokens, state.digest, len(payload))
    return head + _CHECKSUM.pack(_checksum(head, payload)) + payload


def _checksum(head: bytes | memoryview, payload: bytes | memoryview) -> int:
    hasher = xxhash.xxh3_64(head)
    hasher.update(payload)
    return hasher.intdigest()


def checkpoint_position(data: bytes) -> JournalPosition | None:
    """Say how far a checkpoint goes; None when it is damaged, or none of this format."""
    try:
        _payload(data, "it")
    except DekerMetaDataError:
        return None
    _, _, number, tokens, digest, _ = _HEAD.unpack_from(data)
    return JournalPosition(number, digest, tokens)


def _packed_array(array: ArrayState) -> list[Any]:
    history = {
        generation: [record.time_ms, record.before_ms, record.token, record.replaced]
        for generation, record in array.history.items()
    }
    return [
        array.collection_id,
        array.seq,
        array.primary_key,
        array.meta,
        list(array.index),
        array.generation,
        array.time_ms,
        array.entries,
        history,
        array.dropped,
    ]


def unpack_state(data: bytes | memoryview, what: str) -> RegistryState:
    """Read a state.

    Parameters
    ----------
    what
        Where it is from, for messages.

    Raises
    ------
    DekerMetaDataError
        It is damaged, or of a newer format.
    """
    payload = _payload(data, what)
    try:
        fields = msgpack.unpackb(payload, strict_map_key=False)
        arrays = {key: _array(*values) for key, values in fields.pop("arrays").items()}
        committed = set(fields.pop("committed"))
        state = RegistryState(arrays=arrays, committed=committed, **fields)
    except (ValueError, TypeError, KeyError, msgpack.exceptions.UnpackException) as error:
        raise DekerMetaDataError(f"{what} cannot be read: {error}") from error
    state.digest = _HEAD.unpack_from(data)[4]
    return state


def _array(collection_id: str, seq: int, *rest: Any) -> ArrayState:
    primary_key, meta, index, generation, time_ms, entries, history, dropped = rest
    return ArrayState(
        collection_id,
        seq,
        primary_key,
        meta,
        tuple(index),
        generation,
        time_ms,
        entries,
        {number: HistoryRecord(*record) for number, record in history.items()},
        dropped,
    )


def _payload(data: bytes | memoryview, what: str) -> memoryview:
    view = memoryview(data)
    if len(view) < _HEAD_BYTES or bytes(view[:4]) != _MAGIC:
        raise DekerMetaDataError(f"{what} holds no state of a registry")
    _, version, _, _, _, size = _HEAD.unpack_from(view)
    (checksum,) = _CHECKSUM.unpack_from(view, _HEAD.size)
    if version > _VERSION:
        raise DekerMetaDataError(
            f"{what} is of format {version}, this version reads {_VERSION}: install a newer "
            "deker-cluster"
        )
    payload = view[_HEAD_BYTES:]
    if len(payload) != size or _checksum(view[: _HEAD.size], payload) != checksum:
        raise DekerMetaDataError(f"{what} is damaged: it does not match its checksum")
    return payload


def fold(contents: JournalContents, what: str, until: int | None = None) -> RegistryState:
    """Add up what a shard holds of the journal.

    Parameters
    ----------
    what
        Where it is from, for messages.
    until
        Number of the last record to take; a checkpoint is taken as it is.

    Raises
    ------
    DekerMetaDataError
        A checkpoint is damaged, or records are missing after it.
    """
    trouble: DekerMetaDataError | None = None
    state = RegistryState()
    for checkpoint in contents.checkpoints:
        try:
            state = unpack_state(checkpoint, f"a checkpoint of {what}")
        except DekerMetaDataError as error:
            trouble = trouble or error
        else:
            break
    try:
        for log in contents.logs:
            for batch in parse_log(log):
                state.apply_batch(batch, until)
    except DekerMetaDataError as error:
        raise trouble or DekerMetaDataError(f"the journal of {what}: {error}") from error
    if trouble is not None and not state.number:
        raise trouble
    return state


def find_damage(contents: JournalContents, what: str) -> list[str]:
    """Describe what :func:`fold` passes over because it is torn or damaged.

    Parameters
    ----------
    what
        Where it is from, for messages.
    """
    found = []
    for log in contents.logs:
        number, last, size = rest_of_log(log)
        if last:
            found.append(
                f"the journal of {what} is damaged after record {number}: what later ones, up to "
                f"{last}, say is not taken, and may be lost"
            )
        elif size:
            found.append(
                f"the journal of {what} ends in {size} bytes that are no records: torn while they "
                "were written, or damaged later"
            )
    return found
