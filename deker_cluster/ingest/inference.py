"""The schema of a new collection, from what the inputs hold. Pure (no I/O)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from deker_cluster.attributes import AttributeSchema
from deker_cluster.dtypes import normalize_fill
from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.axes import Axis, Regular
from deker_cluster.ingest.onto import transform_of
from deker_cluster.ingest.tiling import chosen_tile_shape, given_tile_shape
from deker_cluster.schemas import VArraySchema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from deker_cluster.ingest.found import FoundArray

__all__ = ["custom_attributes", "inferred_schema", "of_one_kind", "shared_axes"]

_FEW = 20
_KINDS = (str, int, float, datetime, tuple)


def shared_axes(
    groups: Mapping[str, tuple[Axis, ...]],
    dtypes: Mapping[str, np.dtype[Any]],
    *,
    loose: bool,
) -> tuple[Axis, ...]:
    """Return the axes that the arrays of a collection share.

    Parameters
    ----------
    groups, dtypes
        Axes and dtype by array.
    loose
        Coordinates in which the arrays differ are left out, as long as the sizes agree.

    Raises
    ------
    DekerValidationError
        The arrays differ; the message tells which ones go together.
    """
    alike: dict[tuple[Any, ...], list[str]] = {}
    for key, axes in groups.items():
        form = tuple((axis.name, axis.size) if loose else axis for axis in axes)
        alike.setdefault((form, dtypes[key]), []).append(key)
    if len(alike) > 1:
        told = "; ".join(
            f"{', '.join(keys[:_FEW])}{' and others' * (len(keys) > _FEW)} "
            f"({', '.join(f'{axis.name}: {axis.size}' for axis in groups[keys[0]])}) of "
            f"{dtypes[keys[0]]}"
            for keys in alike.values()
        )
        raise DekerValidationError(
            "arrays of one collection have the same dimensions, coordinates and dtype, these "
            f"differ: {told}; ingest one group at a time, variables with variables=[...]"
            + "; dtype= makes them of one dtype"
            * (len(set(dtypes.values())) > 1)
        )
    every = list(groups.values())
    return tuple(
        axes[0] if all(axis == axes[0] for axis in axes) else Axis(axes[0].name, axes[0].size)
        for axes in zip(*every, strict=True)
    )


def inferred_schema(
    axes: Sequence[Axis],
    members: Sequence[FoundArray],
    *,
    dtype: np.dtype[Any],
    primary: Sequence[str],
    custom: Sequence[Mapping[str, Any]],
    tile_shape: Mapping[str, int] | Sequence[int] | None,
) -> VArraySchema:
    """Return the schema of a new collection.

    Parameters
    ----------
    axes
        Of the arrays.
    members
        What is written into them.
    primary
        Names of the primary attributes, all of them text.
    custom
        Custom attributes of each array.

    Raises
    ------
    DekerValidationError
        A tile shape that does not fit, or attributes of kinds that no schema declares.
    """
    extents = [max(_extent(member, axis.name) for member in members) for axis in axes]
    shape = [axis.size for axis in axes]
    blocks = [max(_block(member, axis.name) for member in members) for axis in axes]
    tiles = chosen_tile_shape(shape, dtype.itemsize, extents, blocks)
    if tile_shape is not None:
        tiles = given_tile_shape(tile_shape, [axis.name for axis in axes], shape, tiles)
    kinds: dict[str, type] = {}
    for name, value in (item for values in custom for item in values.items()):
        kind = next((kind for kind in _KINDS if isinstance(value, kind)), None)
        if kind is None:
            raise DekerValidationError(f"attribute {name!r} has a value of no kind that is stored")
        kinds[name] = kind
    return VArraySchema(
        dtype=dtype,
        dimensions=[axis.schema() for axis in axes],
        arrays_shape=tiles,
        fill_value=fill_of(members, dtype),
        attributes=[
            *(AttributeSchema(name, str, primary=True) for name in primary),
            *(AttributeSchema(name, kind, primary=False) for name, kind in kinds.items()),
        ],
    )


def _extent(member: FoundArray, name: str) -> int:
    return next((axis.size for axis in member.all_axes if axis.name == name), 1)


def _block(member: FoundArray, name: str) -> int:
    if member.blocks is None:
        return 1
    sides = zip(member.axes, member.blocks, strict=True)
    return next((cells for axis, cells in sides if axis.name == name), 1)


def fill_of(members: Sequence[FoundArray], dtype: np.dtype[Any]) -> np.generic | None:
    """Return the first nodata value that the dtype can hold, None if there is none."""
    for member in members:
        if member.nodata is not None:
            try:
                return normalize_fill(member.nodata, dtype)
            except DekerValidationError:  # NaN, of floats that become integers
                continue
    return None


def of_one_kind(custom: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the custom attributes of arrays without those that are numbers here, text there."""
    kinds: dict[str, set[str]] = {}
    for values in custom:
        for name, value in values.items():
            number = isinstance(value, (int, float))
            kinds.setdefault(name, set()).add("number" if number else type(value).__name__)
    whole = {
        name for name in kinds if not any(isinstance(values.get(name), float) for values in custom)
    }
    return [
        {
            name: float(value) if isinstance(value, int) and name not in whole else value
            for name, value in values.items()
            if len(kinds[name]) == 1
        }
        for values in custom
    ]


def custom_attributes(
    axes: Sequence[Axis], members: Sequence[FoundArray], *, corner: bool
) -> dict[str, Any]:
    """Return the custom attributes of an array: those in which its inputs agree, and its place.

    ``crs`` is WKT; ``transform`` is affine, of the whole array, from column and row of a corner.
    """
    first = members[0]
    agreed: dict[str, Any] = {
        name: value
        for name, value in first.attributes.items()
        if all(member.attributes.get(name) == value for member in members)
    }
    place = first.georeference
    if place is None:
        return agreed
    if place.crs is not None:
        agreed["crs"] = place.crs
    if place.transform is not None:
        agreed["transform"] = place.transform
        where = {axis.name: axis.coordinates for axis in axes}
        down, across = (where.get(axis.name) for axis in first.axes[-2:])
        if isinstance(across, Regular) and isinstance(down, Regular):
            agreed["transform"] = transform_of(across, down, corner=corner)
    return agreed
