"""A shard's Flight server and the client's lane to it, in one process, without Ray."""

from __future__ import annotations

import errno
import time
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster.core.manifest import TileEntry
from deker_cluster.dataplane.holders import Choice
from deker_cluster.dataplane.reading import Part
from deker_cluster.dataplane.remote import RemoteTile, read_remote
from deker_cluster.errors import (
    DataDirectoryError,
    DekerIndexError,
    DekerIntegrityError,
    ShardUnavailableError,
    StorageFullError,
)
from deker_cluster.tilefile.index import TileIndex
from deker_cluster.transport import flight as client_side
from deker_cluster.transport.flight import FlightLane, LaneDownError
from deker_cluster.transport.messages import FetchRequest, TileKey
from deker_cluster.transport.tickets import new_key
from deker_cluster.transport.wire import TileHead
from deker_workers import flight_server
from tests.kit.flight_shard import ARRAY, CELLS, WHOLE, Broken, blob, cells_in, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deker_cluster.transport.messages import FlightEndpoint
    from deker_workers.flight_server import ShardFlightServer

KEYS = [TileKey(ARRAY, ordinal, 7) for ordinal in range(3)]
GZIP = ((1, (4,)),)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ShardFlightServer]:
    with served(tmp_path / "shard") as running:
        yield running


@pytest.fixture
def lane(server: ShardFlightServer) -> FlightLane:
    return FlightLane(lambda _: server.endpoint)


def stored(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*.h5"))


@pytest.mark.parametrize("part_bytes", [1, 700, 4096, 2 << 20])
@pytest.mark.parametrize("filters", [(), GZIP], ids=["raw", "gzip"])
def test_what_was_staged_is_fetched(
    server: ShardFlightServer,
    lane: FlightLane,
    monkeypatch: pytest.MonkeyPatch,
    part_bytes: int,
    filters: Any,
) -> None:
    monkeypatch.setattr(flight_server, "_PART_BYTES", max(part_bytes, 64))
    monkeypatch.setattr(client_side, "_PART_BYTES", part_bytes)
    monkeypatch.setattr(client_side, "_GATHER_BELOW_BYTES", part_bytes)
    blobs = [blob(key, CELLS * (i + 1), filters) for i, key in enumerate(KEYS)]
    lane.stage(blobs, fsync=True, timeout_s=30)
    for staged in blobs:
        file = server._service._store.path(staged.key).read_bytes()
        assert len(file) == staged.total_bytes
        for offset, segment in staged.segments:
            view = memoryview(segment).cast("B")
            assert file[offset : offset + len(view)] == view

    part = (slice(3, 39, 4), np.array([0, 1, 17, 59]))
    other = (slice(0, 9, 1), slice(0, 9, 1))
    missing = TileKey(ARRAY, 1, 8)
    first, none, second, both = lane.fetch(
        [
            FetchRequest(KEYS[2], WHOLE),
            FetchRequest(missing, WHOLE),
            FetchRequest(KEYS[0], part),
            FetchRequest(KEYS[1], part, (other, part)),
        ],
        30,
    )
    assert none is None
    assert np.array_equal(cells_in(first, WHOLE), CELLS * 3)
    assert np.array_equal(cells_in(second, part), CELLS[part])
    for region in (part, other):
        assert np.array_equal(cells_in(both, region), CELLS[region] * 2)
    assert both is not None
    assert first is not None
    offsets = sorted((offset, offset + len(piece)) for offset, piece in both.pieces)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(offsets)), "nothing comes twice"
    size = sum(len(piece) for _, piece in first.pieces)
    assert sum(len(piece) for _, piece in both.pieces) < size


def test_a_chunk_without_cells_needs_no_bytes(lane: FlightLane) -> None:
    lane.stage([blob(KEYS[0], CELLS)], fsync=False, timeout_s=30)
    nothing = (slice(0, 0, 1), slice(0, 60, 1))
    (tile,) = lane.fetch([FetchRequest(KEYS[0], nothing)], 30)
    assert tile is not None
    assert tile.pieces == ()
    assert list(lane.fetch([], 30)) == []


def test_staging_again_is_no_error_and_other_bytes_are_one(
    server: ShardFlightServer, lane: FlightLane
) -> None:
    for _ in range(2):
        lane.stage([blob(KEYS[0], CELLS)], fsync=True, timeout_s=30)
    with pytest.raises(DekerIntegrityError, match="exists with other contents") as refused:
        lane.stage([blob(KEYS[0], CELLS + 1)], fsync=True, timeout_s=30)
    assert (refused.value.array, refused.value.tile) == (ARRAY, 0)
    (tile,) = lane.fetch([FetchRequest(KEYS[0], WHOLE)], 30)
    assert np.array_equal(cells_in(tile, WHOLE), CELLS)


