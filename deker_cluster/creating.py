"""Making arrays: one, or many by few calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from deker_cluster.attribute_index import index_keys
from deker_cluster.attribute_json import encode_meta
from deker_cluster.attributes import primary_key, validate_attributes
from deker_cluster.core.ids import new_id, validate_id
from deker_cluster.dataplane.settling import settle
from deker_cluster.dtypes import shown
from deker_cluster.errors import (
    DekerArrayAlreadyExistsError,
    DekerBaseApplicationError,
    DekerValidationError,
)
from deker_cluster.registry.creation_calls import ArrayDraft
from deker_cluster.registry.models import ArrayRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deker_cluster.arrays import BaseArray
    from deker_cluster.collection import Collection
    from deker_cluster.registry.creation_calls import TakenName

__all__ = ["NewArray", "create_array", "create_arrays"]

_PAGE_ARRAYS = 100
"""Arrays per call: other clients wait for some 4 ms while the server makes so many."""
_PAGE_CHARACTERS = 256 * 1024
"""Of attributes, per call; a single array has less."""


class NewArray(TypedDict, total=False):
    """What :meth:`.Collection.create` takes, by the names of its parameters."""

    primary_attributes: Mapping[str, Any] | None
    custom_attributes: Mapping[str, Any] | None
    id_: str | None


def create_array(collection: Collection, item: NewArray) -> BaseArray:
    """Make an array; see :meth:`.Collection.create`."""
    draft = _draft(collection, item)
    with collection.naming():
        try:
            collection.session.registry.create_array(
                collection.id, draft.id, draft.primary_key, draft.meta, draft.index
            )
        except DekerArrayAlreadyExistsError as error:
            raise DekerArrayAlreadyExistsError(
                f"collection {collection.name!r}: {error}{_given(item)}"
            ) from error
    return _handle(collection, draft)


def create_arrays(collection: Collection, items: Iterable[NewArray]) -> list[BaseArray]:
    """Make many arrays; see :meth:`.Collection.create_many`."""
    kept = list(items)
    drafts = []
    for number, item in enumerate(kept):
        try:
            drafts.append(_draft(collection, _checked(item)))
        except DekerValidationError as error:
            raise DekerValidationError(f"item {number}: {error}") from error
    _check_distinct(drafts)
    pages = _pages(drafts)
    with collection.naming():
        if len(pages) > 1:
            # Each page is made whole or not at all; all of them, only if nothing is in the way.
            for first, page in pages.items():
                taken = collection.session.registry.find_taken(collection.id, page)
                if taken is not None:
                    raise _taken_error(collection, kept, first, taken, made=0)
        _make(collection, kept, pages)
    return [_handle(collection, draft) for draft in drafts]


def _make(
    collection: Collection, items: list[NewArray], pages: dict[int, list[ArrayDraft]]
) -> None:
    made = 0
    try:
        for first, page in pages.items():
            taken = collection.session.registry.create_arrays(collection.id, page)
            if taken is not None:
                raise _taken_error(collection, items, first, taken, made)
            made = first + len(page)
    except DekerArrayAlreadyExistsError:
        raise
    except DekerBaseApplicationError as error:
        error.add_note(f"the first {made:,} of {len(items):,} arrays had been made before")
        raise
    finally:
        if made:
            settle(collection.session)


def _checked(item: object) -> NewArray:
    if not isinstance(item, Mapping):
        raise DekerValidationError(
            f"an array to make is a dict of what create() takes, not {type(item).__name__}: "
            f"{shown(item)}"
        )
    for name in item:
        if name not in NewArray.__annotations__:
            raise DekerValidationError(
                f"create() takes no {shown(name)}; it takes: {', '.join(NewArray.__annotations__)}"
            )
    return item  # type: ignore[return-value]


def _draft(collection: Collection, item: NewArray) -> ArrayDraft:
    schema = collection.schema
    id_ = item.get("id_")
    array_id = new_id() if id_ is None else validate_id(id_)
    primary, custom = validate_attributes(
        schema.attributes,
        item.get("primary_attributes"),
        item.get("custom_attributes"),
        schema.origin_attributes,
    )
    return ArrayDraft(
        id=array_id,
        primary_key=primary_key(schema.attributes, primary) if primary else None,
        meta=encode_meta(primary, custom),
        index=index_keys(schema.attributes, {**primary, **custom}),
    )


def _check_distinct(drafts: list[ArrayDraft]) -> None:
    first_with: dict[tuple[str, str], int] = {}
    for number, draft in enumerate(drafts):
        for what, value in (("id", draft.id), ("primary attributes", draft.primary_key)):
            if value is not None:
                other = first_with.setdefault((what, value), number)
                if other != number:
                    raise DekerValidationError(f"items {other} and {number} have the same {what}")


def _pages(drafts: list[ArrayDraft]) -> dict[int, list[ArrayDraft]]:
    """Cut into what one call makes; the keys are the numbers of the first ones."""
    pages: dict[int, list[ArrayDraft]] = {}
    page: list[ArrayDraft] = []
    characters = 0
    for number, draft in enumerate(drafts):
        characters += len(draft.meta)
        if number == 0 or len(page) == _PAGE_ARRAYS or characters > _PAGE_CHARACTERS:
            page, characters = [], len(draft.meta)
            pages[number] = page
        page.append(draft)
    return pages


def _taken_error(
    collection: Collection, items: list[NewArray], first: int, taken: TakenName, made: int
) -> DekerArrayAlreadyExistsError:
    number = first + taken.number
    return DekerArrayAlreadyExistsError(
        f"collection {collection.name!r}, item {number}: {taken}{_given(items[number])}; "
        f"{made:,} of {len(items):,} arrays were made before"
    )


def _given(item: NewArray) -> str:
    primary = item.get("primary_attributes")
    return f" ({shown(dict(primary), 300)})" if primary else ""


def _handle(collection: Collection, draft: ArrayDraft) -> BaseArray:
    return collection.handle(
        ArrayRecord(id=draft.id, collection_id=collection.id, meta=draft.meta, generation=0)
    )
