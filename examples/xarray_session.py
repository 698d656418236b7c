"""An xarray session: store a data set, open it lazily, select, compute with dask, go to pandas."""

import argparse

import numpy as np
import pandas as pd
import xarray as xr

import deker_cluster.xarray  # noqa: F401 - gives data sets their .deker
from deker_cluster.errors import DekerCollectionAlreadyExistsError

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("storage", nargs="?", default="file:./xarray-data", help="address")
storage = parser.parse_args().storage.rstrip("/")

# A year of two variables, as a model or another file might give them.
time = pd.date_range("2024-01-01", "2024-12-31", freq="D")
lat, lon = np.arange(70, 34.9, -0.5), np.arange(-10, 30.1, 0.5)
season = 10 * np.cos((time.day_of_year.to_numpy() - 200) / 366 * 2 * np.pi)
mild = 15 - 0.4 * (lat - 45)
noise = np.random.default_rng(7).normal(0, 1.5, (len(time), len(lat), len(lon)))
temperature = (season[:, None, None] + mild[:, None] + noise).astype("float32")
dataset = xr.Dataset(
    {
        "temperature": (("time", "lat", "lon"), temperature, {"units": "degrees Celsius"}),
        "frost": (("time", "lat", "lon"), np.minimum(temperature, 0), {"units": "degrees Celsius"}),
    },
    {"time": time, "lat": ("lat", lat, {"units": "degrees_north"}), "lon": lon},
    {"title": "a year of made-up weather"},
)

# One array for each variable; scale, time and attributes are taken over.
try:
    collection = dataset.deker.to_collection(storage, "europe", tile_shape={"time": 61})
except DekerCollectionAlreadyExistsError:
    print("the collection is there already")
else:
    print(f"stored {len(collection)} arrays in tiles of {collection.schema.grid.tile_shape} cells")

# Nothing is read but coordinates and attributes.
with xr.open_dataset(f"{storage}/europe", engine="deker", chunks={}) as europe:
    print(europe)

    july = europe.temperature.sel(time="2024-07", lat=48.0, lon=11.5)
    print(f"July at 48 N, 11.5 E: mean {july.mean().values:.1f}, maximum {july.max().values:.1f}")

    # One task per tile.
    monthly = europe.temperature.groupby("time.month").mean().mean(("lat", "lon")).compute()
    print("months:", " ".join(f"{value:.0f}" for value in monthly.values))

    # Points that belong together: each is read by itself, not the box around all.
    cities = pd.DataFrame(
        {"lat": [52.5, 48.9, 40.4], "lon": [13.4, 2.4, -3.7]}, index=["Berlin", "Paris", "Madrid"]
    ).rename_axis("city")
    at = europe.sel(cities.to_xarray(), method="nearest")
    cold = (at.temperature < 0).sum("time").astype(int)
    print(cold.rename("frosty days").to_dataframe())

    frame = europe.sel(time=slice("2024-02-01", "2024-02-03"), lat=50.0, lon=10.0).to_dataframe()
    print(frame[["temperature", "frost"]].round(2))

    same = np.array_equal(europe.temperature.values, temperature)
    print("equal to what was stored:", same)
