"""Requests, answers and errors of the Flight service as bytes: msgpack, never pickle.

Pure (no I/O). What comes in is read as if a stranger had written it.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgpack
import numpy as np

from deker_cluster import errors
from deker_cluster.errors import DekerBaseApplicationError, DekerValidationError
from deker_cluster.transport.messages import FetchRequest, TileKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from deker_cluster.core.regions import Region
    from deker_cluster.transport.messages import TileBlob

__all__ = [
    "StagePlan",
    "StagedFile",
    "TileHead",
    "pack_error",
    "pack_fetch",
    "pack_heads",
    "pack_stage",
    "unpack_error",
    "unpack_fetch",
    "unpack_heads",
    "unpack_stage",
]

_MAX_RANK: Final = 32
_MAX_NUMBER: Final = 1 << 63
_MAX_TEXT: Final = 1000
"""Of an error's words; gRPC carries about 8 KiB beside a status."""


@attrs.frozen
class StagedFile:
    """A tile file whose bytes follow."""

    key: TileKey
    total_bytes: int
    bulk: bool
    """As of :class:`~deker_cluster.transport.messages.TileBlob`."""
    segments: tuple[tuple[int, int], ...]
    """(offset in the file, bytes), ascending and disjoint."""


@attrs.frozen
class StagePlan:
    """What a stream of bytes is to become: the segments of the files, one after another."""

    files: tuple[StagedFile, ...]
    fsync: bool

    @property
    def payload_bytes(self) -> int:
        """Length of the stream."""
        return sum(size for file in self.files for _, size in file.segments)


@attrs.frozen(eq=False)
class TileHead:
    """What stands before the stored bytes of a tile."""

    index: bytes
    ranges: npt.NDArray[np.int64]
    """Offset in the tile file and size, bytes, shape (n, 2); the bytes follow in this order."""


def pack_fetch(requests: Sequence[FetchRequest]) -> bytes:
    """Return the bytes of a request for stored bytes."""
    packed: bytes = msgpack.packb(
        [
            (
                *_key_words(request.key),
                []
                if request.whole
                else [
                    list(map(_axis_words, region)) for region in (request.region, *request.others)
                ],
            )
            for request in requests
        ]
    )
    return packed


def unpack_fetch(packed: bytes) -> list[FetchRequest]:
    """Read what :func:`pack_fetch` made.

    Raises
    ------
    DekerValidationError
        It is something else.
    """
    requests = []
    for array_id, ordinal, version, regions in _rows(_loaded(packed), 4):
        if not isinstance(regions, list):
            raise _malformed()
        key = _key(array_id, ordinal, version)
        if regions:
            first, *others = map(_region, regions)
            requests.append(FetchRequest(key, first, tuple(others)))
        else:
            requests.append(FetchRequest(key, (), whole=True))
    return requests


def pack_heads(heads: Sequence[TileHead | None]) -> bytes:
    """Return the bytes of what precedes tiles; None: there is no file."""
    packed: bytes = msgpack.packb(
        [head and (head.index, head.ranges.astype("<i8").tobytes()) for head in heads]
    )
    return packed


def unpack_heads(packed: bytes) -> list[TileHead | None]:
    """Read what :func:`pack_heads` made; raises as :func:`unpack_fetch`."""
    loaded = _loaded(packed)
    if not isinstance(loaded, list):
        raise _malformed()
    heads: list[TileHead | None] = []
    for item in loaded:
        if item is None:
            heads.append(None)
            continue
        ((index_bytes, ranges),) = _rows([item], 2)
        if not (isinstance(index_bytes, bytes) and isinstance(ranges, bytes)) or len(ranges) % 16:
            raise _malformed()
        numbers = np.frombuffer(ranges, "<i8").reshape(-1, 2)
        if (numbers < 0).any() or (numbers > _MAX_NUMBER >> 20).any():
            raise _malformed()
        heads.append(TileHead(index_bytes, numbers))
    return heads


