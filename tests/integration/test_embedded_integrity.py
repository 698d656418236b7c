"""The check of the storage where shards are actors: they look at their own files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.embedded import finish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Script

pytestmark = pytest.mark.timeout(300)


def test_actors_check_the_files_of_their_shards(root: Path, start: Callable[..., Script]) -> None:
    script = start(
        """
from pathlib import Path
from deker_cluster.integrity import check_integrity
from deker_cluster.locks import clear_locks
from deker_cluster.storage_size import storage_size
from deker_cluster.transport.actors import ActorShard
with Client(f"deker://{root}") as client:
    schema = VArraySchema(
        dtype="int64", dimensions=[DimensionSchema("x", 64)], vgrid=(16,), fill_value=-1
    )
    array = client.create_collection("lines", schema).create()
    array[:].update(np.arange(64))
    session = client.session
    (shard,) = session.shards.all()
    assert isinstance(shard.handle, ActorShard)

    def found(level):
        report = check_integrity(session, level=level, stop_on_error=False)
        return sorted((f.kind.name, -1 if f.tile is None else f.tile) for f in report.findings)

    assert found(4) == []
    files = sorted(Path(root).rglob("*.h5"), key=lambda path: int(path.name.split("-")[0]))
    assert len(files) == 16
    assert storage_size(session) == sum(path.stat().st_size for path in files)

    files[3].unlink()
    content = bytearray(files[4].read_bytes())
    content[content.index(np.int64(17).tobytes())] ^= 1
    files[4].write_bytes(content)
    files[5].with_name("5-1000.h5").write_bytes(files[5].read_bytes())
    files[5].with_name("notes.txt").touch()
    assert found(2) == []
    bad = [("MISSING", 3), ("ORPHAN", 5), ("STRANGE", -1)]
    assert found(3) == bad
    assert found(4) == [("DAMAGED", 4), *bad]
    try:
        check_integrity(session, level=4)
    except DekerIntegrityError as error:
        assert (error.array, error.shard) == (array.id, shard.name), error
        assert error.tile in (3, 4)
    else:
        raise AssertionError("nothing was raised")
    assert clear_locks(session) == 0
    say("checked")
""",
        root,
    )
    assert finish(script)[-1] == "checked"
