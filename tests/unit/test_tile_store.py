from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster.core.ids import new_id
from deker_cluster.errors import DekerIntegrityError, DekerValidationError, StorageFullError
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.tilefile.index import TileIndex
from deker_cluster.tilefile.reader import StoredRanges, TileFile, read_region
from deker_cluster.tilefile.writer import encode_tile
from deker_cluster.transport.messages import FetchRequest, TileBlob, TileCheck, TileKey
from deker_workers import tile_store
from deker_workers.tile_store import TileStore

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    import numpy.typing as npt

ARRAY = "a1b2c3d4-0000-4000-8000-00000000000f"


def blob(key: TileKey, cells: npt.NDArray[Any]) -> TileBlob:
    image = encode_tile(
        cells, chunk_shape=(2, 3), filters=(), meta={}, fill_value=cells.dtype.type(0)
    )
    return TileBlob(key, tuple(image.segments), image.total_bytes)


def files(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def store(tmp_path: Path) -> TileStore:
    return TileStore(tmp_path, TileCache())


CELLS = np.arange(24, dtype="int32").reshape(4, 6)
WHOLE = (slice(0, 4, 1), slice(0, 6, 1))


def test_what_was_staged_is_fetched(store: TileStore) -> None:
    keys = [TileKey(ARRAY, ordinal, 7) for ordinal in (0, 5000)]
    store.stage([blob(key, CELLS * (i + 1)) for i, key in enumerate(keys)])
    part = (slice(1, 4, 2), slice(2, 6, 1))
    missing = TileKey(ARRAY, 1, 7)
    reply = store.fetch(
        [
            FetchRequest(keys[1], part),
            FetchRequest(missing, part),
            FetchRequest(keys[0], WHOLE),
        ]
    )
    first, second, third = reply
    assert second is None
    assert first is not None
    assert third is not None
    index = TileIndex.parse(first.index)
    out = np.empty((2, 4), "int32")
    read_region(index, StoredRanges(first.pieces), part, out, verify=True, executor=None)
    assert (out == CELLS[1:4:2, 2:6] * 2).all()
    whole = np.empty((4, 6), "int32")
    index = TileIndex.parse(third.index)
    read_region(index, StoredRanges(third.pieces), WHOLE, whole, verify=True, executor=None)
    assert (whole == CELLS).all()


def test_staging_again_is_no_error(store: TileStore, tmp_path: Path) -> None:
    key = TileKey(ARRAY, 0, 1)
    store.stage([blob(key, CELLS)])
    store.stage([blob(key, CELLS)])
    assert files(tmp_path) == {"0-1.h5"}


def test_a_version_is_never_another_file(store: TileStore, tmp_path: Path) -> None:
    first, taken = TileKey(ARRAY, 0, 1), TileKey(ARRAY, 1, 1)
    store.stage([blob(taken, CELLS)])
    old = store.path(taken).read_bytes()
    with pytest.raises(DekerIntegrityError, match="registry verify") as caught:
        store.stage([blob(first, CELLS), blob(taken, CELLS + 1)])
    assert (caught.value.array, caught.value.tile) == (ARRAY, 1)
    assert store.path(taken).read_bytes() == old
    assert not [name for name in files(tmp_path) if name.startswith(".tmp-")]


def test_a_file_where_a_folder_should_be(store: TileStore, tmp_path: Path) -> None:
    (tmp_path / "tiles").touch()
    with pytest.raises(OSError, match="tiles"):
        store.stage([blob(TileKey(ARRAY, 0, 1), CELLS)])


LINKED = ["tiles", "tiles/a1", f"tiles/a1/{ARRAY}", f"tiles/a1/{ARRAY}/0"]


@pytest.mark.parametrize("linked", LINKED)
def test_nothing_behind_a_link_is_touched(tmp_path: Path, linked: str) -> None:
    """A directory that somebody else made may hold links to anything."""
    key = TileKey(ARRAY, 3, 1)
    mine, outside = tmp_path / "mine", tmp_path / "outside"
    TileStore(mine, TileCache()).stage([blob(key, CELLS)])
    (mine / linked).rename(outside)
    (mine / linked).symlink_to(outside)
    before = {path: path.read_bytes() for path in outside.rglob("*.h5")}
    store = TileStore(mine, TileCache())
    check = TileCheck(key, TileIndex.parse(next(iter(before.values()))).digest, 0)
    for use in (
        lambda: store.fetch([FetchRequest(key, WHOLE)]),
        lambda: store.stage([blob(TileKey(ARRAY, 3, 2), CELLS)]),
        lambda: store.discard([key]),
    ):
        with pytest.raises(DekerIntegrityError, match="symbolic link"):
            use()
    if linked == LINKED[3]:
        store.discard_array(ARRAY, 9)
    else:
        with pytest.raises(DekerIntegrityError, match="symbolic link"):
            store.discard_array(ARRAY, 9)
    assert "symbolic link" in str(store.verify([check], deep=True)[0])
    assert {path: path.read_bytes() for path in outside.rglob("*.h5")} == before


def test_a_tile_that_is_a_link_is_not_read(store: TileStore, tmp_path: Path) -> None:
    key = TileKey(ARRAY, 3, 1)
    store.stage([blob(key, CELLS)])
    store.path(key).rename(tmp_path / "elsewhere")
    store.path(key).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DekerIntegrityError, match="symbolic link"):
        store.fetch([FetchRequest(key, WHOLE)])
    store.discard([key])
    assert files(tmp_path) == {"elsewhere"}


