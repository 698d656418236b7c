"""An existing collection, or array, as the target of an ingestion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.arrays import BaseArray
from deker_cluster.collection import Collection
from deker_cluster.dimensions import build
from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.axes import Axis, Regular, axis_of
from deker_cluster.ingest.found import Georeference
from deker_cluster.ingest.plan import ArrayTarget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deker_cluster.client import Client

__all__ = ["Existing", "existing_target", "renamed_axes"]

_ALIASES = (
    frozenset({"y", "lat", "latitude", "northing", "row"}),
    frozenset({"x", "lon", "longitude", "easting", "col", "column"}),
    frozenset({"time", "t", "date"}),
    frozenset({"band", "bands", "channel"}),
)


@attrs.frozen(kw_only=True)
class Existing:
    """A collection that is there, and the array in it if the user named one."""

    collection: Collection
    array: BaseArray | None = None
    example: BaseArray | None = None
    """An array whose attributes tell about the others."""

    def target_array(
        self, key: str, inferred: Mapping[str, Any], custom: Mapping[str, Any]
    ) -> tuple[ArrayTarget, tuple[Axis, ...]]:
        """Return the array that a group of inputs goes to, with its axes.

        Parameters
        ----------
        key
            Name of the group.
        inferred
            Attributes that follow from the inputs or were given by the user.
        custom
            Custom attributes of an array that is to be made, where the schema declares them.

        Raises
        ------
        DekerValidationError
            The attributes do not tell which array is meant.
        """
        array = self.array or self._found(inferred)
        if array is not None:
            target = ArrayTarget(
                key=key,
                primary=dict(array.primary_attributes),
                custom=dict(array.custom_attributes),
                id=array.id,
            )
            return target, tuple(map(axis_of, array.dimensions))
        schema = self.collection.schema
        primary = {item.name: inferred[item.name] for item in schema.primary_attributes or ()}
        declared = {item.name for item in schema.custom_attributes or ()}
        kept = {name: value for name, value in {**custom, **inferred}.items() if name in declared}
        missing = sorted(set(schema.origin_attributes) - set(kept) - set(primary))
        if missing:
            raise DekerValidationError(
                f"arrays of collection {self.collection.name!r} begin at attribute {missing[0]!r}: "
                f"give it with attributes={{{missing[0]!r}: ...}}"
            )
        axes = tuple(axis_of(build(item, {**kept, **primary})) for item in schema.dimensions)
        return ArrayTarget(key=key, primary=primary, custom=kept), axes

    def _found(self, inferred: Mapping[str, Any]) -> BaseArray | None:
        primary = self.collection.schema.primary_attributes or ()
        if primary:
            missing = [item.name for item in primary if item.name not in inferred]
            if missing:
                raise DekerValidationError(
                    f"collection {self.collection.name!r} identifies its arrays by "
                    f"{', '.join(repr(item.name) for item in primary)}: say which one is meant "
                    f"with attributes={{{missing[0]!r}: ...}}, or give an array as collection="
                )
            return self.collection.filter(
                {item.name: inferred[item.name] for item in primary}
            ).first()
        if len(self.collection) > 1:
            raise DekerValidationError(
                f"collection {self.collection.name!r} holds {len(self.collection)} arrays without "
                "primary attributes: give the array that is meant as collection="
            )
        return next(iter(self.collection), None)

    @property
    def crs(self) -> str | None:
        """Coordinate system, as far as an array has it as an attribute."""
        return _text(self._attribute("crs"))

    @property
    def corner(self) -> bool | None:
        """Whether scales are those of the corners of cells; None: nothing tells."""
        transform, across = self._attribute("transform"), self._scale(_ALIASES[1])
        if not _is_transform(transform) or across is None:
            return None
        shift = (across.start - transform[2]) / across.step
        return bool(abs(shift) < 0.25)  # it is 0 or 0.5

    def grid(self, *, corner: bool) -> Georeference | None:
        """Return the grid of rows and columns, None if nothing tells where it lies."""
        crs = self.crs
        if crs is None:
            return None
        across, down = self._scale(_ALIASES[1]), self._scale(_ALIASES[0])
        if across is not None and down is not None:
            return Georeference(crs=crs, transform=transform_of(across, down, corner=corner))
        transform = self._attribute("transform")
        if not _is_transform(transform):
            return None
        return Georeference(crs=crs, transform=tuple(map(float, transform)))

    def _attribute(self, name: str) -> Any:
        return None if self.example is None else self.example.custom_attributes.get(name)

    def _scale(self, aliases: frozenset[str]) -> Regular | None:
        for item in self.collection.schema.dimensions:
            scale = getattr(item, "scale", None)
            if item.name.lower() in aliases and scale is not None:
                return Regular(scale.start_value, scale.step)
        return None


def transform_of(across: Regular, down: Regular, *, corner: bool) -> tuple[float, ...]:
    """Return the affine transform of the grid of two scales."""
    shift = 0.0 if corner else 0.5
    left, top = across.start - shift * across.step, down.start - shift * down.step
    return (across.step, 0.0, left, 0.0, down.step, top)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _is_transform(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 6


def existing_target(client: Client, collection: object) -> Existing | None:
    """Return what a user means by ``collection=``; None: there is no such collection yet.

    Raises
    ------
    DekerValidationError
        It is no name, collection or array.
    """
    if isinstance(collection, BaseArray):
        return Existing(collection=collection.parent, array=collection, example=collection)
    if not isinstance(collection, (str, Collection)):
        raise DekerValidationError(
            f"collection must be a name, a collection or an array, not {shown(collection)}"
        )
    found = client.get_collection(collection) if isinstance(collection, str) else collection
    if found is None:
        return None
    return Existing(collection=found, example=next(iter(found), None))


def renamed_axes(
    axes: tuple[Axis, ...], names: Mapping[str, str], known: tuple[str, ...] = ()
) -> tuple[Axis, ...]:
    """Return axes under the names that the user gave, or that the array has for the same.

    ``x`` and ``y`` of rasters find ``lon`` and ``lat`` of an array, among others.
    """
    own = {axis.name for axis in axes}
    result = []
    for axis in axes:
        name = names.get(axis.name, axis.name)
        if known and name not in known:
            group = next((group for group in _ALIASES if name.lower() in group), frozenset())
            others = [other for other in known if other.lower() in group and other not in own]
            name = others[0] if len(others) == 1 else name
        result.append(attrs.evolve(axis, name=name))
    return tuple(result)
