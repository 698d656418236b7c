from __future__ import annotations

import contextlib
import errno
import random
from typing import Any

import msgpack
import numpy as np
import pytest

from deker_cluster import errors
from deker_cluster.errors import (
    DekerBaseApplicationError,
    DekerIntegrityError,
    DekerValidationError,
    StorageFullError,
)
from deker_cluster.transport.messages import FetchRequest, TileBlob, TileKey
from deker_cluster.transport.wire import (
    StagedFile,
    TileHead,
    pack_error,
    pack_fetch,
    pack_heads,
    pack_stage,
    unpack_error,
    unpack_fetch,
    unpack_heads,
    unpack_stage,
)

KEY = TileKey("a1b2c3d4-0000-4000-8000-00000000000f", 3, (1 << 64) - 1)
POINTS = np.array([0, 5, 1 << 40])
REQUESTS = [
    FetchRequest(KEY, (slice(0, 4, 1), slice(2, None, 3))),
    FetchRequest(KEY, (POINTS, slice(None)), ((slice(1, 2, 1), POINTS[:0]),)),
]


def plain(request: FetchRequest) -> list[Any]:
    return [
        request.key,
        *(
            [part if isinstance(part, slice) else part.tolist() for part in region]
            for region in (request.region, *request.others)
        ),
    ]


def test_requests_arrive_as_they_were() -> None:
    assert list(map(plain, unpack_fetch(pack_fetch(REQUESTS)))) == list(map(plain, REQUESTS))


def test_numbers_of_numpy_are_numbers() -> None:
    region = (slice(np.int64(1), np.int64(3), np.int64(1)),)
    request = FetchRequest(TileKey(KEY.array_id, np.int64(1), np.uint64(2)), region)  # type: ignore[arg-type]
    (arrived,) = unpack_fetch(pack_fetch([request]))
    assert arrived == FetchRequest(TileKey(KEY.array_id, 1, 2), (slice(1, 3, 1),))


def test_heads_arrive_as_they_were() -> None:
    heads = [TileHead(b"index", np.array([[512, 7], [1 << 40, 9]])), None]
    first, second = unpack_heads(pack_heads(heads))
    assert second is None
    assert first is not None
    assert (first.index, first.ranges.tolist()) == (b"index", [[512, 7], [1 << 40, 9]])


def test_files_arrive_as_they_were() -> None:
    segments = ((0, b"abc"), (3, np.zeros(3, "f8")), (100, memoryview(b"")))
    plan = unpack_stage(pack_stage([TileBlob(KEY, segments, 100, bulk=True)], fsync=False))
    assert plan.files == (StagedFile(KEY, 100, True, ((0, 3), (3, 24), (100, 0))),)
    assert plan.payload_bytes == 27
    assert not plan.fsync


@pytest.mark.parametrize(
    "words",
    [
        [[KEY.array_id, 0, 1, (((0, 4, 1),),)]],
        [[KEY.array_id, 1 << 63, 1, [[[0, 4, 1]]]]],
    ],
)
def test_what_is_well_formed_is_taken(words: object) -> None:
    assert len(unpack_fetch(msgpack.packb(words))) == 1


AXIS = [[[0, 4, 1]]]


@pytest.mark.parametrize(
    "words",
    [
        None, 1, "x", {}, [1], [None], [[]], [[KEY.array_id, 0, 1]],
        [[b"x", 0, 1, AXIS]], [[None, 0, 1, AXIS]], [[KEY.array_id, -1, 1, AXIS]],
        [[KEY.array_id, 0.0, 1, AXIS]], [[KEY.array_id, True, 1, AXIS]],
        [[KEY.array_id, 0, 1, None]], [[KEY.array_id, 0, 1, [1]]], [[KEY.array_id, 0, 1, [[1]]]],
        [[KEY.array_id, 0, 1, [[[0, 4]]]]], [[KEY.array_id, 0, 1, [[[0, 4, -1]]]]],
        [[KEY.array_id, 0, 1, [[[0, 4, 1.5]]]]], [[KEY.array_id, 0, 1, [["0", 4, 1]]]],
        [[KEY.array_id, 0, 1, [[b"1234567"]]]], [[KEY.array_id, 0, 1, [[[0, 4, 1]] * 33]]],
        [[KEY.array_id, 0, 1, {}]],
    ],
)  # fmt: skip
def test_other_requests_are_refused(words: object) -> None:
    with pytest.raises(DekerValidationError):
        unpack_fetch(msgpack.packb(words))