def test_a_discarded_version_leaves_no_folder(store: TileStore, tmp_path: Path) -> None:
    old, new = TileKey(ARRAY, 3, 1), TileKey(ARRAY, 3, 2)
    store.stage([blob(old, CELLS), blob(new, CELLS)])
    store.fetch([FetchRequest(old, WHOLE)])
    store.discard([old, TileKey(ARRAY, 4, 1)])
    assert files(tmp_path) == {"3-2.h5"}
    assert store.fetch([FetchRequest(old, WHOLE)]).tiles == (None,)
    store.discard([new])
    store.discard([new])
    assert not store.path(new).parent.exists()


def test_discarding_takes_what_a_killed_writer_left(store: TileStore, tmp_path: Path) -> None:
    key, other = TileKey(ARRAY, 3, 1), TileKey(ARRAY, 13, 1)
    folder = store.path(key).parent
    folder.mkdir(parents=True)
    for name in ("3-1", "13-1", "3-11"):
        (folder / f".tmp-0123456789ab-{name}.h5").touch()
    store.discard([key])
    assert files(tmp_path) == {".tmp-0123456789ab-13-1.h5", ".tmp-0123456789ab-3-11.h5"}
    store.discard([other, TileKey(ARRAY, 3, 11)])
    assert not folder.exists()


def test_an_array_goes_up_to_a_version(store: TileStore, tmp_path: Path) -> None:
    keys = [TileKey(ARRAY, ordinal, version) for ordinal in (0, 5000) for version in (1, 2, 3)]
    other = TileKey(new_id(), 0, 1)
    store.stage([blob(key, CELLS) for key in (*keys, other)])
    folder = store.path(keys[0]).parent
    (folder / ".tmp-0123456789ab-9-2.h5").touch()
    (folder / ".tmp-0123456789ab-9-3.h5").touch()
    (folder / "notes.h5").touch()
    store.discard_array(ARRAY, 2)
    assert {name.rpartition("-")[2] for name in files(folder.parent)} == {"3.h5", "notes.h5"}
    (folder / "notes.h5").unlink()
    store.discard_array(ARRAY, 3)
    assert not folder.parent.exists()
    assert store.path(other).exists()


def test_a_damaged_index_names_the_tile(store: TileStore) -> None:
    key = TileKey(ARRAY, 3, 1)
    store.stage([blob(key, CELLS)])
    store.path(key).write_bytes(b"\0" * 4096)
    with pytest.raises(DekerIntegrityError) as caught:
        store.fetch([FetchRequest(key, WHOLE)])
    assert (caught.value.array, caught.value.tile) == (ARRAY, 3)


