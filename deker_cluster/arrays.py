"""Handles of arrays."""

from __future__ import annotations

import json
from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deker_cluster.attribute_index import index_keys
from deker_cluster.attribute_json import decode_values, encode_values
from deker_cluster.attributes import merge_custom
from deker_cluster.core.tile_grid import TileGrid
from deker_cluster.dataplane.settling import deleting
from deker_cluster.dataplane.tiled_array import TiledArray
from deker_cluster.dimensions import AnyDimension, build
from deker_cluster.errors import (
    DekerInstanceNotExistsError,
    DekerMetaDataError,
    DekerValidationError,
)
from deker_cluster.history import Generations
from deker_cluster.indexing import resolve_index, resolve_names
from deker_cluster.registry.models import ArrayRecord
from deker_cluster.schemas import ArraySchema, VArraySchema
from deker_cluster.subset import Subset, VSubset

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    import numpy as np
    import numpy.typing as npt

    from deker_cluster.collection import Collection
    from deker_cluster.core.selection import Selection
    from deker_cluster.dataplane.session import Session

__all__ = ["Array", "BaseArray", "VArray", "decode_meta", "encode_meta"]


MAX_ATTRIBUTES_BYTES = 48 * 1024
"""Every tile file repeats the attributes, in an HDF5 attribute that holds less than 64 KiB."""


def encode_meta(primary: dict[str, Any], custom: dict[str, Any]) -> str:
    """Return an array's attributes as the registry stores them.

    Raises
    ------
    DekerValidationError
        They are larger than :data:`MAX_ATTRIBUTES_BYTES`.
    """
    meta = json.dumps({"primary": encode_values(primary), "custom": encode_values(custom)})
    if len(meta) > MAX_ATTRIBUTES_BYTES:
        raise DekerValidationError(
            f"the attributes of an array take {len(meta):,} bytes, {MAX_ATTRIBUTES_BYTES:,} are "
            "allowed; store large values in an array of their own"
        )
    return meta


