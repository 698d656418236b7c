"""The client's side of a shard's Arrow Flight server. Importing this module imports pyarrow.

One record batch has one column of bytes and bears, as its metadata, the heads of the tiles that
begin in it; batches end anywhere. Requests are signed (:mod:`.tickets`) and, like errors, msgpack
(:mod:`.wire`).
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import flight

from deker_cluster.errors import DekerValidationError
from deker_cluster.transport.messages import ArrivedTile
from deker_cluster.transport.tickets import Purpose, TicketRefusedError, sign
from deker_cluster.transport.wire import pack_fetch, pack_stage, unpack_error, unpack_heads

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from deker_cluster.transport.messages import Buffer, FetchRequest, FlightEndpoint, TileBlob
    from deker_cluster.transport.wire import TileHead

__all__ = ["PART_SCHEMA", "FlightLane", "LaneDownError", "part_batch", "part_bytes"]

logger = logging.getLogger(__name__)

PART_SCHEMA = pa.schema([pa.field("bytes", pa.uint8(), nullable=False)])
"""Of every stream, in both directions."""

_PART_BYTES = 2 << 20
"""Of one record batch that is sent."""

_GATHER_BELOW_BYTES = 256 << 10
"""Smaller segments are copied together: a batch of its own costs more than the copy."""

_REST_S = 10.0
"""How long a lane that failed is left alone: a blocked port would cost every read its timeout."""

_CHANNEL = [
    # A port that swallows packets is given up after 3 s instead of 20.
    ("grpc.initial_reconnect_backoff_ms", 1000),
    ("grpc.min_reconnect_backoff_ms", 3000),
    # What a stream may send before its reader asks for more. Else gRPC lets it grow with the
    # speed of the connection: on a fast one half again as much memory, and no more cells.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1 << 20),
]


_clients: weakref.WeakSet[Any] = weakref.WeakSet()


def _keep_for_ever() -> None:
    """Keep a forked child from closing its parent's connections, which would wait for ever."""
    for client in list(_clients):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


os.register_at_fork(after_in_child=_keep_for_ever)


def _keep_freed_memory() -> None:
    """Have the C library keep up to 62 MiB of what is freed, instead of giving it back.

    gRPC allocates what arrives, twice, and frees it at once; giving it back each time took a third
    of a reader's time in page faults. glibc learns from a large block that is freed, up to 32 MiB,
    unless the user has set its thresholds. No memory is touched; other libraries do as they like.
    """
    np.empty(31 << 20, np.uint8)


class LaneDownError(Exception):
    """The Flight server of a shard cannot be used now; its actor may be there all the same."""


def part_batch(part: Buffer) -> pa.RecordBatch:
    """Return bytes as one record batch; no copy."""
    buffer = pa.py_buffer(part)
    column = pa.Array.from_buffers(pa.uint8(), buffer.size, [None, buffer])
    return pa.RecordBatch.from_arrays([column], schema=PART_SCHEMA)


def part_bytes(batch: pa.RecordBatch) -> memoryview:
    """Return the bytes of a record batch; no copy.

    Raises
    ------
    DekerValidationError
        It holds something else.
    """
    if batch.num_columns != 1 or batch.schema.types != PART_SCHEMA.types:
        raise DekerValidationError("a record batch on the wire does not hold bytes")
    column = batch.column(0)
    data = column.buffers()[1]
    if data is None:
        return memoryview(b"")
    # A length that leaves the buffer gives less than it says, and is noticed by that.
    return memoryview(data).cast("B")[column.offset : column.offset + len(column)]


