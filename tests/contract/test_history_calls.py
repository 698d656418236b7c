from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest

from deker_cluster.errors import (
    DekerGenerationError,
    DekerInstanceNotExistsError,
    DekerValidationError,
)
from deker_cluster.registry import Lease, Registry, history_calls
from deker_cluster.registry.models import KeptChanges, PinnedManifest
from tests.contract.waiting import until

ARRAY = "array-1"


def commit(registry: Registry, **tiles: bytes | None) -> int:
    """Commit ``t<ordinal>=entry`` and return the generation."""
    ordinals = [int(name[1:]) for name in tiles]
    lease = registry.acquire([(ARRAY, ordinals)], "test", 60)
    assert isinstance(lease, Lease)
    changes = list(zip(ordinals, lease.entries[0], tiles.values(), strict=True))
    return registry.commit(lease.token, [(ARRAY, changes)])[ARRAY]


def look(registry: Registry, generation: int | None = None) -> PinnedManifest:
    """Look at a generation without leaving a pin."""
    found = registry.pin(ARRAY, "c1", "a-look", 60, generation=generation)
    registry.unpin("a-look")
    return found


def garbage(registry: Registry) -> set[bytes | None]:
    return {item.entry for item in registry.garbage(1000)}


def test_an_array_that_nobody_wrote_has_one_generation(kept: Registry) -> None:
    (only,) = kept.history(ARRAY)
    assert (only.number, only.time_s, only.tiles) == (0, None, None)
    assert look(kept, 0) == PinnedManifest(0, None, kept.shard_map().epoch, {})


def test_generations_are_listed_with_time_and_tiles(kept: Registry) -> None:
    before_s = time.time() - 1
    assert commit(kept, t0=b"a0", t1=b"b0", t7=b"c0") == 1
    assert commit(kept, t1=b"b1", t2=None) == 2
    found = kept.history(ARRAY, "c1")
    assert [each.number for each in found] == [2, 1, 0]
    assert [each.tiles for each in found] == [1, 3, None]
    times = [each.time_s for each in found[:2]]
    assert all(t is not None and before_s < t < time.time() + 1 for t in times)
    assert found[2].time_s is None


def test_every_kept_generation_can_be_read(kept: Registry) -> None:
    commit(kept, t0=b"a0", t1=b"b0")
    commit(kept, t1=b"b1", t2=b"c1")
    commit(kept, t0=None)
    assert look(kept).values == look(kept, 3).values == {1: b"b1", 2: b"c1"}
    assert look(kept, 2).values == {0: b"a0", 1: b"b1", 2: b"c1"}
    assert look(kept, 1).values == {0: b"a0", 1: b"b0"}
    assert look(kept, 1).generation == 1
    assert look(kept, 2).time_s == kept.history(ARRAY)[1].time_s


@pytest.mark.parametrize("generation", [0, 4, 10**6, -1])
def test_generations_that_are_not_kept(kept: Registry, generation: int) -> None:
    for number in range(3):
        commit(kept, t0=b"%d" % number)
    with pytest.raises(DekerGenerationError, match=f"generation {generation}.* 1 to 3 are kept"):
        look(kept, generation)
    assert kept.pins() == []


def test_what_leaves_the_history_is_garbage(kept: Registry) -> None:
    for number in range(3):
        commit(kept, t0=b"a%d" % number, t1=b"b%d" % number)
    assert garbage(kept) == set()
    commit(kept, t0=b"a3")
    assert garbage(kept) == {b"a0", b"b0"}
    assert [each.number for each in kept.history(ARRAY)] == [4, 3, 2]
    commit(kept, t5=b"e4")
    assert garbage(kept) == {b"a0", b"b0", b"a1", b"b1"}


def test_a_collection_keeps_one_generation_unless_it_says_more(
    registry: Registry, array: str
) -> None:
    assert array == ARRAY
    assert registry.retention("c1") == KeptChanges(1, None, 10_000)
    commit(registry, t0=b"a0")
    commit(registry, t0=b"a1")
    assert [each.number for each in registry.history(ARRAY)] == [2]
    assert garbage(registry) == {b"a0"}


