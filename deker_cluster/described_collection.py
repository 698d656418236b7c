"""What a collection's record says of it."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deker_cluster.collection_metadata import schema_and_options
from deker_cluster.errors import DekerMetaDataError
from deker_cluster.options import HDF5Options
from deker_cluster.schemas import ArraySchema, VArraySchema
from deker_cluster.tiles import tile_schema

if TYPE_CHECKING:
    from deker_cluster.registry.models import CollectionRecord

__all__ = ["DescribedCollection"]


class DescribedCollection:
    """The part of :class:`.Collection` that never changes, and asks the registry nothing."""

    _record: CollectionRecord

    @property
    def id(self) -> str:
        """UUID of the collection: a later one of the same name has another."""
        return self._record.id

    @property
    def name(self) -> str:
        """Name of the collection."""
        return self._record.name

    @property
    def schema(self) -> ArraySchema | VArraySchema:
        """The schema of the arrays."""
        return self._described[0]

    @cached_property
    def _described(self) -> tuple[ArraySchema | VArraySchema, HDF5Options | None]:
        try:
            return schema_and_options(self._record.record)
        except DekerMetaDataError as error:
            raise DekerMetaDataError(f"collection {self.name!r}: {error}") from error

    @cached_property
    def array_schema(self) -> ArraySchema:
        """The schema of plain arrays; in a collection of virtual arrays, that of their tiles."""
        return self.schema if isinstance(self.schema, ArraySchema) else tile_schema(self.schema)

    @property
    def varray_schema(self) -> VArraySchema | None:
        """The schema, if the arrays are virtual ones."""
        return self.schema if isinstance(self.schema, VArraySchema) else None

    @property
    def options(self) -> HDF5Options | None:
        """Chunks and compression, as they were given."""
        return self._described[1]

    @property
    def hdf5_options(self) -> HDF5Options:
        """Chunks and compression in force."""
        return self.options or HDF5Options()

    @property
    def replication(self) -> int:
        """How many shards hold each tile."""
        return int(self._record.record.get("replication", 1))

    @cached_property
    def schema_digest(self) -> str:
        """Tells schemas apart; every tile file repeats it."""
        text = json.dumps(self._record.record["schema"], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def as_dict(self) -> dict[str, Any]:
        """The collection's metadata: what :meth:`Client.collection_from_dict` takes."""
        return {key: value for key, value in self._record.record.items() if key != "replication"}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DescribedCollection) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Collection({self.name!r}, {self.schema!r})"
