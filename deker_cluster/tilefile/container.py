"""The HDF5 metadata of a tile file: what h5py makes, with addresses filled in by us.

h5py makes an empty file once per kind of tile (a millisecond, under the lock of the HDF5 library);
every tile of that kind is then a copy of those bytes with a few fields filled in, in microseconds
and on any thread. The oldest HDF5 structures (superblock 0, version 1 object headers and B-trees)
carry no checksums, which makes that possible, and every HDF5 release can read them. Field layouts:
"HDF5 File Format Specification Version 3.0", The HDF Group.

Layout of the file: userblock, metadata, B-tree of chunks, data. Addresses in HDF5 count from the
end of the userblock, except the end-of-file address, which counts from the file's beginning.
"""

from __future__ import annotations

import io
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import attrs
import h5py
import numpy as np
from h5py import h5a, h5d, h5p, h5s, h5t, h5z

from deker_cluster.errors import DekerIntegrityError, DekerValidationError

if TYPE_CHECKING:
    import numpy.typing as npt

    from deker_cluster.tilefile.index import Filters

__all__ = [
    "MAX_META_BYTES",
    "Skeleton",
    "chunk_tree",
    "meta_room",
    "root_address",
    "skeleton",
    "tree_bytes",
]

MAX_META_BYTES: Final = 60_000
"""Longest text of the attribute ``meta``: an HDF5 object header message ends at 64 KiB."""

_UNDEFINED: Final = b"\xff" * 8
_META_MARK: Final = b"deker-cluster: text of the attributes goes here"
_META_STEP: Final = 256
_FILTER_STAND_IN: Final = 60_000
_NODE_ENTRIES: Final = 64
_EOF_FIELD: Final = 40


@attrs.frozen
class Skeleton:
    """The HDF5 metadata of an empty tile, and where its open fields are (in this buffer)."""

    metadata: bytes
    address_at: int
    """8 bytes: address of the B-tree or of the contiguous data."""
    meta_at: int
    meta_bytes: int

    def fill_in(self, *, address: int, file_bytes: int, meta: bytes) -> bytearray:
        """Return the metadata of one tile.

        Parameters
        ----------
        address
            Of the B-tree or the contiguous data, counted from the end of the userblock.
        file_bytes
            Length of the whole file.
        meta
            Text of the attribute, at most ``meta_bytes`` long; padded with blanks.
        """
        out = bytearray(self.metadata)
        out[self.meta_at : self.meta_at + self.meta_bytes] = meta.ljust(self.meta_bytes)
        struct.pack_into("<Q", out, _EOF_FIELD, file_bytes)
        struct.pack_into("<Q", out, self.address_at, address)
        return out


