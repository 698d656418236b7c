"""Hostile input is refused: nothing outside is touched, memory is bounded, the service lives."""

from __future__ import annotations

import collections
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.chaos.rows import Row
from tests.kit import hostile_files, hostile_records, hostile_texts
from tests.kit.hostile_files import ARRAY, image
from tests.kit.processes import Child, Talk
from tests.kit.storages import storage
from tests.kit.watched import Watched, peak_bytes, with_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster import Client
    from tests.chaos.rows import RowResult, RunContext
    from tests.kit.hostile import Case

_MEMORY_BYTES = 3 << 30
"""Address space that a case may take on top; the libraries map some for each thread."""
_PEAK_BYTES = 1 << 30
"""Real memory, the bombs' own making included."""
_PATIENCE_S = 60.0


def guest(talk: Talk, folder: str, seed: int) -> None:
    """Try all inputs in this process, and say what came of each."""
    place, chance = Path(folder), random.Random(seed)
    outside = place / "outside"
    secret = outside / "secret"
    tile = outside / "tiles" / ARRAY[:2] / ARRAY / "0" / "0-1.h5"
    watched = Watched(outside, secret, tile, tile.parent)
    with storage(place / "d") as client:
        # Once before the limit: threads and libraries take what they need.
        _still_works(client)
        with with_memory(_MEMORY_BYTES):
            for kind, cases in _all(client, place, outside, secret, chance):
                for case in cases:
                    talk(("case", f"{kind}: {case.name}"))
                    problem = case.problem()
                    touched = watched.events()
                    if touched:
                        problem += f" touched: {touched[:3]}"
                    if problem:
                        talk(("bad", f"{kind}: {case.name}: {problem}"))
                talk(("kind", kind))
                _still_works(client)
    talk(("peak", peak_bytes()))
    watched.close()


def _all(
    client: Client, place: Path, outside: Path, secret: Path, chance: random.Random
) -> Iterator[tuple[str, Iterator[Case]]]:
    work = place / "work"
    yield "tile files", hostile_files.tile_files(work, chance)
    yield "bombs", hostile_files.bombs()
    yield "HDF5 files", hostile_files.hdf5_files(work, secret)
    yield "identities", hostile_records.identities(work)
    yield "journals", hostile_records.journals(work, chance)
    yield "names", hostile_texts.names(client)
    yield "values", hostile_texts.values(client)
    yield "addresses", hostile_texts.addresses()
    yield "requests", hostile_texts.requests(work)
    yield "links", hostile_texts.links(work, outside)
    yield "registry", hostile_texts.contents(client, chance)


def _still_works(client: Client) -> None:
    found = client.get_collection("well")
    collection = found or client.create_collection("well", hostile_texts.SCHEMA)
    array: Any = collection.filter({"key": "a"}).first() or collection.create({"key": "a"})
    value = int(array[:].read().max()) + 1
    array[:].update(value)
    np.testing.assert_array_equal(array[:].read(), np.full((4, 4), value))


def run(context: RunContext) -> RowResult:
    kinds: collections.Counter[str] = collections.Counter()
    rounds = context.count(3)
    peak = 0
    for number in range(rounds):
        folder = context.folder / str(number)
        outside = folder / "outside"
        tile = outside / "tiles" / ARRAY[:2] / ARRAY / "0" / "0-1.h5"
        tile.parent.mkdir(parents=True)
        tile.write_bytes(image(()))
        (outside / "secret").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
        (folder / "work").mkdir()
        with context.case(f"round {number}", folder):
            last = "the beginning"
            with Child(guest, str(folder), context.rng.randrange(1 << 32)) as kid:
                try:
                    while (message := kid.receive(_PATIENCE_S)) is not None:
                        word, what = message
                        if word == "case":
                            last = what
                            kinds[what.split(":")[0]] += 1
                        elif word == "kind":
                            context.check(kinds[what], f"no {what} were tried")
                        elif word == "bad":
                            context.check(False, f"round {number}, {what}")
                        elif word == "peak":
                            peak = max(peak, what)
                except (TimeoutError, AssertionError) as error:
                    context.check(False, f"round {number}, after {last}: {error}")
                else:
                    context.check(kid.end() == 0, f"round {number}, {last}: it was killed")
            well = tile.exists() and tile.read_bytes() == image(())
            context.check(well, f"round {number}: the file outside is gone, or another one")
        context.progress(f"round {number + 1}: {kinds.total()} inputs")
    context.check(peak < _PEAK_BYTES, f"{peak >> 20} MiB of memory were taken")
    return context.result(kinds.total(), peak_mib=peak >> 20, **kinds)


ROW = Row(
    number=14,
    promise="hostile input is refused",
    runs=">= 200 inputs, 3 rounds",
    run=run,
    sabotage="ids and links are not looked at before they become paths",
)
