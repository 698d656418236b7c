"""Scrub: what is spoiled on disks is found in time, mended from another copy, and told."""

from __future__ import annotations

import itertools
import json
import math
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from deker_cluster import DimensionSchema, Retention, VArraySchema
from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import (
    DekerClientError,
    DekerIntegrityError,
    RegistryUnavailableError,
)
from deker_coordinator import scrub_pass, scrub_walk, scrubbing
from deker_coordinator.cli import main
from deker_coordinator.repairs import Repairs
from deker_coordinator.scrub_all import scrub_all, stored_bytes
from deker_coordinator.scrub_pass import ScrubPass
from deker_coordinator.scrub_walk import Place
from deker_coordinator.scrubbing import NOTE, RATE, Scrub
from tests.kit.rot import add_shards, copies_of, flip_bit, tile_file, truncate

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from deker_cluster import Client, VArray

TILES = 12
SHARDS = 3
ROWS = 32


class Site:
    """A directory with three shards, and an array with two copies of each tile."""

    def __init__(self, client: Client, root: Path) -> None:
        self.client, self.root = client, root
        add_shards(client, SHARDS)
        self.session = client.session
        self.registry = client.session.registry
        self.array = self.make("grids")
        self.cells = np.random.default_rng(1).random((TILES * ROWS, ROWS))
        self.array[:].update(self.cells)

    def make(self, name: str, replication: int = 2, **options: Any) -> VArray:
        schema = VArraySchema(
            dtype="float64",
            dimensions=[DimensionSchema("y", TILES * ROWS), DimensionSchema("x", ROWS)],
            vgrid=(TILES, 1),
            fill_value=-1,
        )
        made: Any = self.client.create_collection(
            name, schema, replication=replication, **options
        ).create()
        return made  # type: ignore[no-any-return]

    def file(self, ordinal: int, copy: int = 0, array: Any = None) -> Path:
        array = array or self.array
        entry = copies_of(self.client, array)[ordinal]
        return tile_file(self.root, array, ordinal, entry.version, entry.shards[copy])

    def spoil(self, path: Path) -> None:
        self.session.tiles.close()
        flip_bit(path, path.stat().st_size - 9, 3)

    def damaged_tiles(self) -> set[int]:
        return {file.ordinal for file in self.registry.damage(1000)}

    def scrub(self) -> ScrubPass:
        whole = ScrubPass(self.registry, self.session.shards)
        while not whole.over:
            whole.advance(math.inf)
        return whole


@pytest.fixture
def site(client: Client, root: Path) -> Site:
    return Site(client, root)


def test_every_copy_is_read_and_all_is_well(site: Site) -> None:
    tally = site.scrub().tally
    assert (tally.files, tally.bad, tally.unseen) == (2 * TILES, 0, 0)
    assert tally.bytes == stored_bytes(site.registry)
    assert site.registry.damage(10) == []


def test_what_is_bad_is_reported_and_mended_from_the_other_copy(site: Site) -> None:
    whole = site.file(3).read_bytes()
    site.spoil(site.file(3))
    truncate(site.file(5, 1), random.Random(1))
    site.file(7).unlink()
    found: list[Any] = []
    scrub = ScrubPass(site.registry, site.session.shards, found=found.append)
    while not scrub.over:
        scrub.advance(1)
    assert scrub.tally.bad == len(found) == 3
    assert "tile 7" in "".join(rot.problem for rot in found if "missing" in rot.problem)
    assert site.damaged_tiles() == {3, 5, 7}
    assert np.array_equal(site.array[:].read(), site.cells)
    assert Repairs(site.registry, site.session.shards).step() == 3
    assert site.file(3).read_bytes() == whole
    assert site.registry.damage(10) == []
    assert site.scrub().tally.bad == 0


def test_without_a_sound_copy_reads_fail_and_the_report_stays(site: Site) -> None:
    for copy in (0, 1):
        site.spoil(site.file(4, copy))
    report = scrub_all(site.session)
    assert (report.bad, report.mended, len(report.unmended), report.ok) == (2, 0, 2, False)
    assert all("tile 4" in text for text in report.unmended)
    assert site.damaged_tiles() == {4}
    with pytest.raises(DekerIntegrityError):
        site.array[:].read()
    rest = np.delete(np.arange(TILES * ROWS), np.arange(4 * ROWS, 5 * ROWS))
    assert np.array_equal(site.array[rest.tolist()].read(), site.cells[rest])


