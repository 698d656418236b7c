from __future__ import annotations

import pytest

from deker_cluster.errors import DekerValidationError
from deker_cluster.tilefile.layout import TileName, array_dir, parse_tile_path, tile_path

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize(
    ("ordinal", "version", "path"),
    [
        (0, 0, f"tiles/0f/{ID}/0/0-0.h5"),
        (4095, 7, f"tiles/0f/{ID}/0/4095-7.h5"),
        (4096, 7, f"tiles/0f/{ID}/1/4096-7.h5"),
        (123456789, 42, f"tiles/0f/{ID}/75bc/123456789-42.h5"),
        (1, 2**64 - 1, f"tiles/0f/{ID}/0/1-18446744073709551615.h5"),
    ],
)
def test_paths_never_change(ordinal, version, path):
    assert tile_path(ID, ordinal, version) == path
    assert parse_tile_path(path) == TileName(ID, ordinal, version)
    assert path.startswith(array_dir(ID) + "/")


@pytest.mark.parametrize(
    "bad", ["", "..", "../" + ID, ID.upper(), ID[:-1], ID + "\n", ID.replace("-", "/"), None, 7]
)
def test_ids_that_could_leave_the_shard_are_refused(bad):
    with pytest.raises(DekerValidationError, match="not an array id"):
        tile_path(bad, 0, 0)
    with pytest.raises(DekerValidationError):
        array_dir(bad)


@pytest.mark.parametrize(("ordinal", "version"), [(-1, 0), (0, -1), (2**64, 0), (0, 2**64)])
def test_numbers_out_of_range_are_refused(ordinal, version):
    with pytest.raises(DekerValidationError, match=r"0\.\.2\*\*64-1"):
        tile_path(ID, ordinal, version)


@pytest.mark.parametrize(
    "path",
    [
        "",
        f"tiles/0f/{ID}",
        f"tiles/00/{ID}/0/0-0.h5",  # not the id's first characters
        f"tiles/0f/{ID}/1/0-0.h5",  # not the ordinal's folder
        f"tiles/0f/{ID}/0/00-0.h5",
        f"tiles/0f/{ID}/0/0-0.h5.tmp",
        f"tiles/0f/{ID}/0/0--1.h5",
        f"tiles/0f/{ID}/0/0-18446744073709551616.h5",
        f"/tiles/0f/{ID}/0/0-0.h5",
        f"tiles/0f/{ID}/0/0-0.h5\n",
    ],
)
def test_other_paths_are_no_tiles(path):
    assert parse_tile_path(path) is None
