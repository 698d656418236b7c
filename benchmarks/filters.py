"""Measure filters by attributes: ``python benchmarks/filters.py --arrays 1000000``.

Every answer is compared with one made in Python. The time at the server is what its own statistics
count for our functions, for all calls of one filter together; the other time is that of the whole
call in the client. Both are medians. A million arrays take some minutes and about 2 GB of memory.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from rich.console import Console
from rich.table import Table

from deker_cluster import ArraySchema, AttributeSchema, Client, DimensionSchema
from deker_cluster.attribute_index import index_keys
from deker_cluster.attribute_json import encode_meta
from deker_cluster.attributes import primary_key
from deker_cluster.registry.embedded import EmbeddedRegistry
from deker_cluster.registry.keys import cluster_key

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from deker_cluster import Collection

RESULTS = Path(__file__).parent / "results"
REPEATS = 20
BATCH = 2000
START = datetime(2020, 1, 1, tzinfo=UTC)
PRODUCTS = 20
SCHEMA = ArraySchema(
    dtype="uint16",
    dimensions=[DimensionSchema("y", 100), DimensionSchema("x", 100)],
    attributes=[
        AttributeSchema("product", str, primary=True),
        AttributeSchema("place", str, primary=True),
        AttributeSchema("dt", datetime, primary=True),
        AttributeSchema("cloud", float, primary=False),
    ],
)


class WrongResultError(Exception):
    """An answer was not what it should be."""


@attrs.frozen
class Catalogue:
    """What is stored: one row for each array, in the order of creation."""

    product: np.ndarray[Any, Any]
    place: np.ndarray[Any, Any]
    minute: np.ndarray[Any, Any]
    """Minutes from :data:`START`, shuffled: each array has its own."""
    cloud: np.ndarray[Any, Any]
    """NaN for those without a value."""

    @classmethod
    def make(cls, n: int) -> Catalogue:
        """Draw the values from a fixed seed."""
        rng = np.random.default_rng(3)
        cloud = np.where(rng.random(n) < 0.1, math.nan, rng.integers(0, 1000, n) / 1000)
        places = max(n // 100, 1)
        return cls(
            rng.integers(0, PRODUCTS, n), rng.integers(0, places, n), rng.permutation(n), cloud
        )

    def attributes(self, row: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the primary and the custom attributes of one array."""
        cloud = float(self.cloud[row])
        return {
            "product": f"B{self.product[row]:02}",
            "place": f"T{self.place[row]:06}",
            "dt": at(self.minute[row]),
        }, {"cloud": None if math.isnan(cloud) else cloud}


def at(minute: int) -> datetime:
    """Return the time of a minute."""
    return START + timedelta(minutes=int(minute))


@attrs.frozen
class Case:
    """One filter."""

    name: str
    ask: Callable[[], Any]
    """Gives a number, or a list of arrays."""
    matches: int
    answer: Any
    """A number, or the rows that must come, in this order."""
    any_order: bool = False
    """Without order_by, a set or several conditions come in the order that is quickest."""


def fill(client: Client, server: redis.Redis, rows: Catalogue) -> tuple[Collection, list[str]]:
    """Create the arrays through the server function, many requests at a time."""
    collection = client.create_collection("scenes", SCHEMA)
    key = cluster_key(client.session.registry.name)
    ids = [str(uuid.uuid4()) for _ in rows.product]
    for first in range(0, len(ids), BATCH):
        pipeline = server.pipeline(transaction=False)
        for row, array_id in islice(enumerate(ids), first, first + BATCH):
            primary, custom = rows.attributes(row)
            index = index_keys(SCHEMA.attributes, {**primary, **custom})
            words = [collection.id, array_id, 1, primary_key(SCHEMA.attributes, primary)]
            words += [encode_meta(primary, custom), len(index)]
            operation = uuid.uuid4().hex
            pipeline.execute_command(
                "FCALL", "deker1_create_array", 1, key, operation, *words, *index
            )
        if any(reply != [b"ok"] for reply in pipeline.execute()):
            raise WrongResultError("an array was not created")
    return collection, ids