def test_the_past_is_looked_at_too(site: Site) -> None:
    array = site.make("kept", retention=Retention(generations=3))
    array[:].update(1.0)
    old = site.file(2, array=array)
    array[:].update(2.0)
    pinned = site.make("pinned")
    pinned[:].update(1.0)
    under_a_pin = site.file(6, array=pinned)
    with pinned.snapshot() as moment:
        pinned[:].update(2.0)
        site.spoil(old)
        site.spoil(under_a_pin)
        report = scrub_all(site.session)
        assert (report.bad, report.mended, report.ok) == (2, 2, True)
        assert report.files == 2 * TILES * 5
        assert (moment[:].read() == 1).all()
    with array.at(1) as before:
        assert (before[:].read() == 1).all()


def test_what_was_let_go_meanwhile_is_no_damage(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at an entry and the look at its file, the tile is written and swept."""
    array = site.make("without a past", retention=Retention(generations=1))
    array[:].update(1.0)
    planned = ScrubPass._planned

    def overtaken(self: ScrubPass, files: Any) -> Any:
        calls = planned(self, files)
        path = site.file(0, array=array)
        array[:ROWS].update(7.0)
        path.unlink()
        return calls

    monkeypatch.setattr(ScrubPass, "_planned", overtaken)
    tally = site.scrub().tally
    assert tally.bad == 0
    assert tally.files == 2 * 2 * TILES
    assert site.registry.damage(10) == []


def test_shards_that_are_away_are_counted(site: Site) -> None:
    site.registry.update_shard(1, {"state": "down"})
    (site.root / "shards" / "s2").rename(site.root / "elsewhere")
    held = [
        number for entry in copies_of(site.client, site.array).values() for number in entry.shards
    ]
    report = scrub_all(site.session)
    assert report.files == held.count(0)
    assert report.unseen == held.count(1) + held.count(2)
    assert (report.bad, report.ok) == (0, False)
    (site.root / "elsewhere").rename(site.root / "shards" / "s2")
    site.registry.update_shard(1, {"state": "up"})
    assert scrub_all(site.session).ok


def test_a_damaged_entry_is_told(site: Site) -> None:
    prefix = f"deker:{{{site.registry.name}}}:"
    site.registry._link.command("HSET", f"{prefix}a:{site.array.id}:m", 5, b"\x01damaged")
    report = scrub_all(site.session)
    assert report.files == 2 * (TILES - 1)
    assert len(report.unmended) == 1
    assert "tile 5" in report.unmended[0]


class Clocks:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def paced(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Small batches, and one tile a call."""
    monkeypatch.setattr(scrub_walk, "_BATCH_TILES", 3)
    monkeypatch.setattr(scrub_pass, "_CALL_TILES", 1)
    monkeypatch.setattr(scrubbing, "_NOTE_EVERY_S", 0.0)
    monkeypatch.setattr(scrubbing, "_STEP_S", math.inf)
    return site


def of_tile(site: Site) -> int:
    (size,) = {entry.stored_bytes for entry in copies_of(site.client, site.array).values()}
    return size


def test_steps_keep_to_the_pace(paced: Site) -> None:
    clock = Clocks()
    one = of_tile(paced)
    paced.registry.update_settings(**{RATE: one * 2 / SHARDS})
    scrub = Scrub(paced.registry, paced.session.shards, clock=clock, wall_clock=clock)
    assert scrub.step() == 0, "no time has passed"
    seen = []
    for _ in range(8):
        clock.now += 1
        seen.append(scrub.step())
    assert sum(seen) <= 8 * 2 + 1
    assert sum(seen) >= 8 * 2 - 2
    clock.now += 1e6
    assert scrub.step() <= 2 * 5 + 2, "a long pause is not made up for"
    paced.registry.update_settings(**{RATE: 0})
    clock.now += 5
    assert scrub.step() == 0, "it is off"


def test_a_new_coordinator_goes_on_where_the_last_one_was(paced: Site) -> None:
    clock = Clocks()
    paced.registry.update_settings(**{RATE: of_tile(paced) * 4 / SHARDS})
    spoiled = {1, 6, TILES - 1}
    for ordinal in spoiled:
        paced.spoil(paced.file(ordinal))
    seen = steps = 0
    for steps in itertools.count(1):
        scrub = Scrub(paced.registry, paced.session.shards, clock=clock, wall_clock=clock)
        for _ in range(3):
            clock.now += 1
            seen += scrub.step()
        note = paced.registry.notes()[NOTE]
        if note["place"] is None:
            break
        assert steps < 20
        Place.from_dict(note["place"])
    assert steps > 1
    assert paced.damaged_tiles() == spoiled
    assert 2 * TILES <= seen <= 2 * TILES + 2 * 3 * steps, "what is begun anew is a batch"
    assert note["passes"] == 1
    assert note["bad"] >= len(spoiled)


def test_the_next_pass_waits_for_its_day(site: Site) -> None:
    clock = Clocks()
    site.registry.update_settings(**{RATE: 1e12})

    def steps() -> int:
        scrub = Scrub(site.registry, site.session.shards, clock=clock, wall_clock=clock)
        found = 0
        for _ in range(3):
            clock.now += 1
            found += scrub.step()
        return found

    assert steps() == 2 * TILES
    assert steps() == 0
    site.spoil(site.file(9))
    clock.now += 86_400
    assert steps() == 2 * TILES
    assert site.damaged_tiles() == {9}
    assert site.registry.notes()[NOTE]["passes"] == 2


def test_an_error_on_the_way_costs_no_more_than_a_batch(
    paced: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clocks()
    paced.registry.update_settings(**{RATE: 1e12})
    paced.spoil(paced.file(TILES - 1))
    scrub = Scrub(paced.registry, paced.session.shards, clock=clock, wall_clock=clock)
    current = type(paced.registry).current_tiles
    asked = itertools.count()

    def sometimes(*words: Any) -> Any:
        if next(asked) == 2:
            raise RegistryUnavailableError("away")
        return current(*words)

    monkeypatch.setattr(type(paced.registry), "current_tiles", sometimes)
    clock.now += 1
    with pytest.raises(RegistryUnavailableError):
        scrub.step()
    done = paced.registry.notes()[NOTE]["files"]
    assert done == 2 * 3 * 2
    clock.now += 1
    assert scrub.step() == 2 * TILES - done
    assert paced.damaged_tiles() == {TILES - 1}


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["scrub", *words])


def test_the_command_mends_and_tells(site: Site) -> None:
    uri = f"file://{site.root}"
    site.spoil(site.file(3))
    done = run(uri, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["ok"], told["bad"], told["mended"], told["unmended"]) == (True, 1, 1, [])
    assert told["files"] == 2 * TILES
    done = run(uri, "--rate", "1e9")
    assert done.exit_code == 0
    assert "0 bad" in done.stdout
    for copy in (0, 1):
        site.spoil(site.file(4, copy))
    done = run(uri)
    assert done.exit_code == 1
    assert "2 bad, 0 of these mended" in done.stdout
    assert "tile 4" in done.stdout


def test_the_command_refuses_nonsense(tmp_path: Path) -> None:
    assert run(f"file://{tmp_path / 'nothing'}").exit_code == 3
    assert not (tmp_path / "nothing").exists()
    assert run(f"file://{tmp_path}", "--rate", "0").exit_code == 2


def test_one_scrub_of_a_directory_at_a_time(site: Site) -> None:
    def again(n_bytes: int) -> None:
        with pytest.raises(DekerClientError, match="another process"):
            scrub_all(site.session)

    assert scrub_all(site.session, progress=again).ok
    assert scrub_all(site.session).ok


def test_an_entry_that_names_an_unknown_shard_is_unseen(site: Site) -> None:
    packed = site.registry.all_entries(site.array.id).values[2]
    entry = TileEntry.unpack(packed)
    other = TileEntry(entry.version, entry.digest, entry.stored_bytes, (entry.shards[0], 99))
    prefix = f"deker:{{{site.registry.name}}}:"
    site.registry._link.command("HSET", f"{prefix}a:{site.array.id}:m", 2, other.pack())
    report = scrub_all(site.session)
    assert (report.files, report.unseen) == (2 * TILES - 1, 1)
