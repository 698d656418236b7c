"""Random schemas, as text and as what the other generators need to know about them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from tests.parity.draw_values import draw_value

if TYPE_CHECKING:
    from random import Random

__all__ = ["Attribute", "Axis", "Schema", "draw_schema"]

_MAX_CELLS = 1500

DTYPES = (
    *("int", "float", "float", "complex"),
    *(f"np.{name}" for name in ("int8", "int16", "int32", "int64", "longlong")),
    *(f"np.{name}" for name in ("uint8", "uint16", "uint32", "uint64", "ulonglong")),
    *(f"np.{name}" for name in ("float16", "float32", "float32", "float64", "longdouble")),
    *(f"np.{name}" for name in ("complex64", "complex128", "clongdouble")),
)
_ATTRIBUTE_TYPES = (
    *("int", "float", "complex", "str", "str", "tuple", "datetime", "datetime"),
    *("np.int8", "np.int32", "np.uint16", "np.float32", "np.float64", "np.complex64"),
)
_STEPS = (
    *("timedelta(days=1)", "timedelta(hours=6)", "timedelta(minutes=-30)"),
    *("timedelta(seconds=1)", "timedelta(days=-2, hours=3)", "timedelta(hours=1)"),
)


@attrs.frozen
class Axis:
    """A dimension: ``kind`` is "plain", "labels", "scale" or "time"."""

    name: str
    size: int
    kind: str
    text: str
    labels: tuple[str | float, ...] = ()
    start: float = 0.0
    step: float = 1.0
    origin: datetime | None = None
    """First instant; for ``$attribute`` the one that every array of the program is given."""
    attribute: str | None = None
    """The attribute that holds the first instant."""
    delta: timedelta = timedelta()

    @property
    def exact(self) -> bool:
        """Whether Deker finds the coordinates of a scale that it describes."""
        return self.step * 8 == int(self.step * 8) and self.start * 8 == int(self.start * 8)


@attrs.frozen
class Attribute:
    """An attribute of the schema."""

    name: str
    type: str
    primary: bool


@attrs.frozen
class Schema:
    """A schema and the options of its collection."""

    text: str
    dtype: str
    axes: tuple[Axis, ...]
    attributes: tuple[Attribute, ...]
    virtual: bool
    options: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells per dimension."""
        return tuple(axis.size for axis in self.axes)

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """Type of the cells."""
        return np.dtype(eval(self.dtype, {"np": np}))  # noqa: S307 - one of DTYPES

    @property
    def primary(self) -> tuple[Attribute, ...]:
        """The primary attributes."""
        return tuple(item for item in self.attributes if item.primary)

    @property
    def custom(self) -> tuple[Attribute, ...]:
        """The custom attributes."""
        return tuple(item for item in self.attributes if not item.primary)

    @property
    def origins(self) -> frozenset[str]:
        """Attributes at which time dimensions start."""
        return frozenset(axis.attribute for axis in self.axes if axis.attribute)