def test_the_grace_counts_from_when_a_tile_was_replaced(kept: Registry) -> None:
    """A reader that has the entries of the present generation needs them for that long."""
    kept.set_retention("c1", KeptChanges(generations=2))
    kept.update_settings(garbage_grace_s=1)
    commit(kept, t0=b"a0")
    commit(kept, t0=b"a1")
    time.sleep(1.1)
    commit(kept, t0=b"a2")
    assert garbage(kept) == {b"a0"}, "it was replaced more than a second ago"
    commit(kept, t0=b"a3")
    assert garbage(kept) == {b"a0"}, "a1 was replaced just now"


def test_age_ends_generations_though_nobody_writes(kept: Registry) -> None:
    def trimmed_to(generations: int) -> bool:
        return len(kept.history(ARRAY)) <= generations

    kept.set_retention("c1", KeptChanges(generations=100, age_s=1))
    commit(kept, t0=b"a0")
    commit(kept, t0=b"a1")
    time.sleep(0.5)
    commit(kept, t0=b"a2")
    assert kept.trim_histories(10) == 0
    assert len(kept.history(ARRAY)) == 4
    # Generations end one by one, as each is due: a trim may find the first and not yet the second.
    until(lambda: kept.trim_histories(10) and trimmed_to(2))
    assert [each.number for each in kept.history(ARRAY)] == [3, 2]
    assert garbage(kept) == {b"a0"}
    until(lambda: kept.trim_histories(10) and trimmed_to(1))
    assert [each.number for each in kept.history(ARRAY)] == [3]
    assert garbage(kept) == {b"a0", b"a1"}
    assert kept.trim_histories(10) == 0
    commit(kept, t0=b"a3")
    until(lambda: kept.trim_histories(10))
    assert [each.number for each in kept.history(ARRAY)] == [4]


def test_another_retention_holds_for_the_next_commit(kept: Registry) -> None:
    for number in range(3):
        commit(kept, t0=b"a%d" % number)
    kept.set_retention("c1", KeptChanges(generations=2, age_s=90.0, changes=5))
    assert kept.retention("c1") == KeptChanges(2, 90.0, 5)
    commit(kept, t0=b"a3")
    assert [each.number for each in kept.history(ARRAY)] == [4, 3]
    assert garbage(kept) == {b"a0", b"a1"}
    kept.set_retention("c1", KeptChanges(generations=1))
    commit(kept, t1=b"b4")
    assert [each.number for each in kept.history(ARRAY)] == [5]
    assert garbage(kept) == {b"a0", b"a1", b"a2"}


def test_a_shorter_retention_holds_for_arrays_that_nobody_writes(
    kept: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_calls, "_PAGE", 2)
    for number in range(5):
        kept.create_array("c1", f"other-{number}", None, "{}")
    for number in range(3):
        commit(kept, t0=b"a%d" % number)
    kept.set_retention("c1", KeptChanges(generations=2))
    assert garbage(kept) == set()
    assert kept.trim_histories(10) == 1
    assert [each.number for each in kept.history(ARRAY)] == [3, 2]
    assert garbage(kept) == {b"a0"}
    assert kept.trim_histories(10) == 0
    kept.set_retention("c1", KeptChanges(generations=1, age_s=1000))
    kept.trim_histories(10)
    assert [each.number for each in kept.history(ARRAY)] == [3]
    assert garbage(kept) == {b"a0", b"a1"}
    assert kept.trim_histories(10) == 0


def test_a_longer_retention_brings_nothing_back(kept: Registry) -> None:
    for number in range(4):
        commit(kept, t0=b"a%d" % number)
    kept.set_retention("c1", KeptChanges(generations=50))
    commit(kept, t0=b"a4")
    assert [each.number for each in kept.history(ARRAY)] == [5, 4, 3, 2]
    with pytest.raises(DekerGenerationError):
        look(kept, 1)


def at(registry: Registry, moment_s: float) -> int:
    found = registry.pin(ARRAY, "c1", "a-look", 60, at_s=moment_s)
    registry.unpin("a-look")
    return found.generation