def test_a_full_disk_leaves_none_of_a_batch(
    store: TileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files = tile_store.write_files

    def full(files: Any, **options: Any) -> None:
        write_files(files[:1], **options)
        raise StorageFullError("no room")

    blobs = [blob(TileKey(ARRAY, ordinal, 1), CELLS) for ordinal in range(2)]
    monkeypatch.setattr(tile_store, "write_files", full)
    with pytest.raises(StorageFullError):
        store.stage(blobs)
    store.discard([item.key for item in blobs])
    assert files(tmp_path) == set()


@pytest.mark.parametrize("bad", ["../../etc/passwd", "", "x" * 36, ARRAY.upper(), ARRAY + "/.."])
def test_ids_that_would_lead_out_of_the_shard(store: TileStore, tmp_path: Path, bad: str) -> None:
    for use in (
        lambda: store.stage([blob(TileKey(bad, 0, 1), CELLS)]),
        lambda: store.discard([TileKey(bad, 0, 1)]),
        lambda: store.discard_array(bad, 1),
        lambda: store.fetch([FetchRequest(TileKey(bad, 0, 1), WHOLE)]),
    ):
        with pytest.raises(DekerValidationError, match="array id"):
            use()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part_bytes", [7, 40, 4096])
@pytest.mark.parametrize("in_memory", [True, False], ids=["mapped", "read"])
@pytest.mark.parametrize("own_part_bytes", [0, 30, 4096])
def test_a_stream_gives_the_same_bytes_from_memory_and_from_disk(
    store: TileStore,
    monkeypatch: pytest.MonkeyPatch,
    part_bytes: int,
    own_part_bytes: int,
    in_memory: bool,
) -> None:
    monkeypatch.setattr(tile_store, "_OWN_PART_BYTES", own_part_bytes)
    looked: list[bool] = []
    look = TileFile.look

    def noted(file: TileFile, ranges: Any) -> Any:
        found = look(file, ranges) if in_memory else None
        looked.append(found is not None)
        return found

    monkeypatch.setattr(TileFile, "look", noted)
    keys = [TileKey(ARRAY, ordinal, 7) for ordinal in range(3)]
    store.stage([blob(key, CELLS * (i + 1)) for i, key in enumerate(keys)])
    part = (slice(0, 4, 3), slice(0, 6, 1))
    requests = [
        FetchRequest(keys[0], WHOLE),
        FetchRequest(TileKey(ARRAY, 9, 7), WHOLE),
        FetchRequest(keys[1], part),
        FetchRequest(keys[2], (slice(0, 0, 1), slice(0, 6, 1))),
    ]
    heads: list[Any] = []
    sent = b""
    for begun, piece in store.stream(requests, part_bytes, bytearray):
        assert len(memoryview(piece)) <= part_bytes
        heads += begun
        sent += bytes(piece)
    assert len(heads) == len(requests)
    assert heads[1] is None
    wanted = b""
    for request, head in zip(requests, heads, strict=True):
        if head is not None:
            content = store.path(request.key).read_bytes()
            wanted += b"".join(content[at : at + n] for at, n in head.ranges.tolist())
    assert sent == wanted
    assert sent
    if own_part_bytes == 0:
        assert looked
        assert set(looked) == {in_memory}
    if own_part_bytes == 4096:
        assert not looked, "short runs are read together"


def test_a_file_that_was_cut_is_an_error_of_the_stream(
    store: TileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tile_store, "_OWN_PART_BYTES", 0)
    key = TileKey(ARRAY, 0, 7)
    store.stage([blob(key, CELLS)])
    request = FetchRequest(key, WHOLE)
    assert list(store.stream([request], 4096, bytearray))
    path = store.path(key)
    os.truncate(path, path.stat().st_size - 20)
    with pytest.raises(DekerIntegrityError, match="ends at byte") as found:
        list(store.stream([request], 4096, bytearray))
    assert (found.value.array, found.value.tile) == (ARRAY, 0)
