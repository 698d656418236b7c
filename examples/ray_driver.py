"""A Ray driver: tasks write an array, work goes where its tiles lie, Ray Data makes another one.

Run it as it is, it starts a Ray of its own and keeps its data in ./ray-driver-data. On a cluster
give the address as an argument, such as deker://redis-host:6379/prod.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

import deker_cluster.ray as deker_ray
from deker_cluster import Client, DimensionSchema, Scale, TimeDimensionSchema, VArraySchema

if TYPE_CHECKING:
    import numpy.typing as npt

    from deker_cluster import VArray
    from deker_cluster.tilewise import TilePart

SCHEMA = VArraySchema(
    dtype="float32",
    dimensions=[
        TimeDimensionSchema("time", 24, datetime(2024, 7, 1), timedelta(hours=1)),
        DimensionSchema("lat", 256, scale=Scale(60.0, -0.05)),
        DimensionSchema("lon", 512, scale=Scale(0.0, 0.05)),
    ],
    arrays_shape=(6, 128, 128),  # 32 tiles
)


@ray.remote
def simulate(array: VArray, first: int) -> int:
    """Make the temperatures of six hours, and write them from here."""
    hour = np.arange(first, first + 6)[:, None, None]
    lat = np.linspace(0, 1, 256)[:, None]
    noise = np.random.default_rng(first).normal(0, 0.5, (6, 256, 512))
    warm = 12 + 10 * lat + 6 * np.sin((hour - 9) / 24 * 2 * np.pi)
    array[first : first + 6].update((warm + noise).astype("float32"))
    return first


@ray.remote
def hours_above(parts: list[TilePart], limit: float) -> int:
    """Count hot cells; runs on the node of these tiles, and reads their files there."""
    return sum(int((part.subset.read() > limit).sum()) for part in parts)


def hottest(values: npt.NDArray[Any], part: TilePart) -> tuple[float, str, float, float]:
    """Find the hottest cell of a tile: temperature, time and place."""
    time, lat, lon = np.unravel_index(values.argmax(), values.shape)
    described = part.subset.describe()
    when = described["time"][time].strftime("%H:%M")
    return float(values.max()), when, described["lat"][lat], described["lon"][lon]


def to_kelvin(batch: dict[str, Any]) -> dict[str, Any]:
    """Change a batch of rows; `offset` says where each belongs, and stays."""
    return {"data": batch["data"] + np.float32(273.15), "offset": batch["offset"]}


def fresh(client: Client, name: str) -> VArray:
    """Make an empty array."""
    old = client.get_collection(name)
    if old is not None:
        old.delete()
    return client.create_collection(name, SCHEMA).create()


def main(address: str = "deker://./ray-driver-data") -> None:
    """Write, compute, convert; print what comes of it."""
    with Client(address) as client:
        celsius, kelvin = fresh(client, "celsius"), fresh(client, "kelvin")

        # Tasks on any node write; handles of arrays are arguments like others.
        ray.get([simulate.remote(celsius, first) for first in range(0, 24, 6)])
        print(f"written by 4 tasks: {celsius.generation} commits")

        # A snapshot is what all that follows looks at, whoever writes meanwhile.
        with celsius.snapshot() as day:
            print(f"mean {day.reduce('mean'):.2f}, deviation {day.reduce('std'):.2f}")
            by_hour = day.reduce("mean", ("lat", "lon"))
            print(f"warmest hour {by_hour.argmax()}:00, {by_hour.max():.2f} in the mean")

            temperature, when, lat, lon = max(day.map_tiles(hottest))
            print(f"hottest cell {temperature:.2f} at {when}, lat {lat:.2f}, lon {lon:.2f}")

            # Own tasks, one for each node that holds tiles.
            tasks = [
                hours_above.options(**group.options).remote(group.parts, 25.0)
                for group in deker_ray.by_node(day)
            ]
            print(f"cells above 25 degrees: {sum(ray.get(tasks))}")

            # Ray Data: read in windows, change, write back; visible at once, at the end.
            dataset = deker_ray.read(day, window={"time": 6, "lat": 128, "lon": 128})
            deker_ray.write(dataset.map_batches(to_kelvin, batch_size=4), kelvin)
            same = np.allclose(kelvin[:].read(), day[:].read() + 273.15)
            print(f"in kelvin: mean {kelvin.reduce('mean'):.2f}, all cells right: {same}")


if __name__ == "__main__":
    main(*sys.argv[1:])
