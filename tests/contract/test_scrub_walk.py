"""A scrub meets every file that the registry names, in a fixed order, from wherever it goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from deker_cluster.core.manifest import TileEntry
from deker_cluster.registry.models import KeptChanges, Lease
from deker_coordinator import scrub_walk
from deker_coordinator.scrub_walk import NamedFile, Place, walk

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deker_cluster.registry import Registry

LARGE = 520
"""Tiles: so many that the server gives them in parts, in no order."""


def write(registry: Registry, array: str, ordinals: Iterable[int]) -> None:
    wanted = list(ordinals)
    lease = registry.acquire([(array, wanted)], "test", 60)
    assert isinstance(lease, Lease)
    new = TileEntry(lease.token, 5, 6, (0, 1)).pack()
    moves = [(at, base, new) for at, base in zip(wanted, lease.entries[0], strict=True)]
    registry.commit(lease.token, [(array, moves)])


@pytest.fixture
def filled(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Three collections: arrays without tiles, with few, with many, and with a past."""
    monkeypatch.setattr(scrub_walk, "_PAGE_TILES", 50)
    monkeypatch.setattr(scrub_walk, "_PAGE_ARRAYS", 2)
    monkeypatch.setattr(scrub_walk, "_BATCH_TILES", 13)
    for name in ("c3", "c1", "c2"):
        registry.create_collection(f"name of {name}", name, {}, KeptChanges(generations=5))
        for number in range(5):
            registry.create_array(name, f"{name}-{number}", None, json.dumps({}))
        write(registry, f"{name}-1", range(LARGE))
        write(registry, f"{name}-3", (5, 2, 2**40))
        write(registry, f"{name}-4", (0,))
    write(registry, "c1-1", range(10, 40))
    write(registry, "c1-3", (2,))
    write(registry, "c1-3", (2, 5))
    registry.pin("c2-4", "c2", "a-pin", 60)
    write(registry, "c2-4", (0,))
    registry.set_retention("c2", KeptChanges(generations=1))
    while registry.trim_histories(100):
        pass
    registry.delete_collection("c3")
    return registry


def all_named(registry: Registry, *collections: str) -> list[NamedFile]:
    """What is there, by other calls."""
    found = []
    for collection in collections:
        arrays, _ = registry.arrays(collection)
        for array in arrays:
            entries = registry.all_entries(array.id).values
            found += [NamedFile(array.id, *each) for each in sorted(entries.items())]
        for array in arrays:
            kept = registry.kept_versions([array.id])[array.id]
            found += [NamedFile(array.id, *each) for each in sorted(kept)]
    return found


def test_everything_is_met_in_a_fixed_order(filled: Registry) -> None:
    met = [file for batch in walk(filled, Place()) for file in batch.files]
    expected = all_named(filled, "c1", "c2")
    assert met == expected
    assert len(expected) == 2 * (LARGE + 4) + 30 + 3 + 1


def test_it_goes_on_from_every_place(filled: Registry) -> None:
    batches = list(walk(filled, Place()))
    files = [batch.files for batch in batches]
    for number, batch in enumerate(batches):
        place = Place.from_dict(json.loads(json.dumps(batch.then.as_dict())))
        assert place == batch.then
        rest = [each.files for each in walk(filled, place)]
        assert rest == files[number + 1 :]


def test_places_that_are_gone_lose_nothing(filled: Registry) -> None:
    whole = list(walk(filled, Place()))
    met: set[NamedFile] = set()
    for batch in whole[:20]:
        met.update(batch.files)
    place = whole[19].then
    assert place.array == "c1-1"
    filled.delete_array("c1-1")
    met.update(file for batch in walk(filled, place) for file in batch.files)
    assert met >= set(all_named(filled, "c1", "c2"))
    filled.delete_collection("c1")
    left = [file for batch in walk(filled, place) for file in batch.files]
    assert {file.array_id for file in left} == {"c2-1", "c2-3", "c2-4"}


@pytest.mark.parametrize("stored", [None, 5, [], {}, {"collection": 5, "after": "x"}])
def test_a_note_that_makes_no_sense_is_the_beginning(stored: object) -> None:
    assert Place.from_dict(stored) == Place()


def test_a_damaged_manifest_is_told_and_the_rest_is_met(filled: Registry) -> None:
    prefix = f"deker:{{{filled.name}}}:"
    filled._link.command("HSET", f"{prefix}a:c1-3:m", "no number", b"x")
    batches = list(walk(filled, Place()))
    (trouble,) = [batch.trouble for batch in batches if batch.trouble]
    assert "c1-3" in trouble
    met = {file for batch in batches for file in batch.files}
    past = {(file.array_id, file.packed) for file in met if file.array_id == "c1-3"}
    assert len(past) == 2, "what its history keeps"
    assert {file for file in met if file.array_id.startswith("c2")} == set(all_named(filled, "c2"))
