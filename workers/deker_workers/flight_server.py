"""The shard's Arrow Flight server: stored bytes to and from other nodes, past the object store.

Importing this module imports pyarrow.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import flight

from deker_cluster.errors import DekerBaseApplicationError, DekerValidationError
from deker_cluster.transport.flight import PART_SCHEMA, part_batch, part_bytes
from deker_cluster.transport.messages import FlightEndpoint, TileBlob
from deker_cluster.transport.tickets import Purpose, TicketRefusedError, new_key, unseal
from deker_cluster.transport.wire import pack_error, pack_heads, unpack_fetch, unpack_stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deker_cluster.transport.messages import Buffer, FetchRequest
    from deker_cluster.transport.wire import StagePlan
    from deker_workers.service import ShardService

__all__ = ["ShardFlightServer"]

logger = logging.getLogger(__name__)

_PART_BYTES = 2 << 20
"""Of one record batch; see docs/design/005-transport.md."""

_PUTS_AT_ONCE = 8
"""Each holds a batch of tile files in memory until they are on disk."""


class ShardFlightServer(flight.FlightServerBase):  # type: ignore[misc]
    """Serves one shard on a free port, from construction until :meth:`shutdown`.

    Only requests with a ticket that is signed with the server's own key are looked into.

    Parameters
    ----------
    host
        Address of this node to listen at.
    service
        What is served.

    Raises
    ------
    OSError
        Nothing can listen at that address.
    """

    def __init__(self, host: str, service: ShardService) -> None:
        place = f"[{host}]" if ":" in host else host
        try:
            super().__init__(f"grpc+tcp://{place}:0")
        except pa.ArrowException as error:
            raise OSError(f"no Flight server at {host}: {error}") from error
        self._service = service
        self._puts = threading.BoundedSemaphore(_PUTS_AT_ONCE)
        self.endpoint = FlightEndpoint(
            f"grpc+tcp://{place}:{self.port}", service.directory.shard_id, new_key()
        )

    def do_get(self, _: flight.ServerCallContext, ticket: flight.Ticket) -> flight.FlightDataStream:
        """Stream stored bytes, each batch with the heads of the tiles that begin in it."""
        try:
            requests = unpack_fetch(self._unsealed(Purpose.GET, ticket.ticket))
        except DekerValidationError as error:
            raise _told(error) from error
        return flight.GeneratorStream(PART_SCHEMA, self._batches(requests))

    def _batches(self, requests: Sequence[FetchRequest]) -> Iterator[tuple[pa.RecordBatch, bytes]]:
        try:
            parts = self._service.stream(requests, _PART_BYTES, pa.allocate_buffer)
            for heads, part in parts:
                yield part_batch(part), pack_heads(heads)
        except (DekerBaseApplicationError, OSError) as error:
            raise _told(error) from error

    def do_put(
        self,
        _: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        __: flight.FlightMetadataWriter,
    ) -> None:
        """Put tile files in place; what came when the stream ends is all there, or nothing is."""
        packed = self._unsealed(Purpose.PUT, descriptor.command or b"")
        try:
            plan = unpack_stage(packed)
            with self._puts:
                self._service.stage(_received(plan, reader), fsync=plan.fsync)
        except (DekerBaseApplicationError, OSError) as error:
            raise _told(error) from error

    def _unsealed(self, purpose: Purpose, ticket: bytes) -> bytes:
        endpoint = self.endpoint
        try:
            return unseal(endpoint.key, purpose, endpoint.shard, ticket, now_s=time.time())
        except TicketRefusedError as error:
            logger.warning("a request to shard %s was refused: %s", endpoint.shard, error)
            raise flight.FlightUnauthenticatedError("the ticket is refused") from None


def _told(error: Exception) -> flight.FlightError:
    """Return what brings an error to the client as what it is."""
    return flight.FlightServerError(type(error).__name__, pack_error(error))


def _received(plan: StagePlan, reader: flight.MetadataRecordBatchReader) -> list[TileBlob]:
    """Take the announced segments off the stream; the bytes stay where gRPC has put them.

    Raises
    ------
    DekerValidationError
        The stream is shorter or longer than announced.
    """
    parts = _Parts(reader)
    blobs = []
    for file in plan.files:
        pieces: list[tuple[int, Buffer]] = []
        for offset, size in file.segments:
            at = offset
            for piece in parts.take(size):
                pieces.append((at, piece))
                at += len(piece)
        blobs.append(TileBlob(file.key, tuple(pieces), file.total_bytes, file.bulk))
    parts.require_end()
    return blobs


class _Parts:
    """The bytes of a stream of record batches."""

    def __init__(self, reader: flight.MetadataRecordBatchReader) -> None:
        self._reader = reader
        self._part = memoryview(b"")

    def _next(self) -> bool:
        try:
            chunk: Any = self._reader.read_chunk()
        except StopIteration:
            return False
        self._part = part_bytes(chunk.data)
        return True

    def take(self, size: int) -> Iterator[memoryview]:
        while size:
            if not len(self._part) and not self._next():
                raise DekerValidationError("a stream of tile files ended before its end")
            piece = self._part[:size]
            self._part = self._part[len(piece) :]
            size -= len(piece)
            yield piece

    def require_end(self) -> None:
        while not len(self._part) and self._next():
            pass
        if len(self._part):
            raise DekerValidationError("a stream of tile files goes on behind its end")
