"""Arrays that tests open in xarray: a series of scenes with dimensions of each kind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from deker_cluster import (
    AttributeSchema,
    DimensionSchema,
    Scale,
    TimeDimensionSchema,
    VArray,
    VArraySchema,
)

if TYPE_CHECKING:
    from deker_cluster import Client

DAYS, BANDS, LATS, LONS = 6, 3, 8, 10
CELLS = np.random.default_rng(3).normal(size=(DAYS, BANDS, LATS, LONS)).astype("float32")


def scene_schema(*attributes: AttributeSchema, **changes: Any) -> VArraySchema:
    """Return the schema of :data:`CELLS`, with changes."""
    return VArraySchema(
        **{
            "dtype": "float32",
            "dimensions": [
                TimeDimensionSchema(
                    "day", DAYS, datetime(2024, 1, 1, tzinfo=UTC), timedelta(days=1)
                ),
                DimensionSchema("band", BANDS, labels=["red", "green", "blue"]),
                DimensionSchema("lat", LATS, scale=Scale(50.0, -0.25, "latitude")),
                DimensionSchema("n", LONS),
            ],
            "arrays_shape": (4, 1, 5, 5),
            "attributes": list(attributes),
            **changes,
        }
    )


def make_scene(client: Client) -> VArray:
    """Make a collection with one array, which holds :data:`CELLS`."""
    schema = scene_schema(
        AttributeSchema("product", str, primary=True),
        AttributeSchema("level", int, primary=True),
        AttributeSchema("crs", str, primary=False),
        AttributeSchema("seen", datetime, primary=False),
        AttributeSchema("note", str, primary=False),
    )
    array = client.create_collection("scenes", schema).create(
        {"product": "a/b,c", "level": 2},
        {"crs": "EPSG:4326", "seen": datetime(2024, 1, 1, tzinfo=UTC)},
    )
    array[:].update(CELLS)
    assert isinstance(array, VArray)
    return array


def make_kept(client: Client) -> None:
    """Make one array, and two that are variables of one data set."""
    make_scene(client)
    schema = scene_schema(AttributeSchema("variable", str, primary=True))
    weather = client.create_collection("weather", schema)
    for number, name in enumerate(["t", "p"]):
        weather.create({"variable": name})[:].update(CELLS + number)
