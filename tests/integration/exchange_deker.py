"""Makes and reads storages with Deker itself; run by a Python that has Deker 1.1.7.

``make ROOT COUNT`` makes five collections of so many arrays; ``read ROOT OUT`` writes down all that
Deker reads; ``touch ROOT`` updates an array of each collection.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np


def shown(value):
    """Write an attribute's value down, exactly and with its type."""
    if isinstance(value, tuple):
        return ["tuple", [shown(item) for item in value]]
    if isinstance(value, datetime):
        return ["datetime", value.isoformat()]
    if isinstance(value, np.generic):
        return [value.dtype.name, str(value)]
    return [type(value).__name__, repr(value)]


def dump(client, out):
    """Write down everything that is in a storage, Deker's or ours."""
    out.mkdir()
    content = {}
    for collection in client:
        form = collection.as_dict
        arrays = {}
        for array in collection:
            data = np.ascontiguousarray(array[:].read())
            (out / array.id.lower()).write_bytes(data.tobytes())
            arrays[array.id.lower()] = {
                "shape": list(data.shape),
                "dtype": data.dtype.name,
                "primary": {k: shown(v) for k, v in array.primary_attributes.items()},
                "custom": {k: shown(v) for k, v in array.custom_attributes.items()},
                "coordinates": [
                    [shown(one) for one in axis] for axis in array[:].describe().values()
                ],
            }
        content[form["name"]] = {"type": form["type"], "arrays": arrays}
    (out / "content.json").write_text(json.dumps(content))


HOUR = timedelta(hours=1)
START = datetime(2023, 1, 1, tzinfo=UTC)
RANDOM = np.random.default_rng(0)


def make(root, count):
    import deker

    with deker.Client(f"file://{root}") as client:
        for collection in (weather, types, tiles, forecast, long):
            collection(deker, client, count)


def options(deker, chunks, *compression, **plugin):
    return deker.HDF5Options(chunks, deker.HDF5CompressionOpts(*compression, **plugin))


def weather(deker, client, count):
    """Plain arrays with an origin, a scale and labels; some custom attributes are updated."""
    schema = deker.ArraySchema(
        dtype=np.float32,
        dimensions=[
            deker.TimeDimensionSchema("dt", 4, "$origin", HOUR),
            deker.DimensionSchema("y", 6, scale=deker.Scale(90.0, -0.25, "lat")),
            deker.DimensionSchema("x", 5, labels=["a", "b", "c", "d", "e"]),
        ],
        attributes=[
            deker.AttributeSchema("station", str, True),
            deker.AttributeSchema("origin", datetime, True),
            deker.AttributeSchema("gain", np.float32, False),
            deker.AttributeSchema("seen", datetime, False),
        ],
    )
    made = client.create_collection("weather", schema, options(deker, (2, 3, 5), "gzip", 5))
    for i in range(count):
        array = made.create(
            {"station": f"st {i % 7} \N{SNOWMAN}", "origin": START + i * HOUR},
            {"gain": np.float32(0.1 * i)},
        )
        array[:].update(RANDOM.random((4, 6, 5), dtype=np.float32))
        if i % 2:
            array.update_custom_attributes({"seen": START + timedelta(microseconds=i)})


def types(deker, client, count):
    """Contiguous data, every kind of attribute in both of its text forms, cleared arrays."""
    schema = deker.ArraySchema(
        dtype=np.complex128,
        dimensions=[deker.DimensionSchema("n", 33)],
        fill_value=-1j,
        attributes=[
            deker.AttributeSchema("key", tuple, True),
            deker.AttributeSchema("number", int, True),
            deker.AttributeSchema("z", complex, True),
            deker.AttributeSchema("small", np.int8, False),
            deker.AttributeSchema("long", np.longdouble, False),
            deker.AttributeSchema("wave", np.complex64, False),
            deker.AttributeSchema("parts", tuple, False),
            deker.AttributeSchema("note", str, False),
        ],
    )
    made = client.create_collection("types", schema)
    for i in range(count):
        array = made.create(
            {"key": (i, ("a", 0.5), 2 + 3j, np.int16(4)), "number": -i, "z": complex(i, -1)},
            {
                "small": np.int8(i % 100),
                "wave": np.complex64(0.1 + 1j),
                "parts": (START, "2023-01-01", "(x)", 1j, (), np.float32(0.3)),
            },
        )
        array[i % 5 : 20].update(RANDOM.random(20 - i % 5) + 1j)
        if i % 3 == 1:
            array.update_custom_attributes(
                {
                    "long": np.longdouble(1) / 3,
                    "note": "x\n\N{SNOWMAN}",
                    "parts": (START, (np.int8(1),), 2j, "(1+2j)"),
                    "wave": np.complex64(0.7j),
                }
            )
        if i % 5 == 2:
            array[:].clear()


