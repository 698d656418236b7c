"""A data set of xarray as users have it, which tests store as a collection and open again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

if TYPE_CHECKING:
    from deker_cluster import Client

SHAPE = (20, 12, 16)
CELLS = np.random.default_rng(5).normal(size=SHAPE).astype("float32")
DIMS = ("time", "lat", "lon")


def weather() -> xr.Dataset:
    """Return two variables with coordinates and attributes of several kinds."""
    return xr.Dataset(
        {
            "t": (DIMS, CELLS, {"units": "K", "valid_range": (150.0, 350.0), "good": 1}),
            "p": (DIMS, CELLS * 2, {"units": "Pa", "good": 0.5}),
        },
        coords={
            "time": pd.date_range("2024-01-01", periods=20, freq="6h", unit="us"),
            "lat": (
                "lat",
                60 - np.arange(12) * 0.25,
                {"units": "degrees_north", "long_name": "north"},
            ),
            "lon": ("lon", np.arange(16, dtype="int32"), {"units": "degrees_east"}),
            "height": ((), 2.0, {"units": "m"}),
            "run": np.datetime64("2024-01-01T06", "ns"),
            "spatial_ref": ((), 0, {"crs_wkt": "GEOGCS[]"}),
        },
        attrs={"title": "a test", "version": 3},
    )


def opened(client: Client, name: str, **options: Any) -> xr.Dataset:
    """Open a collection of a storage in a directory."""
    return xr.open_dataset(f"file://{client.root_path}/{name}", engine="deker", **options)
