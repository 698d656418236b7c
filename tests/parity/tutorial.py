"""A tour through the API, as a user of Deker writes it: only the import and the address change."""

from datetime import UTC, datetime, timedelta

import numpy as np
from deker import (
    ArraySchema,
    AttributeSchema,
    Client,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    Scale,
    TimeDimensionSchema,
    VArraySchema,
)

URI = "file:///tmp/deker-tutorial"

weather = VArraySchema(
    dtype=np.float32,
    dimensions=[
        TimeDimensionSchema("time", 24, "$start", timedelta(hours=1)),
        DimensionSchema("latitude", 18, scale=Scale(90.0, -10.0, "degrees")),
        DimensionSchema("longitude", 36, scale=Scale(-180.0, 10.0, "degrees")),
        DimensionSchema("layer", 3, labels=["temperature", "pressure", "humidity"]),
    ],
    vgrid=(2, 3, 6, 1),
    attributes=[
        AttributeSchema("model", str, primary=True),
        AttributeSchema("start", datetime, primary=True),
        AttributeSchema("quality", float, primary=False),
        AttributeSchema("author", str, primary=False),
    ],
)
masks = ArraySchema(
    dtype=np.uint8,
    dimensions=[DimensionSchema("y", 4), DimensionSchema("x", 6)],
    attributes=[AttributeSchema("name", str, primary=True)],
)
day = datetime(2023, 5, 1, tzinfo=UTC)

with Client(URI) as client:
    forecasts = client.create_collection(
        "forecasts", weather, HDF5Options((6, 6, 6, 3), HDF5CompressionOpts("gzip", 4))
    )
    for offset in range(2):
        forecast = forecasts.create(
            {"model": "gfs", "start": day + timedelta(days=offset)}, {"author": "we"}
        )
        numbers = np.arange(24 * 18 * 36 * 3, dtype=np.float32).reshape(forecast.shape)
        forecast[:].update(numbers + offset)
    land = client.create_collection("masks", masks).create({"name": "land"})
    land[1:3].update(np.ones((2, 6), dtype=np.uint8))
    print(sorted(collection.name for collection in client))

with Client(URI) as client:
    forecasts = client.get_collection("forecasts")
    print(forecasts.name, forecasts.varray_schema.shape, forecasts.options.chunks)
    found = forecasts.filter({"model": "gfs", "start": day + timedelta(days=1)}).first()
    print(found.named_shape, found.vgrid, found.arrays_shape)
    print(dict(found.primary_attributes), dict(found.custom_attributes))
    found.update_custom_attributes({"quality": 0.75})
    print(sorted(found.custom_attributes.items()))

    # By position, by time, by scale, by label.
    print(found[0, 0, 0, 0].read(), found[-1, -1, -1, -1].read())
    noon = found["2023-05-02T12:00:00", 50.0, -120.0, "temperature"]
    print(noon.shape, noon.bounds, noon.read(), dict(noon.describe()))
    morning = found[day + timedelta(days=1) : day + timedelta(days=1, hours=3), 50.0:20.0]
    print(morning.shape, np.dtype(morning.dtype), float(morning.read().mean()))
    print({name: (values[0], len(values)) for name, values in morning.describe().items()})
    layers = found[0, 0, 0, "pressure":]
    print(layers.shape, layers.read().tolist())

    # Write a part, look at it, clear it.
    box = found[6:8, 10.0:-20.0, -10.0:20.0, "humidity"]
    box.update(np.full(box.shape, -1, dtype=np.float32))
    print(box.read().min(), box.read().max(), int((found[:].read() == -1).sum()))
    box.clear()
    print(bool(np.isnan(box.read()).all()), int(np.isnan(found[:].read()).sum()))

    frame = found[0:2, 0:2, 0:3].read_xarray()
    print(frame.dims, frame.shape, float(frame.mean()))
    print(frame["layer"].values.tolist(), frame["latitude"].values.tolist())
    print(float(frame.sel(layer="pressure", latitude=80.0, longitude=-170.0).sum()))

    land = client.get_collection("masks").filter({"name": "land"}).first()
    print(land[:].read().tolist(), land[0, 0].read(), int(land.fill_value))
    for failing in (
        lambda: land[9, 9, 9],
        lambda: land[:].update(np.zeros((4, 6))),
        lambda: client.create_collection("masks", masks),
        lambda: client.get_collection("masks").create({"name": 5}),
    ):
        try:
            failing()
        except Exception as error:  # noqa: BLE001 - the script shows that there is one
            print(isinstance(error, Exception))
    land.delete()
    print([array.id for array in client.get_collection("masks")])
    forecasts.delete()
    print([collection.name for collection in client])
