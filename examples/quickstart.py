"""First steps: a year of gridded weather, written, read by coordinates, and opened again."""

from datetime import datetime, timedelta

import numpy as np

from deker_cluster import (
    AttributeSchema,
    Client,
    DimensionSchema,
    Scale,
    TimeDimensionSchema,
    VArraySchema,
)

schema = VArraySchema(
    dtype="float32",
    dimensions=[
        TimeDimensionSchema("day", 366, datetime(2024, 1, 1), timedelta(days=1)),
        DimensionSchema("layer", 3, labels=["temperature", "humidity", "wind"]),
        DimensionSchema("lat", 18, scale=Scale(85.0, -10.0)),
        DimensionSchema("lon", 36, scale=Scale(-175.0, 10.0)),
    ],
    vgrid=(6, 3, 1, 2),  # 36 tiles of 61 days, one layer and half the globe
    attributes=[AttributeSchema("model", str, primary=True)],
)

with Client("deker://./quickstart-data") as client:
    weather = client.get_collection("weather") or client.create_collection("weather", schema)
    array = weather.filter({"model": "demo"}).first() or weather.create({"model": "demo"})

    temperature = np.random.default_rng(7).normal(15, 8, (366, 18, 36)).astype("float32")
    array[:, "temperature"].update(temperature)  # all of its 12 tiles become visible at once

    july = array["2024-07-01":"2024-08-01", "temperature", 45.0, 5.0]
    print("July:", july.shape, "cells from", july.describe()["day"][0].date())
    print(f"mean {july.read().mean():.2f}, maximum {july.read().max():.2f}")
    print(f"one cell: {array[datetime(2024, 2, 29), 'temperature', -15.0, 25.0].read():.2f}")
    print("never written:", array[0, "wind", 0, :3].read())

with Client("deker://./quickstart-data") as client:  # the same from any other process
    array = client.get_collection("weather").filter({"model": "demo"}).first()
    print("equal after reopening:", np.array_equal(array[:, "temperature"].read(), temperature))
