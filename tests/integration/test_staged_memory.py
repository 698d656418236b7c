"""The memory of encoded tiles is used again, but never while somebody may still read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster import Client, DimensionSchema, HDF5CompressionOpts, HDF5Options, VArraySchema
from deker_cluster.errors import StorageFullError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.transport.messages import TileBlob


@pytest.mark.parametrize("acknowledged", [True, False])
def test_memory_that_a_shard_has_not_acknowledged_is_left_alone(
    client: Client, monkeypatch: pytest.MonkeyPatch, acknowledged: bool
) -> None:
    schema = VArraySchema(
        dtype="int32",
        dimensions=[DimensionSchema("y", 1024), DimensionSchema("x", 512)],
        arrays_shape=(512, 512),
    )
    options = HDF5Options(chunks=(128, 256), compression_opts=HDF5CompressionOpts("gzip", 4))
    array = client.create_collection("packed", schema, options).create()
    values = np.random.default_rng(3).integers(0, 99, (2, 1024, 512), np.int32)
    seen: list[memoryview] = []
    handle = client.session.shards.get(0).handle
    stage = type(handle).stage

    def look(self: Any, tiles: Sequence[TileBlob], **options: Any) -> None:
        seen.extend(memoryview(segment) for blob in tiles for _, segment in blob.segments[1:])
        if not acknowledged:
            raise StorageFullError("no room")
        stage(self, tiles, **options)

    with monkeypatch.context() as patched:
        patched.setattr(type(handle), "stage", look)
        if acknowledged:
            array[:].update(values[0])
        else:
            with pytest.raises(StorageFullError):
                array[:].update(values[0])
    before = [bytes(segment) for segment in seen]
    array[:].update(values[1])
    np.testing.assert_array_equal(array[:].read(), values[1])
    # That acknowledged memory is overwritten shows that this test can tell.
    assert (before == [bytes(segment) for segment in seen]) is not acknowledged