def tiles(deker, client, count):
    """Virtual arrays with a filter of hdf5plugin, written and cleared in parts."""
    import hdf5plugin

    schema = deker.VArraySchema(
        dtype=np.int16,
        dimensions=[deker.DimensionSchema("y", 8), deker.DimensionSchema("x", 12)],
        vgrid=(2, 3),
        attributes=[
            deker.AttributeSchema("id", str, True),
            deker.AttributeSchema("level", int, False),
        ],
    )
    blosc = options(deker, (2, 2), **hdf5plugin.Blosc(cname="zstd"))
    made = client.create_collection("tiles", schema, blosc)
    for i in range(count):
        array = made.create({"id": f"v{i}"}, {"level": i} if i % 2 else None)
        if i % 4:
            part = array[: 1 + i % 8, i % 3 : 12]
            part.update(RANDOM.integers(-9, 9, part.shape).astype(np.int16))
        if i % 4 == 2:
            array[:4, :4].clear()


def forecast(deker, client, count):
    """Virtual arrays without primary attributes, along a time of their own."""
    schema = deker.VArraySchema(
        dtype=np.float64,
        dimensions=[
            deker.TimeDimensionSchema("dt", 6, "$run", HOUR),
            deker.DimensionSchema("x", 40),
        ],
        arrays_shape=(3, 40),
        attributes=[deker.AttributeSchema("run", datetime, False)],
    )
    made = client.create_collection("forecast", schema, options(deker, True, "lzf", None))
    for i in range(count):
        array = made.create(None, {"run": START + i * HOUR})
        array[i % 6 :].update(RANDOM.random((6 - i % 6, 40)))


def long(deker, client, count):
    """Extended precision, no attributes at all, ids in capital letters."""
    schema = deker.ArraySchema(dtype=np.longdouble, dimensions=[deker.DimensionSchema("n", 7)])
    made = client.create_collection("long", schema)
    for i in range(count):
        array = made.create(id_=f"{i:08X}-A2D3-5678-9ABC-DEF012345678" if i % 2 else None)
        if i % 3:
            array[:5].update(RANDOM.random(5).astype(np.longdouble) / 3)


def read(root, out):
    from deker import Client

    with Client(f"file://{root}") as client:
        dump(client, Path(out))
        client.check_integrity(2)  # level 3 rejects Deker's own virtual arrays without attributes


def touch(root):
    """Use a storage as Deker does: write, find, update, delete."""
    from deker import Client

    with Client(f"file://{root}") as client:
        for collection in client:
            for array in list(collection)[:3]:
                values = np.ones(array.shape, array.dtype)
                array[:].update(values)
                assert (array[:].read() == values).all()
                primary = array.primary_attributes
                # Deker reads other tuples than it was given, and filters ids before attributes.
                if primary and not {"key", "id"} & set(primary):
                    assert collection.filter(dict(primary)).first().id == array.id
                set_ones = {k: v for k, v in array.custom_attributes.items() if v is not None}
                if set_ones:
                    array.update_custom_attributes(set_ones)
            array.delete()
            assert array.id not in {other.id for other in collection}


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "make":
        make(arguments[0], int(arguments[1]))
    elif command == "read":
        read(*arguments)
    else:
        touch(*arguments)