@pytest.mark.parametrize("sent", [0, 2])
@pytest.mark.parametrize(
    "error",
    [
        StorageFullError("no room"),
        DataDirectoryError("another cluster's " + "x" * 100_000),
        ShardUnavailableError("not open yet"),
        DekerIndexError("outside"),
        DekerIntegrityError("damaged", ARRAY, 5, "s0"),
        OSError(errno.EMFILE, "too many open files", "/x"),
        PermissionError(errno.EACCES, "not yours", "/x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_arrive_as_what_they_are(tmp_path: Path, error: Exception, sent: int) -> None:
    with served(tmp_path, Broken(error, sent)) as server:
        lane = FlightLane(lambda _: server.endpoint)
        tiles = lane.fetch([FetchRequest(key, WHOLE) for key in KEYS], 30)
        for _ in range(sent):
            assert next(tiles) is None
        with pytest.raises(type(error)) as read:
            next(tiles)
        with pytest.raises(type(error)) as written:
            lane.stage([blob(KEYS[0], CELLS)], fsync=True, timeout_s=30)
    for raised in (read.value, written.value):
        assert str(raised) == str(error)[: len(str(raised))]
        assert getattr(raised, "errno", None) == getattr(error, "errno", None)
        assert getattr(raised, "tile", None) == getattr(error, "tile", None)


def test_an_error_that_nobody_expects_is_left_to_the_other_way(tmp_path: Path) -> None:
    with served(tmp_path, Broken(KeyError("a mistake"))) as server:
        lane = FlightLane(lambda _: server.endpoint)
        with pytest.raises(LaneDownError):
            list(lane.fetch([FetchRequest(KEYS[0], WHOLE)], 30))
    with served(tmp_path, Broken(KeyError("a mistake"))) as server:
        lane = FlightLane(lambda _: server.endpoint)
        with pytest.raises(LaneDownError):
            lane.stage([blob(KEYS[0], CELLS)], fsync=True, timeout_s=30)


def test_a_large_write_that_is_refused_at_once_says_why(tmp_path: Path) -> None:
    big = np.random.default_rng(1).random((1 << 20,))
    with served(tmp_path, Broken(StorageFullError("no room"))) as server:
        lane = FlightLane(lambda _: server.endpoint)
        for _ in range(5):
            with pytest.raises(StorageFullError):
                lane.stage([blob(KEYS[0], big.reshape(1024, 1024))], fsync=True, timeout_s=30)


def test_no_longer_is_asked_for_the_server_than_the_caller_waits() -> None:
    asked: list[float] = []

    def ask(within_s: float) -> None:
        asked.append(within_s)

    with pytest.raises(LaneDownError):
        FlightLane(ask).stage([blob(KEYS[0], CELLS)], fsync=True, timeout_s=2, ask_s=4)
    with pytest.raises(LaneDownError):
        list(FlightLane(ask).fetch([FetchRequest(KEYS[0], WHOLE)], 3))
    assert asked == [4, 3]


def test_a_lane_rests_after_a_failure_and_then_finds_the_new_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[FlightEndpoint | None] = []
    with served(tmp_path / "shard") as first:
        lane = FlightLane(lambda _: asked.append(asked_for) or asked_for)  # type: ignore[func-returns-value]
        asked_for: FlightEndpoint | None = first.endpoint
        lane.stage([blob(KEYS[0], CELLS)], fsync=True, timeout_s=30)
        list(lane.fetch([FetchRequest(KEYS[0], WHOLE)], 30))
        assert len(asked) == 1, "one connection is kept"
    wanted = [FetchRequest(KEYS[0], WHOLE)]
    begun = time.monotonic()
    with pytest.raises(LaneDownError):
        list(lane.fetch(wanted, 30))
    assert time.monotonic() - begun < 10, "a server that is gone is noticed at once"
    asked_for = None
    for _ in range(3):
        with pytest.raises(LaneDownError):
            list(lane.fetch(wanted, 30))
    assert len(asked) == 1
    monkeypatch.setattr(client_side, "_REST_S", 0.0)
    lane._rest_until = 0.0
    with pytest.raises(LaneDownError, match="offers no"):
        list(lane.fetch(wanted, 30))
    service = first._service
    with served(tmp_path, service) as second:
        asked_for = second.endpoint
        (tile,) = lane.fetch(wanted, 30)
        assert np.array_equal(cells_in(tile, WHOLE), CELLS)
        # The same port may one day be another shard's.
        lane._line = client_side._Line(
            type(asked_for)(second.endpoint.location, first.endpoint.shard, new_key())
        )
        with pytest.raises(LaneDownError):
            list(lane.fetch(wanted, 30))
        assert len(list(lane.fetch(wanted, 30))) == 1


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    class Silent(Broken):
        def stream(self, *_: object) -> Iterator[tuple[list[Any], bytes]]:
            time.sleep(2)
            yield [None], b""

        def stage(self, *_: object, **__: object) -> None:
            time.sleep(2)

    with served(tmp_path, Silent(OSError())) as server:
        lane = FlightLane(lambda _: server.endpoint)
        for call in (
            lambda: list(lane.fetch([FetchRequest(KEYS[0], WHOLE)], 0.2)),
            lambda: lane.stage([blob(KEYS[0], CELLS)], fsync=True, timeout_s=0.2),
        ):
            lane._rest_until = 0.0
            begun = time.monotonic()
            with pytest.raises(LaneDownError):
                call()
            assert time.monotonic() - begun < 1.9


def test_who_stops_early_stops_the_server(tmp_path: Path) -> None:
    sent = 0

    class Endless(Broken):
        def stream(self, *_: object) -> Iterator[tuple[list[Any], bytes]]:
            nonlocal sent
            while True:
                sent += 1
                yield [None], bytes(1 << 20)

    with served(tmp_path, Endless(OSError())) as server:
        lane = FlightLane(lambda _: server.endpoint)
        tiles = lane.fetch([FetchRequest(KEYS[0], WHOLE)] * 1000, 30)
        assert next(tiles) is None
        tiles.close()  # type: ignore[attr-defined]
        time.sleep(0.3)
        before = sent
        time.sleep(0.3)
        assert sent == before < 200


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [([], b"bytes of no tile")],
        [([None] * 2, b""), ([TileHead(b"", np.array([[0, 10]]))], b"123456789")],
    ],
    ids=["nothing", "no head", "too few bytes"],
)
def test_an_answer_without_sense_is_no_answer(tmp_path: Path, parts: list[Any]) -> None:
    class Senseless(Broken):
        def stream(self, *_: object) -> Iterator[tuple[list[Any], bytes]]:
            yield from parts

    with served(tmp_path, Senseless(OSError())) as server:
        lane = FlightLane(lambda _: server.endpoint)
        with pytest.raises(LaneDownError):
            list(lane.fetch([FetchRequest(key, WHOLE) for key in KEYS], 30))


def test_bytes_damaged_on_the_way_are_found(
    server: ShardFlightServer, lane: FlightLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = blob(KEYS[0], CELLS)
    lane.stage([image], fsync=True, timeout_s=30)
    (tile,) = lane.fetch([FetchRequest(KEYS[0], WHOLE)], 30)
    assert tile is not None
    digest = TileIndex.parse(tile.index).digest
    out = np.empty_like(CELLS)

    def read(handle: Any) -> None:
        shard: Any = SimpleNamespace(name="s0", handle=handle, root=None)
        session: Any = SimpleNamespace(options=SimpleNamespace(verify=True))
        array: Any = SimpleNamespace(id=ARRAY)
        entry = TileEntry(7, digest, image.total_bytes, (0,))
        choice = Choice(shard, spare=False, hasty=False)
        tiles = [RemoteTile(0, [Part(WHOLE, out, (slice(None), slice(None)))], entry, choice)]
        done: list[RemoteTile] = []
        read_remote(session, array, tiles, done)
        assert done == tiles

    far: Any = SimpleNamespace(fetch=lambda requests: lane.fetch(requests, 30))
    read(far)
    assert np.array_equal(out, CELLS)
    stream = server._service.stream

    def damaged(*words: Any) -> Iterator[Any]:
        for heads, part in stream(*words):
            memoryview(part)[places[0]] ^= 1
            yield heads, part

    size = sum(len(piece) for _, piece in tile.pieces)
    monkeypatch.setattr(server._service, "stream", damaged)
    places = list(range(0, size, 977))
    while places:
        with pytest.raises(DekerIntegrityError, match="checksum") as found:
            read(far)
        assert (found.value.array, found.value.tile, found.value.shard) == (ARRAY, 0, "s0")
        del places[0]
