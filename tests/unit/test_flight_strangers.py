"""A shard's Flight server and those whom it does not know."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import flight

from deker_cluster.core.ids import new_id
from deker_cluster.transport.flight import PART_SCHEMA, part_batch
from deker_cluster.transport.messages import FetchRequest, TileKey
from deker_cluster.transport.tickets import Purpose, new_key, sign
from deker_cluster.transport.wire import pack_fetch, pack_stage
from tests.kit.flight_shard import ARRAY, CELLS, WHOLE, Broken, blob, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deker_workers.flight_server import ShardFlightServer

KEY = TileKey(ARRAY, 0, 7)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ShardFlightServer]:
    with served(tmp_path / "shard") as running:
        yield running


def _get(client: Any, ticket: bytes) -> None:
    client.do_get(flight.Ticket(ticket)).read_all()


def _put(client: Any, command: bytes, *parts: bytes) -> None:
    writer, _ = client.do_put(flight.FlightDescriptor.for_command(command), PART_SCHEMA)
    with writer:
        for part in parts:
            writer.write_batch(part_batch(part))


def test_only_signed_requests_are_looked_into(tmp_path: Path) -> None:
    with (
        served(tmp_path, Broken(AssertionError("a stranger was served"))) as server,
        flight.FlightClient(server.endpoint.location) as client,
    ):
        key, shard = server.endpoint.key, server.endpoint.shard
        get = pack_fetch([FetchRequest(KEY, WHOLE)])
        put = pack_stage([blob(KEY, CELLS)], fsync=True)

        def signed(purpose: Purpose, request: bytes, **other: Any) -> bytes:
            words = {"key": key, "shard": shard, "now_s": time.time(), **other}
            return sign(purpose=purpose, request=request, **words)

        for use, own, foreign, request in (
            (_get, Purpose.GET, Purpose.PUT, get),
            (_put, Purpose.PUT, Purpose.GET, put),
        ):
            good = signed(own, request)
            strangers = [
                b"", b"x", request, good[:-1], good + b"x", good[:-1] + bytes([good[-1] ^ 1]),
                signed(own, request, key=new_key()), signed(own, request, key=b""),
                signed(own, request, shard=new_id()), signed(foreign, request),
                signed(own, request, now_s=time.time() - 1000),
                signed(own, request, now_s=time.time() + 1000),
                bytes(1 << 20),
            ]  # fmt: skip
            for stranger in strangers:
                with pytest.raises(flight.FlightUnauthenticatedError) as refused:
                    use(client, stranger)
                assert refused.value.extra_info == b""
                assert key.hex() not in str(refused.value)
        writer, _ = client.do_put(flight.FlightDescriptor.for_path("x"), PART_SCHEMA)
        with pytest.raises(flight.FlightUnauthenticatedError):
            writer.close()
        assert key.hex() not in repr(server.endpoint)
        assert repr(key) not in repr(server.endpoint)


def test_nothing_else_is_offered(server: ShardFlightServer) -> None:
    with flight.FlightClient(server.endpoint.location) as client:
        there = flight.FlightDescriptor.for_command(b"x")
        calls: list[Callable[[], object]] = [
            lambda: list(client.list_flights()),
            lambda: client.get_flight_info(there),
            lambda: client.get_schema(there),
            lambda: list(client.do_action(flight.Action("x", b""))),
            lambda: list(client.do_exchange(there)[1]),
            lambda: list(client.list_actions()),
        ]
        for call in calls:
            with pytest.raises((NotImplementedError, flight.FlightError)):
                call()


def test_signed_nonsense_is_refused(server: ShardFlightServer, tmp_path: Path) -> None:
    endpoint = server.endpoint

    def signed(purpose: Purpose, request: bytes) -> bytes:
        return sign(endpoint.key, purpose, endpoint.shard, request, now_s=time.time())

    outside = TileKey("../../../etc", 0, 1)
    staged = blob(KEY, CELLS)
    escaping = pack_stage([blob(outside, CELLS)], fsync=True)
    announced = signed(Purpose.PUT, pack_stage([staged], fsync=True))
    whole = b"".join(bytes(memoryview(segment).cast("B")) for _, segment in staged.segments)
    with flight.FlightClient(endpoint.location) as client:
        calls: list[Callable[[], None]] = [
            lambda: _get(client, signed(Purpose.GET, b"\xc1")),
            lambda: _get(client, signed(Purpose.GET, pack_fetch([FetchRequest(outside, WHOLE)]))),
            lambda: _put(client, signed(Purpose.PUT, b"\xc1")),
            lambda: _put(client, signed(Purpose.PUT, escaping), whole),
            lambda: _put(client, announced),
            lambda: _put(client, announced, whole[:-1]),
            lambda: _put(client, announced, whole, b"x"),
            lambda: _put(client, announced, whole + b"x"),
        ]  # fmt: skip
        for number, call in enumerate(calls):
            with pytest.raises(flight.FlightServerError) as refused:
                call()
            assert refused.value.extra_info, number
        assert sorted(path.name for path in tmp_path.rglob("*.h5")) == []
        _put(client, announced, whole[:10], b"", whole[10:], b"")
        assert sorted(path.name for path in tmp_path.rglob("*.h5")) == ["0-7.h5"]