def decode_meta(meta: str) -> tuple[OrderedDict[str, Any], OrderedDict[str, Any]]:
    """Return primary and custom attributes from their stored form."""
    try:
        stored = json.loads(meta)
        return decode_values(stored["primary"]), decode_values(stored["custom"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DekerMetaDataError(f"stored attributes cannot be read: {meta[:200]!r}") from error


class BaseArray(Generations):
    """What plain and virtual arrays share. Handles can be pickled; they hold no data."""

    _subset_class: type[Subset] = Subset

    def __init__(self, collection: Collection, record: ArrayRecord) -> None:
        self._collection = collection
        self._record = record

    @property
    def id(self) -> str:
        """UUID of the array."""
        return self._record.id

    @property
    def collection(self) -> str:
        """Name of the collection."""
        return self._collection.name

    @property
    def parent(self) -> Collection:
        """Handle of the collection."""
        return self._collection

    @property
    def schema(self) -> ArraySchema | VArraySchema:
        """The collection's schema."""
        return self._collection.schema

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the cells."""
        return self.schema.dtype

    @property
    def fill_value(self) -> np.generic:
        """Value of cells that were never written."""
        return self.schema.fill_value

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells per dimension."""
        return self.schema.shape

    @property
    def named_shape(self) -> tuple[tuple[str, int], ...]:
        """Name and size of each dimension."""
        return self.schema.named_shape

    @property
    def primary_attributes(self) -> OrderedDict[str, Any]:
        """The attributes that identify the array."""
        return OrderedDict(self._attributes[0])

    @property
    def custom_attributes(self) -> OrderedDict[str, Any]:
        """The attributes that may change, as of when this handle read them."""
        return OrderedDict(self._attributes[1])

    @cached_property
    def dimensions(self) -> tuple[AnyDimension, ...]:
        """The dimensions with their coordinates; time origins are this array's own."""
        primary, custom = self._attributes
        return tuple(build(schema, {**primary, **custom}) for schema in self.schema.dimensions)

    @cached_property
    def _attributes(self) -> tuple[OrderedDict[str, Any], OrderedDict[str, Any]]:
        return decode_meta(self._record.meta)

    @property
    def session(self) -> Session:
        """The open connection that this handle works through."""
        return self._collection.session

    @cached_property
    def tiled(self) -> TiledArray:
        """The array as the data plane sees it."""
        schema = self.schema
        tile_shape = schema.arrays_shape if isinstance(schema, VArraySchema) else schema.shape
        return TiledArray(
            id=self.id,
            collection_id=self._collection.id,
            grid=TileGrid(schema.shape, tile_shape),
            dtype=schema.dtype,
            fill=schema.fill_value,
            options=self._collection.hdf5_options,
            copies=self._collection.replication,
            description={
                "collection": self._collection.name,
                "schema": self._collection.schema_digest,
                **json.loads(self._record.meta),
            },
        )

    def located(self, selection: Selection) -> Selection:
        """Return selected cells as cells of :attr:`tiled`."""
        return selection

    @property
    def as_dict(self) -> dict[str, Any]:
        """Everything about the array but its data; time dimensions have this array's origin."""
        return {
            "id": self.id,
            "collection": self.collection,
            "dimensions": [dimension.as_dict for dimension in self.dimensions],
            "shape": self.shape,
            "named_shape": self.named_shape,
            "primary_attributes": self.primary_attributes,
            "custom_attributes": self.custom_attributes,
        }

    def read_meta(self) -> dict[str, Any]:
        """Return id and attributes as they are stored now.

        Raises
        ------
        DekerInstanceNotExistsError
            The array has been deleted.
        """
        primary, custom = decode_meta(self._current().meta)
        return {"id": self.id, "primary_attributes": primary, "custom_attributes": custom}

    def update_custom_attributes(self, attributes: dict[str, Any]) -> None:
        """Set the named custom attributes; the others keep their values.

        Two writers of different attributes do not undo each other.

        Raises
        ------
        DekerValidationError
            Unknown or primary name, or a value of a wrong type; nothing was changed.
        DekerInstanceNotExistsError
            The array has been deleted.
        """
        while True:
            record = self._current()
            primary, custom = decode_meta(record.meta)
            merged = merge_custom(
                self.schema.attributes, custom, attributes, self.schema.origin_attributes
            )
            meta = encode_meta(primary, merged)
            index = index_keys(self.schema.attributes, {**primary, **merged})
            if self.session.registry.update_meta(self.id, record.meta, meta, index):
                self._forget()
                self._record = ArrayRecord(
                    id=record.id,
                    collection_id=record.collection_id,
                    meta=meta,
                    generation=record.generation,
                )
                return

    def delete(self) -> None:
        """Delete the array; its files go later. Repeating it does nothing."""
        with deleting(self.session):
            self.session.registry.delete_array(self.id, self._collection.id)

    def _itself(self) -> BaseArray:
        return self

    def _current(self) -> ArrayRecord:
        record = self.session.registry.array(self.id)
        # The id may have been used again, in a collection of another schema.
        if record is None or record.collection_id != self._collection.id:
            raise DekerInstanceNotExistsError(
                f"array {self.id} of collection {self.collection!r} has been deleted"
            )
        return record

    def _forget(self) -> None:
        for name in ("_attributes", "dimensions", "tiled"):
            self.__dict__.pop(name, None)

    def __getitem__(self, index: object) -> Subset:
        """Select a part. Nothing is read yet.

        Parameters
        ----------
        index
            For each dimension an int (position), a float (coordinate on a scale), a label, an
            instant (datetime, ``datetime64``, ISO text), a slice between two of these with any
            step, or a list of them or of bools, which picks along this dimension alone. A year or
            month as text stands for all its cells, ``...`` for the dimensions that are not named.

        Raises
        ------
        DekerIndexError
            The index leaves the array, or matches nothing on a dimension.
        """
        return self._subset_class(self, resolve_index(index, self.dimensions))

    def sel(
        self,
        indexers: Mapping[str, object] | None = None,
        /,
        *,
        method: str | None = None,
        tolerance: float | timedelta | Mapping[str, float | timedelta] | None = None,
        **by_name: object,
    ) -> Subset:
        """Select a part by dimension names, also by the nearest cells. Nothing is read yet.

        Parameters
        ----------
        indexers, by_name
            Names of dimensions to what would stand between the brackets for them; others are
            taken whole. The dict is for names that cannot be keywords.
        method
            ``"nearest"`` takes the cells nearest to floats on a scale and to instants: the lower
            position of two, the first or last cell outside.
        tolerance
            Greatest distance then: in units of the scale; in time a timedelta, or seconds. One for
            all dimensions, or a dict by name.

        Raises
        ------
        DekerIndexError
            An unknown dimension, as ``array[index]``, or nothing within the tolerance.
        DekerValidationError
            Another method, or no possible tolerance.
        """
        selection = resolve_names(
            indexers, by_name, self.dimensions, method=method, tolerance=tolerance
        )
        return self._subset_class(self, selection)

    def __setitem__(self, index: object, data: object) -> None:
        """Write into a part of the array: ``self[index].update(data)``."""
        self[index].update(data)

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        return self[...].__array__(dtype, copy)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Any:
        return (self[position] for position in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BaseArray) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        shape = ", ".join(f"{name}: {size}" for name, size in self.named_shape)
        return f"{type(self).__name__}({self.id}, {self.collection!r}, {self.dtype}, ({shape}))"

    def __getstate__(self) -> dict[str, Any]:
        return {"_collection": self._collection, "_record": self._record}


class Array(BaseArray):
    """An array that is stored as one tile."""


class VArray(BaseArray):
    """An array that is stored as a grid of tiles, on as many shards as there are."""

    _subset_class = VSubset

    @property
    def vgrid(self) -> tuple[int, ...]:
        """Tiles per dimension."""
        return self.tiled.grid.vgrid

    @property
    def arrays_shape(self) -> tuple[int, ...]:
        """Cells of a tile per dimension."""
        return self.tiled.grid.tile_shape

    @property
    def as_dict(self) -> dict[str, Any]:
        """Everything about the array but its data."""
        return {**super().as_dict, "vgrid": self.vgrid}
