"""What a registry holds that must survive it: the sum of its journal's records. Pure (no I/O)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
import msgpack

from deker_cluster.errors import DekerMetaDataError
from deker_cluster.rebuild.batches import record_digest
from deker_cluster.registry.replies import pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from deker_cluster.rebuild.batches import Batch

__all__ = ["ArrayState", "HistoryRecord", "RegistryState"]

Fields = dict[bytes, bytes]
"""A hash as the registry stores it."""


@attrs.frozen
class HistoryRecord:
    """What the commit that made a generation has replaced."""

    time_ms: int
    before_ms: int
    """Time of the generation before; 0 when it has none."""
    token: int
    replaced: dict[int, bytes]
    """Ordinal -> entry before; empty for none."""


@attrs.define
class ArrayState:
    """One array."""

    collection_id: str
    seq: int
    """Number of the array in its collection, in the order of creation."""
    primary_key: bytes | None
    meta: bytes
    index: tuple[bytes, ...]
    """Encoded attributes; empty when the collection has no indexes."""
    generation: int = 0
    time_ms: int = 0
    """When the present generation was committed; 0: never."""
    entries: dict[int, bytes] = attrs.Factory(dict)
    history: dict[int, HistoryRecord] = attrs.Factory(dict)
    """Generation -> what its commit replaced."""
    dropped: dict[int, int] = attrs.Factory(dict)
    """Ordinal -> token of the commit that set the tile back to none, as long as that matters."""


@attrs.define
class RegistryState:
    """Everything of a registry that lasts: no leases, no pins, no garbage, no feed.

    An array whose collection is not there was in one that is deleted and not purged yet.
    """

    number: int = 0
    """Of the last journal record that is in it."""
    digest: int = 0
    """Of that record; 0: not known."""
    tokens: int = 0
    """At least the newest token when that record was read."""
    lowest_live: int = 0
    """Writes with lower tokens are in it, or never took place."""
    cluster: Fields = attrs.Factory(dict)
    shards: Fields = attrs.Factory(dict)
    collections: dict[str, Fields] = attrs.Factory(dict)
    arrays: dict[str, ArrayState] = attrs.Factory(dict)
    dead_arrays: dict[str, int] = attrs.Factory(dict)
    """Id of a deleted array -> newest token at that time."""
    dead_collections: dict[str, int] = attrs.Factory(dict)
    committed: set[int] = attrs.Factory(set)
    """Tokens from :attr:`lowest_live` on that are in it."""

    def apply_batch(self, batch: Batch, until: int | None = None) -> None:
        """Add the records of a batch that are newer than :attr:`number`.

        Parameters
        ----------
        until
            Number of the last record to add.

        Raises
        ------
        DekerMetaDataError
            Records are missing between the state and the batch, or one cannot be read.
        """
        if batch.last <= self.number or (until is not None and self.number >= until):
            return
        if batch.previous > self.number:
            raise DekerMetaDataError(
                f"journal records {self.number + 1} to {batch.previous} are missing"
            )
        # First: a delete among the records was made when no newer token was there.
        self.tokens = max(self.tokens, batch.tokens)
        for number, record in batch.records:
            if until is not None and number > until:
                return
            self.apply(number, record)
        self.lowest_live = max(self.lowest_live, batch.lowest_live)

    def apply(self, number: int, record: bytes) -> None:
        """Add one journal record, unless it is in the state already.

        Raises
        ------
        DekerMetaDataError
            It is damaged or of an unknown kind.
        """
        if number <= self.number:
            return
        try:
            kind, *values = msgpack.unpackb(record, raw=True, strict_map_key=False)
            self._APPLY[kind](self, *values)
        except (KeyError, ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
            raise DekerMetaDataError(
                f"journal record {number} cannot be read ({type(error).__name__}: {error}); "
                "a newer version of this package may have written it"
            ) from error
        self.number = number
        self.digest = record_digest(record)

    def prune(self) -> None:
        """Forget what no file on a disk can bring back any more."""
        low = self.lowest_live
        self.committed = {token for token in self.committed if token >= low}
        self.dead_arrays = {key: token for key, token in self.dead_arrays.items() if token >= low}
        self.dead_collections = {
            key: token for key, token in self.dead_collections.items() if token >= low
        }
        for array in self.arrays.values():
            if array.dropped:
                array.dropped = {
                    ordinal: token for ordinal, token in array.dropped.items() if token >= low
                }

    def alive_arrays(self) -> Iterator[tuple[str, ArrayState]]:
        """Iterate over the arrays whose collection exists, as they were created in it."""
        found = (
            (key, array) for key, array in self.arrays.items()
            if array.collection_id in self.collections
        )  # fmt: skip
        return iter(sorted(found, key=lambda item: (item[1].collection_id, item[1].seq)))

    def commit(
        self,
        array_id: str,
        *,
        generation: int,
        time_ms: int,
        token: int,
        kept: int,
        change: int,
        moves: Iterable[tuple[int, bytes]],
    ) -> None:
        """Move the entries of some tiles of an array.

        Parameters
        ----------
        kept
            Lowest generation whose history record stays; 0: none does.
        change
            Number of the change in the feed of the collection.
        moves
            (ordinal, new entry); empty for none.
        """
        self.committed.add(token)
        array = self.arrays.get(array_id)
        # A state that was read from a registry piece by piece may be ahead of the journal.
        if array is None or generation <= array.generation:
            return
        replaced: dict[int, bytes] = {}
        for ordinal, new in moves:
            base = array.entries.get(ordinal, b"")
            if base != new:
                replaced[ordinal] = base
            if new:
                array.entries[ordinal] = new
                array.dropped.pop(ordinal, None)
            else:
                array.entries.pop(ordinal, None)
                array.dropped[ordinal] = token
        array.history.setdefault(generation, HistoryRecord(time_ms, array.time_ms, token, replaced))
        array.generation, array.time_ms = generation, time_ms
        self.trim(array_id, kept or generation + 1)
        fields = self.collections.get(array.collection_id)
        if fields is not None and int(fields.get(b"changes", b"0")) < change:
            fields[b"changes"] = b"%d" % change

    def trim(self, array_id: str, kept: int) -> None:
        """Drop the history records of generations below `kept`."""
        array = self.arrays.get(array_id)
        if array is not None:
            for generation in [number for number in array.history if number < kept]:
                del array.history[generation]

    def put_array(
        self,
        collection_id: str,
        array_id: str,
        *,
        seq: int,
        primary_key: bytes | None,
        meta: bytes,
        index: tuple[bytes, ...],
    ) -> None:
        """Make an array, or change its attributes."""
        known = self.arrays.get(array_id)
        if known is not None and (known.collection_id, known.seq) == (collection_id, seq):
            known.primary_key, known.meta, known.index = primary_key, meta, index
        else:
            self.arrays[array_id] = ArrayState(collection_id, seq, primary_key, meta, index)
        fields = self.collections.get(collection_id)
        if fields is not None:
            fields[b"seq"] = b"%d" % max(int(fields.get(b"seq", b"0")), seq)
            if b"indexes" in fields:
                fields[b"indexes"] = b"%d" % len(index)

    def _cluster(self, flat: Sequence[bytes]) -> None:
        self.cluster = dict(pairs(flat))

    def _shard(self, flat: Sequence[bytes]) -> None:
        self.shards.update(pairs(flat))

    def _collection(self, key: bytes, flat: Sequence[bytes]) -> None:
        self.collections.setdefault(key.decode(), {}).update(pairs(flat))

    def _uncollection(self, key: bytes) -> None:
        self.collections.pop(key.decode(), None)
        self.dead_collections[key.decode()] = self.tokens

    def _array(
        self,
        collection: bytes,
        array: bytes,
        seq: int,
        primary_key: bytes,
        keyed: int,
        meta: bytes,
        index: Sequence[bytes],
    ) -> None:
        self.put_array(
            collection.decode(),
            array.decode(),
            seq=int(seq),
            primary_key=primary_key if int(keyed) else None,
            meta=meta,
            index=tuple(index),
        )

    def _unarray(self, array: bytes, token: int) -> None:
        self.arrays.pop(array.decode(), None)
        self.dead_arrays[array.decode()] = int(token)

    def _unindex(self, collection: bytes) -> None:
        key = collection.decode()
        if key in self.collections:
            self.collections[key].pop(b"indexes", None)
        for array in self.arrays.values():
            if array.collection_id == key:
                array.index = ()

    def _commit(
        self,
        array: bytes,
        generation: int,
        time_ms: int,
        token: bytes,
        kept: int,
        change: int,
        flat: Sequence[bytes],
    ) -> None:
        self.commit(
            array.decode(),
            generation=int(generation),
            time_ms=int(time_ms),
            token=int(token),
            kept=int(kept),
            change=int(change),
            moves=((int(ordinal), new) for ordinal, new in pairs(flat)),
        )

    def _move(self, array: bytes, flat: Sequence[bytes]) -> None:
        """Put versions on other shards: (ordinal, old entry, new entry), one after another."""
        found = self.arrays.get(array.decode())
        if found is None:
            return
        for ordinal, old, new in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
            number = int(ordinal)
            if found.entries.get(number) == old:
                found.entries[number] = new
                continue
            for past in found.history.values():
                if past.replaced.get(number) == old:
                    past.replaced[number] = new

    def _trim(self, array: bytes, kept: int) -> None:
        self.trim(array.decode(), int(kept))

    _APPLY: ClassVar[dict[bytes, Callable[..., None]]] = {
        b"cluster": _cluster,
        b"shard": _shard,
        b"collection": _collection,
        b"uncollection": _uncollection,
        b"array": _array,
        b"unarray": _unarray,
        b"unindex": _unindex,
        b"commit": _commit,
        b"move": _move,
        b"trim": _trim,
    }
