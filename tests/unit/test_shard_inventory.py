"""What a shard tells of its directory, and what it finds in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from deker_cluster.core.ids import new_id
from deker_cluster.errors import DataDirectoryError, DekerIntegrityError, ShardUnavailableError
from deker_cluster.integrity.reach import ShardReach
from deker_cluster.integrity.report import Findings, Kind
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.tilefile.layout import tile_path
from deker_cluster.tilefile.writer import encode_tile
from deker_cluster.transport.messages import MISSING_FILE, TileBlob, TileCheck, TileKey
from deker_workers.service import ShardService

if TYPE_CHECKING:
    from pathlib import Path

FIRST = "11111111-0000-4000-8000-00000000000f"
SECOND = "1199b2c3-0000-4000-8000-00000000000f"
CELLS = np.arange(24, dtype="int32").reshape(4, 6)


@pytest.fixture
def service(tmp_path: Path) -> ShardService:
    return ShardService.open(tmp_path / "s0", new_id(), TileCache())


def stage(service: ShardService, key: TileKey) -> TileCheck:
    image = encode_tile(
        CELLS, chunk_shape=(2, 3), filters=(), meta={}, fill_value=CELLS.dtype.type(0)
    )
    service.stage([TileBlob(key, tuple(image.segments), image.total_bytes)], fsync=False)
    return TileCheck(key, image.digest, image.total_bytes, CELLS.dtype.str, CELLS.shape)


def listed(
    service: ShardService, limit: int, arrays: list[str] | None = None
) -> tuple[list[str], list[str], int]:
    files: list[str] = []
    strange: list[str] = []
    after: str | None = None
    parts = 0
    while True:
        part = service.inventory(after, limit, arrays)
        files += [file.path for file in part.files]
        strange += part.strange
        parts += 1
        after = part.after
        if after is None:
            return files, strange, parts


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_every_name_is_listed_once_in_parts_of_any_size(service: ShardService, limit: int) -> None:
    keys = [
        TileKey(array, ordinal, version)
        for array in (FIRST, SECOND, new_id())
        for ordinal in (0, 5, 4096, 16 * 4096, 2**40)
        for version in (3, 12)
    ]
    for key in keys:
        stage(service, key)
    root = service.directory.root
    strange = ["a.txt", "tiles/11/b.txt", f"tiles/11/{FIRST}/0/c.txt", f"tiles/11/{FIRST}/zz"]
    for path in strange:
        (root / path).touch()
    (root / "odd").mkdir()
    (root / "tiles" / "99" / "empty").mkdir(parents=True)

    files, others, parts = listed(service, limit)

    assert sorted(files) == sorted(tile_path(*attrs.astuple(key)) for key in keys)
    assert sorted(others) == sorted([*strange, "odd"])
    assert parts == 1 if limit == 1000 else parts > 5
    of_first = [path for path in files if FIRST in path]
    assert listed(service, limit, [FIRST, new_id(), "../.."])[0] == of_first
    both = [path for path in files if FIRST in path or SECOND in path]
    assert listed(service, limit, [SECOND, FIRST])[0] == both


def test_links_are_strange_and_lead_nowhere(service: ShardService, tmp_path: Path) -> None:
    stage(service, TileKey(FIRST, 7, 3))
    root = service.directory.root
    folder = root / f"tiles/11/{FIRST}"
    (tmp_path / "outside").mkdir()
    (folder / "0").rename(tmp_path / "outside" / "0")
    (folder / "0").symlink_to(tmp_path / "outside" / "0")
    (folder / "1").mkdir()
    (folder / "1" / "4097-3.h5").symlink_to(tmp_path / "outside" / "0" / "7-3.h5")
    expected = [f"tiles/11/{FIRST}/0", f"tiles/11/{FIRST}/1/4097-3.h5"]
    assert listed(service, 10)[:2] == ([], expected)
    folder.rename(tmp_path / "outside" / "array")
    folder.symlink_to(tmp_path / "outside" / "array")
    assert listed(service, 10)[:2] == ([], [f"tiles/11/{FIRST}"])
    assert listed(service, 10, [FIRST])[:2] == ([], [])


def test_files_that_are_being_written_are_told_apart(service: ShardService) -> None:
    key = TileKey(FIRST, 7, 3)
    stage(service, key)
    path = service.directory.root / tile_path(*attrs.astuple(key))
    path.rename(path.with_name(f".tmp-0f-{path.name}"))
    (file,) = service.inventory(None, 10).files
    assert (file.key, file.temporary) == (key, True)
    assert service.present([file.path, tile_path(*attrs.astuple(key))]) == [True, False]


def test_only_names_in_the_shard_are_told_of(service: ShardService) -> None:
    root = service.directory.root
    paths = ["shard.json", "../" + root.name, str(root), "tiles/../shard.json", "\0"]
    assert service.present(paths) == [True, False, False, False, False]


def test_an_empty_shard_has_nothing_strange(service: ShardService) -> None:
    claim = service.directory.lock()
    assert listed(service, 10) == ([], [], 1)
    assert claim >= 0


def test_a_shard_that_is_gone_is_not_an_empty_one(service: ShardService) -> None:
    check = stage(service, TileKey(FIRST, 7, 3))
    service.directory.root.rename(service.directory.root.with_name("elsewhere"))
    for call in (
        lambda: service.inventory(None, 10),
        lambda: service.present(["x"]),
        lambda: service.verify([check], deep=False),
    ):
        with pytest.raises(DataDirectoryError, match="s0"):
            call()


def test_each_file_is_judged_by_itself(service: ShardService) -> None:
    good = [stage(service, TileKey(FIRST, ordinal, 1)) for ordinal in range(6)]
    root = service.directory.root
    paths = [root / tile_path(*attrs.astuple(check.key)) for check in good]
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:50])
    content = bytearray(paths[2].read_bytes())
    content[-1] ^= 1
    paths[2].write_bytes(content)
    checks = [
        *good[:3],
        attrs.evolve(good[3], dtype="<f8"),
        attrs.evolve(good[4], shape=(6, 4)),
        attrs.evolve(good[5], dtype=None, shape=None),
        attrs.evolve(good[5], key=TileKey("../../etc", 0, 1)),
        attrs.evolve(good[5], digest=1),
        attrs.evolve(good[5], stored_bytes=1),
    ]

    shallow, deep = service.verify(checks, deep=False), service.verify(checks, deep=True)

    assert shallow[0] == MISSING_FILE
    assert shallow[1] is not None
    assert shallow[2] is None
    assert "chunk 3" in str(deep[2])
    for problem, word in zip(
        shallow[3:], ["int32", "shape", None, "etc", "committed", "1 were"], strict=True
    ):
        assert problem is None if word is None else word in str(problem)
    assert deep[3:] == shallow[3:]


class DeadShards:
    """A map with one shard that does not answer."""

    def __init__(self) -> None:
        self.calls = 0

    def refresh(self) -> None:
        pass

    def all(self) -> list[Any]:
        return []

    def get(self, number: int) -> Any:
        self.calls += 1
        raise ShardUnavailableError(f"shard {number} did not answer")


def test_a_shard_that_does_not_answer_is_one_finding_and_asked_once() -> None:
    shards = DeadShards()
    with Findings(stop_on_error=False) as findings:
        reach = ShardReach(shards, findings)  # type: ignore[arg-type]
        assert [reach.call(3, lambda _: 1) for _ in range(5)] == [None] * 5
        (finding,) = findings.report(3, None).findings
    assert shards.calls == 1
    assert (finding.kind, finding.shard) == (Kind.SHARD, "3")
    with Findings(stop_on_error=True) as findings, pytest.raises(DekerIntegrityError, match="3"):
        ShardReach(shards, findings).call(3, lambda _: 1)  # type: ignore[arg-type]
