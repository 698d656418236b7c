"""Which arrays an address means: ``uri/collection`` or ``uri/collection/array``.

Pure, but for a look at which of a path's folders holds a storage.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import attrs
import numpy as np

from deker_cluster.errors import (
    DekerCollectionNotExistsError,
    DekerInstanceNotExistsError,
    DekerURIError,
    DekerValidationError,
)
from deker_cluster.uri import Mode, parse_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster.arrays import BaseArray
    from deker_cluster.client import Client
    from deker_cluster.collection import Collection

__all__ = ["VARIABLE", "ArrayAddress", "looks_like_ours", "parse_array_address"]

VARIABLE = "variable"
"""The primary attribute whose value is the name of an array as a variable of a data set."""

_IDENTITY = "cluster.json"

_FORMS = (
    "write <storage>/<collection>, <storage>/<collection>/<array id> or "
    "<storage>/<collection>/<attribute>=<value>,..., where <storage> is file:///path, "
    "deker://./path or deker://host:port/name"
)


@attrs.frozen
class ArrayAddress:
    """Arrays of one collection of one storage."""

    uri: str = attrs.field(repr=False)
    """Address of the storage, password included."""
    collection: str
    chosen: str = ""
    """Id of an array, or values of attributes as text; empty: all of them."""

    def __str__(self) -> str:
        parts = [str(parse_uri(self.uri)), self.collection, self.chosen]
        return "/".join(part for part in parts if part)

    def find(self, client: Client) -> Iterator[BaseArray]:
        """Return the arrays that are meant, at least one, one after the other.

        Raises
        ------
        DekerCollectionNotExistsError
            There is no such collection.
        DekerInstanceNotExistsError
            There is no such array.
        DekerFilterError, DekerValidationError
            An attribute that is not declared, or a value that it cannot have.
        """
        collection = client.get_collection(self.collection)
        if collection is None:
            raise DekerCollectionNotExistsError(
                f"there is no collection {self.collection!r} in {parse_uri(self.uri)}"
            )
        found = self._among(collection)
        first = next(found, None)
        if first is None:
            raise DekerInstanceNotExistsError(
                f"collection {self.collection!r} has no array {self.chosen!r}"
                if self.chosen
                else f"collection {self.collection!r} has no arrays"
            )
        return chain([first], found)

    def _among(self, collection: Collection) -> Iterator[BaseArray]:
        if not self.chosen:
            return iter(collection)
        if "=" in self.chosen:
            return iter(collection.filter(_conditions(collection, self.chosen)))
        try:
            array_id = str(UUID(self.chosen))
        except ValueError as error:
            raise DekerURIError(
                f"{self.chosen!r} is neither the id of an array nor attribute=value; {_FORMS}"
            ) from error
        array = collection.handle_of(array_id)
        return iter([] if array is None else [array])


def parse_array_address(text: str) -> ArrayAddress:
    """Parse what a user wrote.

    Parameters
    ----------
    text
        Behind the address of the storage stand the name of a collection and, if only some of its
        arrays are meant, the id of one or values of attributes: ``model=gfs,level=850``. What is
        special in addresses is written as ``%2F`` (/), ``%2C`` (,), ``%3D`` (=) or ``%3F`` (?).

    Raises
    ------
    DekerURIError
        It is none, or the path leads to no storage: none is made.
    """
    try:
        address = urlsplit(text)
    except ValueError:
        # Not even as a cause: its text may quote a password.
        raise DekerURIError(f"an address that cannot be parsed; {_FORMS}") from None
    if address.netloc in ("", ".", "..", "~"):
        return _of_directory(text)
    parts = address.path.strip("/").split("/")
    if len(parts) not in (2, 3):
        raise DekerURIError(f"the address names no collection of a cluster; {_FORMS}")
    uri = text.rstrip("/").rsplit("/", len(parts) - 1)[0]
    if parse_uri(uri).mode is not Mode.CLUSTER:
        raise DekerURIError(f"the address of no cluster; {_FORMS}")
    return ArrayAddress(uri, unquote(parts[1]), "/".join(parts[2:]))


def looks_like_ours(text: str) -> bool:
    """Whether this is an address of arrays rather than of a file of some other kind."""
    if not text.startswith(("deker://", "file:")):
        return False
    try:
        parse_array_address(text)
    except DekerURIError:
        return text.startswith("deker:")
    return True


def _of_directory(text: str) -> ArrayAddress:
    path = text.rstrip("/")
    for count in (1, 2):
        uri, *parts = path.rsplit("/", count)
        if len(parts) != count or urlsplit(uri).scheme not in ("file", "deker"):
            break
        address = parse_uri(uri)
        if address.path is not None and (address.path / _IDENTITY).is_file():
            return ArrayAddress(uri, unquote(parts[0]), "/".join(parts[1:]))
    raise DekerURIError(f"there is no storage with collections in {text!r}; {_FORMS}")


def _conditions(collection: Collection, text: str) -> dict[str, Any]:
    types = {schema.name: schema.dtype for schema in collection.schema.attributes}
    conditions: dict[str, Any] = {}
    for item in text.split(","):
        name, _, value = (unquote(part) for part in item.partition("="))
        kind: Any = types.get(name, str)
        try:
            # Texts of instants are understood by the filter itself; tuples it refuses.
            typed = kind(value) if issubclass(kind, (int, float, complex, np.number)) else value
        except ValueError as error:
            raise DekerValidationError(
                f"attribute {name!r} of collection {collection.name!r} is of type "
                f"{kind.__name__}, which {value!r} is none of"
            ) from error
        conditions[name] = typed
    return conditions
