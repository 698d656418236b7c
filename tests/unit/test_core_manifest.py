from __future__ import annotations

import pytest

from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerMetaDataError, DekerValidationError

ENTRY = TileEntry(0x0102030405060708, 0xF1F2F3F4F5F6F7F8, 4096, (3, 0x1234))
PACKED = bytes.fromhex("01 0807060504030201 f8f7f6f5f4f3f2f1 0010000000000000 02 0300 3412")


def test_the_layout_never_changes() -> None:
    assert ENTRY.pack() == PACKED
    assert TileEntry.unpack(PACKED) == ENTRY


def test_the_limits_fit() -> None:
    top = 2**64 - 1
    for entry in (
        TileEntry(top, top, top, (0, 0xFFFF)),
        TileEntry(0, 0, 0, tuple(range(255))),
    ):
        assert TileEntry.unpack(entry.pack()) == entry


@pytest.mark.parametrize(
    "entry",
    [TileEntry(2**64, 0, 0, (1,)), TileEntry(-1, 0, 0, (1,)), TileEntry(1, 2**64, 0, (1,)),
     TileEntry(1, 0, -1, (1,)), TileEntry(1, 0, 0, ()), TileEntry(1, 0, 0, (1, 1)),
     TileEntry(1, 0, 0, (2**16,)), TileEntry(1, 0, 0, tuple(range(256))),
     TileEntry(1.5, 0, 0, (1,))],  # type: ignore[arg-type]
)  # fmt: skip
def test_what_does_not_fit_is_refused(entry: TileEntry) -> None:
    with pytest.raises(DekerValidationError, match="TileEntry"):
        entry.pack()


@pytest.mark.parametrize("length", [*range(len(PACKED)), len(PACKED) + 1, len(PACKED) + 2])
def test_a_damaged_length_is_noticed(length: int) -> None:
    data = (PACKED + b"\0\0")[:length]
    with pytest.raises(DekerMetaDataError, match=f"of {length} bytes is damaged"):
        TileEntry.unpack(data)


def test_an_entry_without_shards_is_damaged() -> None:
    with pytest.raises(DekerMetaDataError, match="damaged"):
        TileEntry.unpack(PACKED[:25] + b"\0")


def test_a_newer_format_is_refused_by_number() -> None:
    with pytest.raises(DekerMetaDataError, match="format 2, this version reads 1"):
        TileEntry.unpack(b"\x02" + PACKED[1:])