def draw_schema(random: Random) -> Schema:
    """Draw a schema that both sides accept."""
    virtual = random.random() < 0.55
    axes: list[Axis] = []
    cells = 1
    for number in range(random.choice((1, 2, 2, 2, 3, 3, 4))):
        size = random.choice((1, 2, 3, 4, 4, 5, 6, 8, 9, 12))
        if cells * size <= _MAX_CELLS:
            axes.append(_axis(random, f"d{number}", size))
            cells *= size
    attributes = _attributes(random, axes)
    dtype = random.choice(DTYPES)
    fields = [
        f"dtype={dtype}",
        f"dimensions=[{', '.join(axis.text for axis in axes)}]",
    ]
    tile = tuple(axis.size for axis in axes)
    if virtual:
        tile = tuple(
            random.choice([n for n in range(1, axis.size + 1) if axis.size % n == 0])
            for axis in axes
        )
        vgrid = tuple(axis.size // cut for axis, cut in zip(axes, tile, strict=True))
        fields.append(f"vgrid={vgrid}" if random.random() < 0.6 else f"arrays_shape={list(tile)}")
    if random.random() < 0.3:
        fields.append(f"fill_value={random.choice(('0', '7', '101'))}")
    if attributes:
        texts = (f"deker.AttributeSchema({a.name!r}, {a.type}, {a.primary})" for a in attributes)
        fields.append(f"attributes=[{', '.join(texts)}]")
    return Schema(
        text=f"deker.{'V' if virtual else ''}ArraySchema({', '.join(fields)})",
        dtype=dtype,
        axes=tuple(axes),
        attributes=attributes,
        virtual=virtual,
        options=_options(random, tile, dtype),
    )


def _axis(random: Random, name: str, size: int) -> Axis:
    kind = random.choice(("plain", "labels", "scale", "time", "time"))
    if kind == "plain":
        return Axis(name, size, kind, f"deker.DimensionSchema({name!r}, {size})")
    if kind == "labels":
        labels: tuple[str | float, ...] = tuple(f"{name}-{i}" for i in range(size))
        if random.random() < 0.15:
            labels = tuple(i + 0.5 for i in range(size))
        text = f"deker.DimensionSchema({name!r}, {size}, labels={list(labels)})"
        return Axis(name, size, kind, text, labels=labels)
    if kind == "scale":
        start = random.choice((0.0, 10.0, -180.0, 0.5, 0.125))
        step = random.choice((0.5, 0.25, 1.0, -2.0, 0.1, -0.3))
        extra = random.choice(("", "", ", 'unit'"))
        text = f"deker.DimensionSchema({name!r}, {size}, scale=deker.Scale({start}, {step}{extra}))"
        if random.random() < 0.3:
            text = text.replace("deker.Scale(", "dict(start_value=").replace(
                f", {step}", f", step={step}"
            )
            text = text.replace(", 'unit'", ", name='unit'")
        return Axis(name, size, kind, text, start=start, step=step)
    return _time_axis(random, name, size)


def _time_axis(random: Random, name: str, size: int) -> Axis:
    step = random.choice(_STEPS)
    origin = datetime(2023, random.randint(1, 12), random.randint(1, 28), tzinfo=UTC)
    origin += timedelta(hours=random.choice((0, 0, 5)))
    attribute = None
    start = random.choice((repr(origin.isoformat()), _text(origin), _text(origin, aware=False)))
    if random.random() < 0.4:
        attribute = f"origin_{name}"
        start = repr(f"${attribute}")
    return Axis(
        name,
        size,
        "time",
        f"deker.TimeDimensionSchema({name!r}, {size}, {start}, {step})",
        origin=origin,
        attribute=attribute,
        delta=eval(step, {"timedelta": timedelta}),  # noqa: S307 - one of _STEPS
    )


def _text(instant: datetime, *, aware: bool = True) -> str:
    parts = (instant.year, instant.month, instant.day, instant.hour, instant.minute)
    zone = ", tzinfo=timezone.utc" if aware else ""
    return f"datetime({', '.join(map(str, parts))}{zone})"


def _attributes(random: Random, axes: list[Axis]) -> tuple[Attribute, ...]:
    attributes = [
        Attribute(axis.attribute, "datetime", random.random() < 0.4)
        for axis in axes
        if axis.attribute
    ]
    attributes += [
        Attribute(f"p{number}", random.choice(_ATTRIBUTE_TYPES), True)
        for number in range(random.choice((0, 1, 1, 2)))
    ]
    attributes += [
        Attribute(f"c{number}", random.choice(_ATTRIBUTE_TYPES), False)
        for number in range(random.choice((0, 1, 2, 3)))
    ]
    random.shuffle(attributes)
    return tuple(attributes)


def _options(random: Random, tile: tuple[int, ...], dtype: str) -> str:
    chunks = random.choice(("None", "None", "True", "manual"))
    if chunks == "manual":
        chunks = str(tuple(random.randint(1, size) for size in tile))
    compression = random.choice(
        (
            *("None", "None", "'gzip', 4", "'gzip', 9", "'lzf', None", "32015, (3,)"),
            *("32001, (0, 0, 0, 0, 5, 1, 1)", "32004, (0,)", "32008, (0, 2)"),
        )
    )
    if "long" in dtype and compression.startswith("32"):
        compression = "'gzip', 1"  # Not every plugin takes the long types.
    if compression != "None":
        compression = f"deker.HDF5CompressionOpts({compression})"
    if chunks == compression == "None":
        return random.choice(("None", "deker.HDF5Options()"))
    return f"deker.HDF5Options({chunks}, {compression})"


def origin_value(axis: Axis) -> str:
    """Return the text of the first instant, as the value of the attribute that holds it."""
    assert axis.origin is not None
    return _text(axis.origin)


def attribute_value(random: Random, schema: Schema, attribute: Attribute, number: int) -> str:
    """Return the text of a value for an attribute; origins are those that the axes know."""
    for axis in schema.axes:
        if axis.attribute == attribute.name:
            return origin_value(axis)
    return draw_value(random, attribute.type, number)
