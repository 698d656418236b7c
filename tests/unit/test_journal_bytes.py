from __future__ import annotations

import pytest

from deker_cluster.errors import DekerMetaDataError
from deker_cluster.rebuild.batches import Batch, parse_batch, parse_log
from deker_cluster.rebuild.checkpoint import pack_state, unpack_state
from deker_cluster.rebuild.state import RegistryState
from tests.unit.rebuild_model import batch, record


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
