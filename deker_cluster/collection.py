"""Handle of a collection."""

from __future__ import annotations

import contextlib
import hashlib
import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deker_cluster.arrays import Array, BaseArray, VArray, encode_meta
from deker_cluster.attribute_index import index_keys
from deker_cluster.attributes import primary_key, validate_attributes
from deker_cluster.core.ids import new_id, validate_id
from deker_cluster.dtypes import shown
from deker_cluster.errors import (
    DekerArrayAlreadyExistsError,
    DekerInstanceNotExistsError,
    DekerInvalidManagerCallError,
    DekerMetaDataError,
    DekerValidationError,
)
from deker_cluster.filters import FilteredManager
from deker_cluster.managers import ArrayManager
from deker_cluster.options import HDF5Options
from deker_cluster.registry.models import ArrayRecord, CollectionRecord
from deker_cluster.schemas import ArraySchema, VArraySchema, schema_from_dict
from deker_cluster.tiles import TileManager, tile_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from deker_cluster.client import Client
    from deker_cluster.dataplane.session import Session

__all__ = [
    "METADATA_VERSION",
    "STORAGE_ADAPTER",
    "Collection",
    "check_version",
    "checked_tile_shape",
    "collection_record",
]

METADATA_VERSION = "0.2"
"""Version of the form of :attr:`Collection.as_dict`: Deker's, whose dicts are read too."""

STORAGE_ADAPTER = "HDF5StorageAdapter"
"""Deker's name for tiles in HDF5 files."""

_PAGE = 1000


def checked_tile_shape(name: str, schema: object, options: object) -> tuple[int, ...]:
    """Make sure that tiles of a new collection could be written, and return their shape.

    Raises
    ------
    DekerValidationError
        Schema or options are none, or the options do not fit the tiles.
    """
    if not isinstance(schema, ArraySchema | VArraySchema):
        raise DekerValidationError(
            f"the schema of collection {name!r} must be an ArraySchema or a VArraySchema, "
            f"not {type(schema).__name__}"
        )
    if options is not None and not isinstance(options, HDF5Options):
        raise DekerValidationError(
            f"the options of collection {name!r} must be HDF5Options, not {type(options).__name__}"
        )
    tile_shape = schema.arrays_shape if isinstance(schema, VArraySchema) else schema.shape
    (options or HDF5Options()).validate_for(tile_shape, schema.dtype)
    return tile_shape


def collection_record(
    name: str, schema: ArraySchema | VArraySchema, options: HDF5Options | None
) -> dict[str, Any]:
    """Return what the registry stores of a new collection."""
    return {
        "name": name,
        "type": "varray" if isinstance(schema, VArraySchema) else "array",
        "schema": schema.as_dict,
        "options": None if options is None else options.as_dict,
        "storage_adapter": STORAGE_ADAPTER,
        "metadata_version": METADATA_VERSION,
        "replication": 1,
    }


def schema_and_options(
    record: Mapping[str, Any],
) -> tuple[ArraySchema | VArraySchema, HDF5Options | None]:
    """Return what a collection's metadata say of its arrays and tiles.

    Raises
    ------
    DekerMetaDataError
        Something is missing or cannot be read, or the metadata are of a newer version.
    """
    try:
        check_version(record["metadata_version"])
        schema = schema_from_dict(record["schema"], record["type"])
    except KeyError as error:
        raise DekerMetaDataError(f"the metadata lack {error}") from error
    options = record.get("options")
    return schema, None if options is None else HDF5Options.from_json(options)


def check_version(version: object) -> None:
    """Make sure that metadata of this version can be read.

    Raises
    ------
    DekerMetaDataError
        They are newer than this program, or this is no version.
    """
    parts = str(version).split(".")
    if not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise DekerMetaDataError(f"metadata of version {shown(version)}: no such version")
    # As text, 0.10 would be older than 0.2.
    if [int(part) for part in parts] > [int(part) for part in METADATA_VERSION.split(".")]:
        raise DekerMetaDataError(
            f"metadata of version {version} are newer than {METADATA_VERSION}, which this "
            "program reads: update it"
        )