def meta_room(meta_bytes: int) -> int:
    """Round up the length of the attributes' text, so that few skeletons serve many tiles.

    Raises
    ------
    DekerValidationError
        The text is too long for an HDF5 attribute.
    """
    if meta_bytes > MAX_META_BYTES:
        raise DekerValidationError(
            f"The attributes of a tile take {meta_bytes} bytes as JSON; an HDF5 attribute holds "
            f"at most {MAX_META_BYTES}. Shorten the custom attributes."
        )
    return max(_META_STEP, -(-meta_bytes // _META_STEP) * _META_STEP)


@lru_cache(maxsize=256)
def skeleton(
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    chunk_shape: tuple[int, ...] | None,
    filters: Filters,
    fill: bytes,
    meta_bytes: int,
    userblock_bytes: int,
) -> Skeleton:
    """Make the metadata of a tile without data.

    Parameters
    ----------
    filters
        Written as they are: no filter gets to change its values again.
    meta_bytes
        Room for the text of the attribute, from :func:`meta_room`.
    """
    file = io.BytesIO()
    with h5py.File(file, "w", libver="earliest", userblock_size=userblock_bytes) as h5:
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_obj_track_times(False)
        plist.set_fill_value(np.frombuffer(fill, dtype).reshape(()))
        if chunk_shape is not None:
            plist.set_chunk(chunk_shape)
        # Filters change their values when a dataset is created. These stand in for them: HDF5
        # knows none of these numbers, so it keeps the values as they are.
        for place, (number, values) in enumerate(filters):
            # Nor does it know their names, so more values keep room for those.
            room = (0,) * (len(_filter_name(number)) // 4)
            plist.set_filter(_FILTER_STAND_IN + place, h5z.FLAG_OPTIONAL, (*values, *room))
        space = h5s.create_simple(shape)
        dataset = h5d.create(h5.id, b"data", h5t.py_create(dtype), space, dcpl=plist)
        text = h5t.C_S1.copy()
        text.set_size(meta_bytes)
        text.set_strpad(h5t.STR_NULLPAD)
        attribute = h5a.create(dataset, b"meta", text, h5s.create(h5s.SCALAR))
        attribute.write(np.array(_META_MARK.ljust(meta_bytes), f"S{meta_bytes}"))
    out = bytearray(file.getbuffer()[userblock_bytes:])
    for place, (number, values) in enumerate(filters):
        name = _filter_name(number)
        stand_in = (0, 1, len(values) + len(name) // 4, *values, *(0,) * (len(name) // 4))
        tail = struct.pack(f"<HHH{len(stand_in) - 3}I", *stand_in)
        at = _only(out, struct.pack("<H", _FILTER_STAND_IN + place) + tail)
        head = struct.pack("<HHHH", number, len(name), 1, len(values)) + name
        struct.pack_into(f"<{len(head)}s{len(values)}I", out, at, head, *values)
    if chunk_shape is None:
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        address_at = _only(out, b"\x03\x01" + _UNDEFINED + struct.pack("<Q", size)) + 2
    else:
        dims = (*chunk_shape, dtype.itemsize)
        layout = struct.pack("<BBB", 3, 2, len(dims)) + _UNDEFINED
        address_at = _only(out, layout + struct.pack(f"<{len(dims)}I", *dims)) + 3
    padded = bytes(out).ljust(-(-len(out) // 8) * 8, b"\0")
    return Skeleton(padded, address_at, _only(out, _META_MARK), meta_bytes)


def _filter_name(number: int) -> bytes:
    """Return a filter's name as an HDF5 file has it, a multiple of 8 bytes.

    Without it, HDF5 would run over the end of the message when it copies the data set.
    """
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_filter(number, h5z.FLAG_OPTIONAL, ())
    name: bytes = plist.get_filter(0)[3]
    return name.ljust(len(name) // 8 * 8 + 8, b"\0")


def _only(data: bytearray, pattern: bytes) -> int:
    at = data.find(pattern)
    if at < 0 or data.find(pattern, at + 1) >= 0:
        raise DekerIntegrityError("this release of HDF5 lays out its metadata in an unknown way")
    return at


def _levels(n_chunks: int) -> list[int]:
    """Return the number of B-tree nodes per level, leaves first."""
    levels = [-(-n_chunks // _NODE_ENTRIES)]
    while levels[-1] > 1:
        levels.append(-(-levels[-1] // _NODE_ENTRIES))
    return levels


def _node_bytes(rank: int) -> int:
    key_bytes = 8 + 8 * (rank + 1)
    return 24 + _NODE_ENTRIES * (key_bytes + 8) + key_bytes


def tree_bytes(n_chunks: int, rank: int) -> int:
    """Return the size of :func:`chunk_tree`'s result."""
    return sum(_levels(n_chunks)) * _node_bytes(rank)


def root_address(address: int, n_chunks: int, rank: int) -> int:
    """Return where the root of a tree that begins at ``address`` is: children come first."""
    return address + tree_bytes(n_chunks, rank) - _node_bytes(rank)


def chunk_tree(
    address: int,
    grid: tuple[int, ...],
    chunk_shape: tuple[int, ...],
    addresses: npt.NDArray[np.uint64],
    sizes: npt.NDArray[np.uint64],
    masks: npt.NDArray[np.uint32],
) -> bytes:
    """Return the version 1 B-tree that maps chunk positions to stored chunks.

    Parameters
    ----------
    address
        Where the tree will be.
    addresses, sizes, masks
        Per chunk, in C order of ``grid``; addresses count from the end of the userblock.
    """
    rank = len(grid)
    key = np.dtype([("size", "<u4"), ("mask", "<u4"), ("at", "<u8", (rank + 1,))])
    n_chunks = len(sizes)
    keys = np.zeros(n_chunks + 1, key)
    keys["size"][:-1] = sizes
    keys["mask"][:-1] = masks
    positions = np.indices(grid, np.uint64).reshape(rank, -1)
    keys["at"][:-1, :rank] = (positions * np.array(chunk_shape, np.uint64)[:, None]).T
    # The key that closes the last node must lie behind every chunk.
    keys["at"][-1, :rank] = [n * c for n, c in zip(grid, chunk_shape, strict=True)]
    children = addresses
    node_bytes = _node_bytes(rank)
    out = bytearray()
    for level, n_nodes in enumerate(_levels(n_chunks)):
        start = address + len(out)
        firsts = np.arange(n_nodes, dtype=np.uint64) * np.uint64(node_bytes) + np.uint64(start)
        for node in range(n_nodes):
            begin = node * _NODE_ENTRIES
            end = min(begin + _NODE_ENTRIES, len(children))
            entries = np.zeros(end - begin, [("key", key), ("child", "<u8")])
            entries["key"] = keys[begin:end]
            entries["child"] = children[begin:end]
            left = struct.pack("<Q", firsts[node - 1]) if node else _UNDEFINED
            right = struct.pack("<Q", firsts[node + 1]) if node + 1 < n_nodes else _UNDEFINED
            head = b"TREE" + struct.pack("<BBH", 1, level, end - begin) + left + right
            out += (head + entries.tobytes() + keys[end].tobytes()).ljust(node_bytes, b"\0")
        keys = np.concatenate([keys[:-1:_NODE_ENTRIES], keys[-1:]])
        children = firsts
    return bytes(out)
