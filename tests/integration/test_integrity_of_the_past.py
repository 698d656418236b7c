"""``check_integrity`` looks at what history and snapshots keep, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import Client, Retention, VArray
from deker_cluster.core.manifest import TileEntry
from deker_cluster.integrity.report import IntegrityReport, Kind
from deker_cluster.tilefile.layout import tile_path
from deker_coordinator.garbage import sweep

if TYPE_CHECKING:
    from pathlib import Path

    from deker_cluster import Snapshot


def kinds(report: IntegrityReport) -> list[Kind]:
    return [finding.kind for finding in report.findings]


def file_of(root: Path, snapshot: Snapshot, ordinal: int) -> Path:
    (packed,) = snapshot.pinned.entries(np.array([ordinal])).values
    assert packed is not None
    return root / "shards/s0" / tile_path(snapshot.id, ordinal, TileEntry.unpack(packed).version)


@pytest.mark.parametrize("pinned", [False, True], ids=["history", "pin"])
@pytest.mark.parametrize("cleared", [False, True], ids=["written", "cleared"])
def test_old_versions_are_looked_at(
    client: Client, grid: VArray, root: Path, pinned: bool, cleared: bool
) -> None:
    client.session.registry.update_settings(garbage_grace_s=0)
    grid[:].update(1)
    snapshot = grid.snapshot()
    missing, damaged = file_of(root, snapshot, 5), file_of(root, snapshot, 6)
    if pinned:
        grid.parent.set_retention(Retention(generations=1))
    else:
        snapshot.close()
    if cleared:
        grid[:].clear()
    else:
        grid[:].update(2)
    sweep(client.session.registry, client.session.shards)
    report = client.check_integrity(4, stop_on_error=False)
    assert report.ok
    assert report.checked["tiles"] == (8 if cleared else 16)

    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    missing.unlink()
    assert kinds(client.check_integrity(3, stop_on_error=False)) == [Kind.MISSING]
    report = client.check_integrity(4, stop_on_error=False)
    assert sorted(kinds(report), key=str) == [Kind.DAMAGED, Kind.MISSING]
    assert {finding.tile for finding in report.findings} == {5, 6}
    assert all("history or a pin keeps" in finding.text for finding in report.findings)

    snapshot.close()
    grid.parent.set_retention(Retention(generations=1))
    sweep(client.session.registry, client.session.shards)
    assert client.check_integrity(4, stop_on_error=False).ok