def test_the_generation_of_an_instant(kept: Registry) -> None:
    kept.set_retention("c1", KeptChanges(generations=10))
    for number in range(3):
        commit(kept, t0=b"a%d" % number)
        time.sleep(0.005)
    times = {each.number: each.time_s for each in kept.history(ARRAY) if each.time_s is not None}
    assert times.keys() == {1, 2, 3}
    for number, time_s in times.items():
        assert at(kept, time_s) == number, "the very millisecond of a commit"
        assert at(kept, time_s - 0.001) == number - 1
        assert at(kept, time_s + 0.0009) == number
    assert at(kept, time.time() + 3600) == 3, "a clock that is ahead asks for the present"
    assert at(kept, 0.0) == 0


@pytest.mark.parametrize("milliseconds", [1700000000123, 1, 4102444799999, 1763877317346])
def test_milliseconds_survive_being_seconds(kept: Registry, milliseconds: int) -> None:
    """A commit's time, divided and multiplied as floats, must not end a millisecond earlier."""
    commit(kept, t0=b"a0")
    kept._link.command("HSET", f"deker:{{{kept.name}}}:a:{ARRAY}", "time", str(milliseconds))
    assert at(kept, milliseconds / 1000) == 1
    assert at(kept, (milliseconds - 1) / 1000) == 0


def test_an_instant_of_which_nothing_is_kept(kept: Registry) -> None:
    for number in range(5):
        commit(kept, t0=b"a%d" % number)
        time.sleep(0.002)
    oldest = kept.history(ARRAY)[-1]
    assert oldest.time_s is not None
    with pytest.raises(DekerGenerationError, match="that time"):
        at(kept, oldest.time_s - 0.001)


def test_generations_grow_in_time_though_the_clock_is_set_back(kept: Registry) -> None:
    commit(kept, t0=b"a0")
    future_ms = round((time.time() + 1000) * 1000)
    kept._link.command("HSET", f"deker:{{{kept.name}}}:a:{ARRAY}", "time", str(future_ms))
    commit(kept, t0=b"a1")
    times = [each.time_s for each in kept.history(ARRAY) if each.time_s is not None]
    assert all(later >= earlier for later, earlier in pairwise(times))


def test_the_past_of_what_is_deleted(kept: Registry) -> None:
    commit(kept, t0=b"a0")
    commit(kept, t0=b"a1")
    kept.delete_array(ARRAY)
    for call in (
        lambda: kept.history(ARRAY),
        lambda: kept.pin(ARRAY, None, "p", 60),
        lambda: kept.pin(ARRAY, "c1", "p", 60, generation=1),
    ):
        with pytest.raises(DekerInstanceNotExistsError):
            call()
    kept.create_array("c1", ARRAY, None, json.dumps({}))
    assert [each.number for each in kept.history(ARRAY)] == [0], "another array of the same id"
    assert kept.kept_versions([ARRAY]) == {ARRAY: set()}
    kept.delete_collection("c1")
    for call in (
        lambda: kept.history(ARRAY),
        lambda: kept.retention("c1"),
        lambda: kept.set_retention("c1", KeptChanges()),
    ):
        with pytest.raises(DekerInstanceNotExistsError):
            call()


def test_an_array_of_another_collection(kept: Registry) -> None:
    with pytest.raises(DekerInstanceNotExistsError):
        kept.history(ARRAY, "c2")
    with pytest.raises(DekerInstanceNotExistsError):
        kept.pin(ARRAY, "c2", "p", 60)
    assert kept.pins() == []


def test_what_history_and_pins_keep(kept: Registry) -> None:
    commit(kept, t0=b"a0", t1=b"b0")
    commit(kept, t0=b"a1")
    assert kept.kept_versions([ARRAY, "other"]) == {ARRAY: {(0, b"a0")}, "other": set()}
    kept.pin(ARRAY, "c1", "p", 60, generation=1)
    for number in range(2, 6):
        commit(kept, t0=b"a%d" % number)
    assert kept.kept_versions([ARRAY]) == {ARRAY: {(0, b"a0"), (0, b"a3"), (0, b"a4")}}


@pytest.mark.parametrize("ttl_s", [0, -1])
def test_a_pin_must_last(kept: Registry, ttl_s: float) -> None:
    with pytest.raises(DekerValidationError):
        kept.pin(ARRAY, "c1", "p", ttl_s)
    assert kept.pins() == []
