"""A full read needs little more memory than its result, and a full write than its input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Script

MIB = 1 << 20
CELLS_BYTES = 320 * MIB
"""More than a write may take beside its input: one that holds all tiles at once is found out."""
READ_BYTES = 64 * MIB
WRITE_BYTES = 256 * MIB

CLEAR = Path("/proc/self/clear_refs")

pytestmark = pytest.mark.skipif(
    not CLEAR.exists(), reason="this system does not count the peak of a process's memory anew"
)

COMMON = """
import hdf5plugin
stored = args[0]
shape, tile, chunk = (160, 1024, 1024), (8, 512, 1024), (1, 256, 256)
# Random cells: what is stored is as large as what is given, in each codec.
block = np.random.default_rng(7).integers(0, 1 << 16, tile, np.uint16)
filters = {
    "raw": None,
    "lz4": hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE),
    "zstd": hdf5plugin.Zstd(clevel=1),
}

def cells(number):
    return block + np.uint16(number)

def memory(what):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(what))

def peak_of(work):
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")  # VmHWM is VmRSS from here on
    before = memory("VmRSS:")
    assert memory("VmHWM:") < before + (1 << 20)
    work()
    return memory("VmHWM:") - before
"""

WRITE = """
data = np.empty(shape, np.uint16)
for n in range(20):
    for half in range(2):
        data[8 * n : 8 * n + 8, 512 * half : 512 * half + 512] = cells(2 * n + half)
schema = VArraySchema(
    dtype="uint16",
    dimensions=[DimensionSchema(name, size) for name, size in zip("zyx", shape)],
    arrays_shape=tile,
)
options = HDF5Options()
if filters[stored] is not None:
    options = HDF5Options(chunk, HDF5CompressionOpts(**filters[stored]))
with Client(f"file://{root}", durability="os") as client:
    array = client.create_collection("cells", schema, options).create()
    array[:, :512, :512].clear()  # connections and threads are there
    say(peak_of(lambda: array[:].update(data)))
"""

READ = """
with Client(f"file://{root}") as client:
    [array] = client.get_collection("cells")
    array[:1, :1, :1].read()
    found = []
    say(peak_of(lambda: found.append(array[:].read())))
    for n in range(20):
        for half in range(2):
            read = found[0][8 * n : 8 * n + 8, 512 * half : 512 * half + 512]
            assert np.array_equal(read, cells(2 * n + half))
"""


@pytest.mark.parametrize("stored", ["raw", "lz4", "zstd"])
def test_peaks_of_a_full_write_and_read(
    start: Callable[..., Script], root: Path, stored: str
) -> None:
    [write] = map(int, start(COMMON + WRITE, root, stored).end())
    # In a process of its own: memory that the write has freed would be taken again unseen.
    [read] = map(int, start(COMMON + READ, root, stored).end())
    print(f"{stored}: {write / MIB:.0f} MiB beside the input, {read / MIB:.0f} MiB with the result")
    assert CELLS_BYTES < read <= CELLS_BYTES + READ_BYTES
    assert write <= WRITE_BYTES
