"""Ten times as many tiles take ten times as much work, not more.

Counted are calls in Python, of ours and into libraries, and commands that the registry's server
ran, those within its functions too: unlike seconds they are the same on a busy machine.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Script

FEW, MANY = 1000, 10_000
GROWTH = 1.2

CODE = """
import itertools, json, threading
from pathlib import Path
from deker_cluster.registry.embedded import EmbeddedRegistry

calls = itertools.count()

def count(*_):
    next(calls)

def choose(*_):
    # Threads with a hyphen in their names do what is due by the clock.
    background = threading.current_thread().name.startswith("deker-")
    sys.setprofile(None if background else count)

def spent(work):
    before = sum(each["calls"] for each in server.info("commandstats").values()), next(calls)
    sys.setprofile(count)
    work()
    sys.setprofile(None)
    after = sum(each["calls"] for each in server.info("commandstats").values()), next(calls)
    return {"commands": after[0] - before[0], "calls": after[1] - before[1]}

threading.setprofile(choose)
with Client(f"file://{root}", durability="os") as client:
    server = EmbeddedRegistry(Path(root)).observe()
    def array_of(name, tiles):
        schema = VArraySchema(
            dtype="uint8", dimensions=[DimensionSchema("x", 4 * tiles)], arrays_shape=(4,)
        )
        return client.create_collection(name, schema).create()
    warm = array_of("warm", 100)
    warm[:].update(np.ones(400, np.uint8))
    warm[:].read()
    found = {}
    for tiles in map(int, args):
        array = array_of(f"of {tiles}", tiles)
        data = np.arange(4 * tiles).astype(np.uint8)
        results = []
        found[tiles] = {
            "write": spent(lambda: array[:].update(data)),
            "read": spent(lambda: results.append(array[:].read())),
            "points": spent(lambda: results.append(array[list(range(0, 4 * tiles, 4))].read())),
        }
        wanted = [data, data[::4]]
        assert all(np.array_equal(*pair) for pair in zip(results, wanted, strict=True))
    server.close()
    say(json.dumps(found))
"""


def test_work_for_each_tile_does_not_grow(start: Callable[..., Script], root: Path) -> None:
    [line] = start(CODE, root, FEW, MANY).end()
    found = json.loads(line)
    growth = {}
    for what, few in found[str(FEW)].items():
        many = found[str(MANY)][what]
        for unit in few:
            growth[what, unit] = many[unit] / MANY / (few[unit] / FEW)
            print(f"{what}: {few[unit] / FEW:.2f} {unit} a tile, growth {growth[what, unit]:.3f}")
    assert {each: factor for each, factor in growth.items() if factor > GROWTH} == {}