@pytest.mark.parametrize(
    "files",
    [
        None, 1, [[KEY.array_id, 0, 1, 10, []]], [[KEY.array_id, 0, 1, 10, True, 1]],
        [[KEY.array_id, 0, 1, 10, 1, []]],
        [[KEY.array_id, 0, 1, -1, True, []]], [[KEY.array_id, 0, 1, 10, True, [[0, 11]]]],
        [[KEY.array_id, 0, 1, 10, True, [[-1, 2]]]],
        [[KEY.array_id, 0, 1, 10, True, [[0, 5], [4, 2]]]],
        [[KEY.array_id, 0, 1, 10, True, [[5, 1], [0, 1]]]],
        [[KEY.array_id, 0, 1, 10, True, [[0, 1, 2]]]],
        [[KEY.array_id, 0, 1, 1 << 63, True, []]], [[KEY.array_id, 0, 1, 10, True, [[0, "1"]]]],
    ],
)  # fmt: skip
def test_other_files_are_refused(files: object) -> None:
    with pytest.raises(DekerValidationError):
        unpack_stage(msgpack.packb([True, files]))


@pytest.mark.parametrize("fsync", [None, 1, "yes"])
def test_durability_is_said_plainly(fsync: object) -> None:
    with pytest.raises(DekerValidationError):
        unpack_stage(msgpack.packb([fsync, []]))


@pytest.mark.parametrize(
    "words", [None, {}, [1], [[b"x"]], [["x", b""]], [[b"x", b"123"]], [[b"x", b"\xff" * 16]]]
)
def test_other_heads_are_refused(words: object) -> None:
    with pytest.raises(DekerValidationError):
        unpack_heads(msgpack.packb(words))


def test_noise_is_refused() -> None:
    chance = random.Random(1)
    good = pack_fetch(REQUESTS)
    for _ in range(2000):
        noise = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            noise[chance.randrange(len(noise))] = chance.randrange(256)
        for read in (unpack_fetch, unpack_stage, unpack_heads):
            with contextlib.suppress(DekerValidationError):
                read(bytes(noise[: chance.randrange(len(noise) + 1)]))
    with pytest.raises(DekerValidationError):
        unpack_fetch(b"\x91" * 100_000)


def made(name: str) -> DekerBaseApplicationError:
    error: DekerBaseApplicationError = getattr(errors, name)("what happened")
    return error


@pytest.mark.parametrize("name", errors.__all__)
def test_each_of_our_errors_arrives_as_what_it_is(name: str) -> None:
    error = made(name)
    arrived = unpack_error(pack_error(error) or b"")
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)


def test_an_integrity_error_names_its_place() -> None:
    arrived = unpack_error(pack_error(DekerIntegrityError("bad", "array", 7, "s0")) or b"")
    assert isinstance(arrived, DekerIntegrityError)
    assert (arrived.what, arrived.array, arrived.tile, arrived.shard) == ("bad", "array", 7, "s0")


def test_an_error_of_the_system_keeps_its_number() -> None:
    arrived = unpack_error(pack_error(OSError(errno.EMFILE, "too many", "/x")) or b"")
    assert isinstance(arrived, OSError)
    assert (arrived.errno, arrived.strerror, arrived.filename) == (errno.EMFILE, "too many", "/x")
    missing = unpack_error(pack_error(FileNotFoundError(errno.ENOENT, "gone", "/x")) or b"")
    assert isinstance(missing, FileNotFoundError)


def test_long_words_are_cut() -> None:
    packed = pack_error(StorageFullError("x" * 100_000))
    assert packed is not None
    assert len(packed) < 4000


def test_other_errors_are_not_sent() -> None:
    assert pack_error(KeyError("x")) is None
    words = (
        None, 1, ["x"], ["Exception", ["x"]], ["DekerClientError", 1], [1, []], ["os", ["x"]],
        ["CommitStateUnknownError", [1, 2, 3, 4]], ["__all__", ["x"]], ["ClassVar", ["x"]],
    )  # fmt: skip
    for word in words:
        assert unpack_error(msgpack.packb(word)) is None
    assert unpack_error(b"") is None
    assert unpack_error(b"\xc1") is None