def cases(collection: Collection, rows: Catalogue) -> list[Case]:
    """Return the filters with their right answers."""
    n = len(rows.product)
    place = int(rows.place[n // 2])
    width = max(n // 1000, 5)
    start = n // 3
    in_range = (rows.minute >= start) & (rows.minute < start + width)
    some_places = [int(each) for each in dict.fromkeys(rows.place[:10].tolist())]
    clear = rows.cloud < 0.01
    product = rows.product == 7
    chosen = {
        "place": rows.place == place,
        "range": in_range,
        "set": np.isin(rows.place, some_places),
        "clear": clear,
        "both": product & in_range,
        "product": product,
        "all": np.ones(n, bool),
    }
    found = {name: np.flatnonzero(mask) for name, mask in chosen.items()}
    by_time = {name: hit[np.argsort(rows.minute[hit])] for name, hit in found.items()}
    by_place = {
        name: hit[np.argsort(rows.place[hit], kind="stable")] for name, hit in found.items()
    }
    span = {"dt": slice(at(start), at(start + width))}
    one_place = collection.filter({"place": f"T{place:06}"})
    a_range = collection.filter(span)
    places = collection.filter({"place": [f"T{each:06}" for each in some_places]})
    below = collection.filter({"cloud": slice(None, 0.01)})
    one_product = collection.filter({"product": "B07"})
    both = a_range.filter({"product": "B07"})
    everything = collection.filter({}).order_by("dt")

    def case(
        name: str, which: str, ask: Callable[[], Any], answer: Any, *, any_order: bool = False
    ) -> Case:
        return Case(name, ask, len(found[which]), answer, any_order)

    return [
        case("one value, first", "place", lambda: [one_place.first()], found["place"][:1]),
        case("one value, all", "place", lambda: [*one_place], found["place"]),
        case("one value, count", "product", one_product.count, int(product.sum())),
        case(
            "one value, first of many",
            "product",
            lambda: [one_product.first()],
            found["product"][:1],
        ),
        case("range, count", "range", a_range.count, int(in_range.sum())),
        case("range, first", "range", lambda: [a_range.first()], by_time["range"][:1]),
        case("range, all", "range", lambda: [*a_range], by_time["range"]),
        case(
            "range by time, first 10",
            "range",
            lambda: [*islice(a_range.order_by("dt"), 10)],
            by_time["range"][:10],
        ),
        case(
            "range, last by time",
            "range",
            lambda: [a_range.order_by("dt").last()],
            by_time["range"][-1:],
        ),
        case("custom attribute, count", "clear", below.count, int(clear.sum())),
        case("set of 10, all", "set", lambda: [*places], found["set"], any_order=True),
        case(
            "range by another attribute, first 10",
            "range",
            lambda: [*islice(a_range.order_by("place"), 10)],
            by_place["range"][:10],
        ),
        case(
            "two conditions, by time, first",
            "both",
            lambda: [both.order_by("dt").first()],
            by_time["both"][:1],
        ),
        case("two conditions, count", "both", both.count, len(found["both"])),
        case("two conditions, all", "both", lambda: [*both], found["both"], any_order=True),
        case(
            "one value, by time, first",
            "product",
            lambda: [one_product.order_by("dt").first()],
            by_time["product"][:1],
        ),
        case("everything, newest", "all", lambda: [everything.last()], by_time["all"][-1:]),
    ]


def function_usage(server: redis.Redis) -> tuple[int, int]:
    """Return calls and microseconds of our reading functions so far."""
    used = server.info("commandstats").get("cmdstat_fcall_ro", {"calls": 0, "usec": 0})
    return used["calls"], used["usec"]


def measure(case: Case, server: redis.Redis, ids: list[str]) -> list[str]:
    """Run one filter and return a row of the table."""
    durations, usages = [], []
    case.ask()
    calls_before, _ = function_usage(server)
    for _ in range(REPEATS):
        _, before = function_usage(server)
        begin = time.perf_counter()
        result = case.ask()
        durations.append(time.perf_counter() - begin)
        usages.append(function_usage(server)[1] - before)
    calls = (function_usage(server)[0] - calls_before) / REPEATS
    if isinstance(result, list):
        answers = [array.id for array in result], [ids[row] for row in case.answer]
        if case.any_order:
            answers = sorted(answers[0]), sorted(answers[1])
        right = answers[0] == answers[1]
        shown = f"{len(result):,} arrays"
    else:
        right, shown = result == case.answer, f"{result:,}"
    if not right:
        raise WrongResultError(f"{case.name}: the answer is wrong")
    return [
        case.name,
        f"{case.matches:,}",
        shown,
        f"{calls:g}",
        f"{statistics.median(usages) / 1000:.3f}",
        f"{statistics.median(durations) * 1000:.2f}",
    ]


def registry_size(server: redis.Redis, collection: Collection, name: str) -> tuple[int, int]:
    """Return the server's bytes, and those of the indexes of attributes among them."""
    prefix = cluster_key(name).removesuffix("cluster")
    # Results of operations are kept for an hour, then the server drops them: not part of the data.
    batch = []
    for key in server.scan_iter(f"{prefix}op:*", count=BATCH):
        batch.append(key)
        if len(batch) == BATCH:
            server.unlink(*batch)
            batch.clear()
    if batch:
        server.unlink(*batch)
    own = f"{prefix}c:{collection.id}:x"
    keys = [own, *(f"{own}:{n}" for n in range(len(SCHEMA.attributes)))]
    indexes = sum(server.memory_usage(key, samples=1000) or 0 for key in keys)
    return int(server.info("memory")["used_memory"]), indexes


def main() -> None:
    """Fill a registry, run the filters, print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arrays", type=int, default=100_000)
    n = parser.parse_args().arrays
    console = Console(width=120)
    RESULTS.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=RESULTS, prefix="data-")))
        client = stack.enter_context(Client(f"file://{folder}"))
        server = stack.enter_context(contextlib.closing(EmbeddedRegistry(folder).observe()))
        before = int(server.info("memory")["used_memory"])
        rows = Catalogue.make(n)
        begin = time.perf_counter()
        collection, ids = fill(client, server, rows)
        took_s = time.perf_counter() - begin
        console.print(f"{n:,} arrays created in {took_s:.0f} s")
        used, indexes = registry_size(server, collection, client.session.registry.name)
        console.print(
            f"registry: {(used - before) / n:.0f} bytes per array, "
            f"{indexes / n:.0f} of them for the indexes of {len(SCHEMA.attributes)} attributes"
        )
        pings = []
        for _ in range(200):
            begin = time.perf_counter()
            server.ping()
            pings.append(time.perf_counter() - begin)
        console.print(f"PING: {statistics.median(pings) * 1000:.2f} ms")
        table = Table("filter", "matches", "answer", "calls", "server, ms", "client, ms")
        for case in cases(collection, rows):
            table.add_row(*measure(case, server, ids))
        console.print(table)


if __name__ == "__main__":
    main()