class FlightLane:
    """Streams stored bytes between this process and one shard, over one connection.

    Parameters
    ----------
    ask
        Asks the shard for its endpoint, for so many seconds at most; None: it has none. Its errors
        are passed on.

    Notes
    -----
    Safe to share between threads, but not with forked children.
    """

    def __init__(self, ask: Callable[[float], FlightEndpoint | None]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._line: _Line | None = None
        self._rest_until = 0.0
        self._told = False

    def fetch(
        self, requests: Sequence[FetchRequest], timeout_s: float, ask_s: float | None = None
    ) -> Iterator[ArrivedTile | None]:
        """Yield stored bytes in the order of the requests, each tile as soon as it is here.

        Parameters
        ----------
        ask_s
            How long the shard may take to tell its endpoint; None: as long as all the rest.

        Raises
        ------
        LaneDownError
            What has been yielded stands; the rest must be asked for in another way.
        DekerBaseApplicationError, OSError
            What the shard says of its files.
        """
        line = self._connected(timeout_s if ask_s is None else ask_s)
        ticket = line.signed(Purpose.GET, pack_fetch(requests))
        parts = self._parts(line, ticket, timeout_s)
        try:
            arriving = _Arriving(parts)
            for _ in requests:
                yield arriving.tile()
        finally:
            parts.close()

    def _parts(
        self, line: _Line, ticket: bytes, timeout_s: float
    ) -> Generator[tuple[list[TileHead | None], memoryview], None, None]:
        with self._errors(line):
            reader = line.client.do_get(flight.Ticket(ticket), _options(timeout_s))
        try:
            while True:
                with self._errors(line):
                    try:
                        chunk: Any = reader.read_chunk()
                    except StopIteration:
                        return
                heads = b"" if chunk.app_metadata is None else chunk.app_metadata.to_pybytes()
                try:
                    part = unpack_heads(heads), part_bytes(chunk.data)
                except DekerValidationError as error:
                    raise LaneDownError(str(error)) from error
                yield part
        finally:
            # Whoever waits for no more must not leave the server sending.
            reader.cancel()

    def stage(
        self,
        blobs: Sequence[TileBlob],
        *,
        fsync: bool,
        timeout_s: float,
        ask_s: float | None = None,
    ) -> None:
        """Put tile files in place; see :meth:`ShardHandle.stage` and :meth:`fetch`.

        Raises
        ------
        LaneDownError
            They may be in place, or not: the same call may be repeated in another way.
        DekerBaseApplicationError, OSError
            What the shard says: nothing was put in place.
        """
        line = self._connected(timeout_s if ask_s is None else ask_s)
        command = line.signed(Purpose.PUT, pack_stage(blobs, fsync=fsync))
        with self._errors(line):
            writer, _ = line.client.do_put(
                flight.FlightDescriptor.for_command(command), PART_SCHEMA, _options(timeout_s)
            )
            # Closing waits for the shard's answer, and raises what it says.
            with writer:
                for part in _gathered(blobs):
                    writer.write_batch(part_batch(part))

    def _connected(self, ask_s: float) -> _Line:
        line = self._line
        if line is not None:
            return line
        if time.monotonic() < self._rest_until:
            raise LaneDownError("it failed a moment ago")
        endpoint = self._ask(ask_s)
        if endpoint is None:
            self._rest_until = time.monotonic() + _REST_S
            raise LaneDownError("the shard offers no Flight server")
        with self._lock:
            if self._line is None or self._line.endpoint != endpoint:
                self._line = _Line(endpoint)
            return self._line

    @contextlib.contextmanager
    def _errors(self, line: _Line) -> Iterator[None]:
        """Tell what the shard said from what happened to the connection."""
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            said = unpack_error(getattr(error, "extra_info", None) or b"")
            if said is not None:
                raise said from None
            with self._lock:
                if self._line is line:
                    self._line = None
                    self._rest_until = time.monotonic() + _REST_S
            if not self._told:
                self._told = True
                logger.warning(
                    "the Flight server at %s does not serve; going on through Ray's object "
                    "store, which is slower: %s",
                    line.endpoint.location,
                    str(error).partition("\n")[0][:200],
                )
            raise LaneDownError(str(error)) from error


class _Line:
    """A connection to an endpoint."""

    def __init__(self, endpoint: FlightEndpoint) -> None:
        _keep_freed_memory()
        self.endpoint = endpoint
        self.client: Any = flight.FlightClient(endpoint.location, generic_options=_CHANNEL)
        _clients.add(self.client)

    def signed(self, purpose: Purpose, request: bytes) -> bytes:
        endpoint = self.endpoint
        try:
            return sign(endpoint.key, purpose, endpoint.shard, request, now_s=time.time())
        except TicketRefusedError as error:
            raise LaneDownError(str(error)) from error


class _Arriving:
    """Puts the parts of a stream together to tiles."""

    def __init__(self, parts: Iterator[tuple[list[TileHead | None], memoryview]]) -> None:
        self._parts = parts
        self._heads: deque[TileHead | None] = deque()
        self._part = memoryview(b"")

    def tile(self) -> ArrivedTile | None:
        """Return the next tile; LaneDownError if the stream ends before it is whole."""
        while not self._heads:
            self._more()
        head = self._heads.popleft()
        if head is None:
            return None
        pieces: list[tuple[int, Buffer]] = []
        for offset, size in head.ranges.tolist():
            at, left = offset, size
            while left:
                while not len(self._part):
                    self._more()
                piece = self._part[:left]
                self._part = self._part[len(piece) :]
                pieces.append((at, piece))
                at, left = at + len(piece), left - len(piece)
        return ArrivedTile(head.index, tuple(pieces))

    def _more(self) -> None:
        arrived = next(self._parts, None)
        if arrived is None:
            raise LaneDownError("the answer ended before its end")
        heads, self._part = arrived
        self._heads.extend(heads)


def _options(timeout_s: float) -> flight.FlightCallOptions:
    return flight.FlightCallOptions(timeout=timeout_s)


def _gathered(blobs: Sequence[TileBlob]) -> Iterator[Buffer]:
    """Yield the bytes of all segments, in parts of a size that suits the wire."""
    small: list[memoryview] = []
    waiting = 0
    for blob in blobs:
        for _, segment in blob.segments:
            view = memoryview(segment).cast("B")
            large = view.nbytes >= _GATHER_BELOW_BYTES
            if small and (large or waiting + view.nbytes > _PART_BYTES):
                yield b"".join(small)
                small, waiting = [], 0
            if large:
                for at in range(0, view.nbytes, _PART_BYTES):
                    yield view[at : at + _PART_BYTES]
            else:
                small.append(view)
                waiting += view.nbytes
    if small:
        yield b"".join(small)