class Collection:
    """Arrays of one schema. Handles can be pickled, and are equal if they mean one collection."""

    def __init__(self, client: Client, record: CollectionRecord) -> None:
        self._client = client
        self._record = record

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
    def arrays(self) -> ArrayManager | TileManager:
        """The plain arrays; in a collection of virtual arrays, the tiles that are stored."""
        if isinstance(self.schema, ArraySchema):
            return ArrayManager(self)
        return TileManager(self)

    @property
    def varrays(self) -> ArrayManager:
        """The virtual arrays.

        Raises
        ------
        DekerInvalidManagerCallError
            The collection holds plain ones.
        """
        if isinstance(self.schema, ArraySchema):
            raise DekerInvalidManagerCallError(
                f"collection {self.name!r} holds plain arrays: use .arrays"
            )
        return ArrayManager(self)

    @property
    def path(self) -> Path | None:
        """Directory where the files are, with those of other collections; None for a cluster."""
        return self._client.root_path

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

    @property
    def session(self) -> Session:
        """The open connection that this handle works through."""
        return self._client.session

    def create(
        self,
        primary_attributes: Mapping[str, Any] | None = None,
        custom_attributes: Mapping[str, Any] | None = None,
        id_: str | None = None,
    ) -> BaseArray:
        """Make an array; it reads as the fill value until written.

        Parameters
        ----------
        primary_attributes
            A value for every primary attribute of the schema.
        custom_attributes
            Values of other attributes; those left out are None.
        id_
            A UUID of one's own choice.

        Raises
        ------
        DekerValidationError
            An attribute is missing, unknown or of a wrong type; the id is no UUID.
        DekerArrayAlreadyExistsError
            The id or the primary attributes are taken.
        DekerInstanceNotExistsError
            The collection has been deleted.
        """
        schema = self.schema
        array_id = new_id() if id_ is None else validate_id(id_)
        primary, custom = validate_attributes(
            schema.attributes, primary_attributes, custom_attributes, schema.origin_attributes
        )
        key = primary_key(schema.attributes, primary) if primary else None
        meta = encode_meta(primary, custom)
        index = index_keys(schema.attributes, {**primary, **custom})
        with self.naming():
            try:
                self.session.registry.create_array(self.id, array_id, key, meta, index)
            except DekerArrayAlreadyExistsError as error:
                given = f" ({shown(dict(primary), 300)})" if primary else ""
                raise DekerArrayAlreadyExistsError(
                    f"collection {self.name!r}: {error}{given}"
                ) from error
        return self.handle(ArrayRecord(id=array_id, collection_id=self.id, meta=meta, generation=0))

    def filter(self, filters: Mapping[str, Any]) -> FilteredManager:
        """Look for arrays by their attributes; see :class:`.FilteredManager`.

        ``collection.filter({"dt": slice("2023-01-01", None)}).order_by("dt")`` can be iterated
        over, counted, and asked for its first and last array.
        """
        return FilteredManager(self, filters)

    def clear(self) -> None:
        """Delete all arrays; the collection stays."""
        with self.naming():
            self.session.registry.clear_collection(self.id)

    def delete(self) -> None:
        """Delete the collection with all its arrays. Repeating it does nothing."""
        self.session.registry.delete_collection(self.id)

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Name the collection in errors of the registry, which knows of its id only."""
        try:
            yield
        except DekerInstanceNotExistsError as error:
            raise DekerInstanceNotExistsError(
                f"collection {self.name!r} has been deleted"
            ) from error

    def handle(self, record: ArrayRecord) -> BaseArray:
        """Return the handle of one of the collection's arrays."""
        kind = VArray if isinstance(self.schema, VArraySchema) else Array
        return kind(self, record)

    def __iter__(self) -> Iterator[BaseArray]:
        after: int | None = None
        while True:
            with self.naming():
                page, after = self.session.registry.arrays(self.id, after, _PAGE)
            yield from map(self.handle, page)
            if after is None:
                return

    def __len__(self) -> int:
        with self.naming():
            return self.session.registry.count_arrays(self.id)

    def __contains__(self, item: object) -> bool:
        """Whether an array, given as a handle or by its id, is in the collection now."""
        array_id = item.id if isinstance(item, BaseArray) else item
        if not isinstance(array_id, str):
            return False
        try:
            record = self.session.registry.array(validate_id(array_id))
        except DekerValidationError:
            return False
        return record is not None and record.collection_id == self.id

    def __bool__(self) -> bool:
        return True  # an empty collection is still one: `if collection:` asks whether it was found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Collection) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Collection({self.name!r}, {self.schema!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"_client": self._client, "_record": self._record}
