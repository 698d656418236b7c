from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deker_cluster.core.ids import new_id
from deker_cluster.errors import DekerValidationError
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.tilefile.layout import tile_path
from deker_workers.service import ShardService

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shard(tmp_path: Path) -> ShardService:
    return ShardService.open(tmp_path / "s0", new_id(), TileCache())


def test_files_go_by_the_names_that_they_are_listed_under(shard: ShardService) -> None:
    """A second name that a killed shard left behind goes without the file itself."""
    root = shard.directory.root
    kept = root / tile_path(new_id(), 5, 7)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"committed")
    second = kept.with_name(f".tmp-0123456789ab-{kept.name}")
    second.hardlink_to(kept)
    other = root / tile_path(new_id(), 0, 1)
    other.parent.mkdir(parents=True)
    other.write_bytes(b"left behind")

    listed = {file.path: file for file in shard.inventory(None, 100).files}
    assert {root / path for path in listed} == {kept, second, other}
    assert all(0 <= file.age_s < 60 for file in listed.values())
    left = [path for path in listed if root / path != kept]
    shard.remove(left)
    shard.remove(left)

    assert kept.read_bytes() == b"committed"
    assert not second.exists()
    assert not other.parent.exists(), "its folder is empty"


@pytest.mark.parametrize("name", ["shard.json", "../outside", "tiles/../../outside.h5", "", "/x"])
def test_nothing_else_is_deleted(shard: ShardService, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"not ours")
    with pytest.raises(DekerValidationError, match="no tile file"):
        shard.remove([name])
    assert outside.exists()
    assert (shard.directory.root / "shard.json").exists()
