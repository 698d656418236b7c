from __future__ import annotations

import msgpack
import pytest

from deker_cluster.errors import DekerMetaDataError
from deker_cluster.rebuild.batches import Batch, parse_batch, parse_log
from deker_cluster.rebuild.checkpoint import pack_state, unpack_state
from deker_cluster.rebuild.state import RegistryState


def record(number: int, size: int = 0) -> bytes:
    fields = [b"name", b"c%d" % number, b"record", b"x" * size]
    packed: bytes = msgpack.packb([b"collection", b"id-%d" % number, fields])
    return packed


def batch(first: int, last: int, *, size: int = 0, tokens: int = 0) -> Batch:
    numbers = range(first, last + 1)
    return Batch(first - 1, tokens, tokens, tuple((n, record(n, size)) for n in numbers))


def test_batches_as_bytes() -> None:
    one = batch(4, 9, tokens=12)
    assert parse_batch(one.pack()) == one
    assert list(parse_log(one.pack() + batch(10, 10).pack() + b"DKJ1garbage")) == [
        one,
        batch(10, 10),
    ]
    huge = bytearray(one.pack())
    huge[4:8] = b"\xff\xff\xff\x7f"
    assert list(parse_log(huge)) == []
    gap = Batch(3, 0, 0, ((4, record(4)), (6, record(6))))
    with pytest.raises(DekerMetaDataError, match="gaps"):
        parse_batch(gap.pack())


def test_checkpoints_of_other_formats() -> None:
    data = bytearray(pack_state(RegistryState(number=3)))
    assert unpack_state(data, "it") == RegistryState(number=3)
    with pytest.raises(DekerMetaDataError, match="holds no state"):
        unpack_state(b"something else, which is long enough to have a head", "it")
    data[4] = 9
    with pytest.raises(DekerMetaDataError, match="format 9"):
        unpack_state(data, "it")