def pack_stage(blobs: Sequence[TileBlob], *, fsync: bool) -> bytes:
    """Return the bytes that announce tile files; their contents are sent apart."""
    files = [
        (
            *_key_words(blob.key),
            blob.total_bytes,
            blob.bulk,
            [(offset, memoryview(segment).nbytes) for offset, segment in blob.segments],
        )
        for blob in blobs
    ]
    packed: bytes = msgpack.packb((fsync, files))
    return packed


def unpack_stage(packed: bytes) -> StagePlan:
    """Read what :func:`pack_stage` made; raises as :func:`unpack_fetch`."""
    ((fsync, files),) = _rows([_loaded(packed)], 2)
    if not isinstance(fsync, bool):
        raise _malformed()
    found = []
    for array_id, ordinal, version, total, bulk, segments in _rows(files, 6):
        if not isinstance(bulk, bool):
            raise _malformed()
        total_bytes, end, pairs = _number(total), 0, []
        for offset, size in _rows(segments, 2):
            if not end <= _number(offset) <= _number(offset) + _number(size) <= total_bytes:
                raise _malformed()
            end = offset + size
            pairs.append((offset, size))
        key = _key(array_id, ordinal, version)
        found.append(StagedFile(key, total_bytes, bulk, tuple(pairs)))
    return StagePlan(tuple(found), fsync)


def pack_error(error: Exception) -> bytes | None:
    """Return the bytes of an error that the other side knows; None for any other."""
    if isinstance(error, DekerBaseApplicationError):
        name, words = type(error).__name__, list(error.args)
    elif isinstance(error, OSError):
        name, words = "OSError", [error.errno, error.strerror, error.filename]
    else:
        return None
    if not all(word is None or isinstance(word, str | int) for word in words):
        words = [str(error)]
    short = [word[:_MAX_TEXT] if isinstance(word, str) else word for word in words]
    packed: bytes = msgpack.packb((name, short))
    return packed


def unpack_error(packed: bytes) -> Exception | None:
    """Read what :func:`pack_error` made; None if it is no error that this side knows."""
    try:
        ((name, words),) = _rows([_loaded(packed)], 2)
    except DekerValidationError:
        return None
    if not isinstance(name, str) or not isinstance(words, list):
        return None
    if name == "OSError":
        return OSError(*words[:3])
    if name not in errors.__all__:
        return None
    try:
        error: Exception = getattr(errors, name)(*words)
    except TypeError:
        return None
    return error


def _key_words(key: TileKey) -> tuple[str, int, int]:
    return key.array_id, index(key.ordinal), index(key.version)


def _axis_words(part: slice | npt.NDArray[np.int64]) -> object:
    if isinstance(part, slice):
        return [
            None if bound is None else index(bound) for bound in (part.start, part.stop, part.step)
        ]
    return np.ascontiguousarray(part, "<i8").tobytes()


def _region(words: object) -> Region:
    if not isinstance(words, list) or len(words) > _MAX_RANK:
        raise _malformed()
    return tuple(map(_axis, words))


def _axis(word: object) -> slice | npt.NDArray[np.int64]:
    if isinstance(word, bytes):
        if len(word) % 8:
            raise _malformed()
        return np.frombuffer(word, "<i8")
    if not isinstance(word, list) or len(word) != 3:
        raise _malformed()
    return slice(*(None if bound is None else _number(bound) for bound in word))


def _key(array_id: object, ordinal: object, version: object) -> TileKey:
    if not isinstance(array_id, str):
        raise _malformed()
    return TileKey(array_id, _number(ordinal, 1 << 64), _number(version, 1 << 64))


def _number(word: object, end: int = _MAX_NUMBER) -> int:
    if type(word) is not int or not 0 <= word < end:
        raise _malformed()
    return word


def _rows(loaded: object, width: int) -> list[list[Any]]:
    if not isinstance(loaded, list) or not all(
        isinstance(row, list) and len(row) == width for row in loaded
    ):
        raise _malformed()
    return loaded


def _loaded(packed: bytes) -> object:
    try:
        return msgpack.unpackb(packed)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise _malformed() from error


def _malformed() -> DekerValidationError:
    return DekerValidationError("a request or an answer on the wire is not well formed")
