"""Collections and arrays by name, id and attributes, in library mode."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import (
    Array,
    ArraySchema,
    AttributeSchema,
    Client,
    Collection,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    Scale,
    VArray,
    VArraySchema,
)
from deker_cluster.errors import (
    DekerArrayAlreadyExistsError,
    DekerCollectionAlreadyExistsError,
    DekerFilterError,
    DekerIncompleteFilterError,
    DekerInstanceNotExistsError,
    DekerMetaDataError,
    DekerValidationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Script

LAYERS = ArraySchema(
    dtype="float32",
    dimensions=[DimensionSchema("y", 4), DimensionSchema("x", 6, scale=Scale(10.0, 0.5, "deg"))],
    attributes=[
        AttributeSchema("product", str, primary=True),
        AttributeSchema("level", int, primary=True),
        AttributeSchema("note", str, primary=False),
        AttributeSchema("count", int, primary=False),
    ],
)


@pytest.fixture
def layers(client: Client) -> Collection:
    return client.create_collection("layers", LAYERS)


def test_a_collection_is_found_again(client: Client, layers: Collection) -> None:
    found = client.get_collection("layers")
    assert found is not None
    assert found == layers
    assert found.schema == LAYERS
    assert found.name == "layers"
    assert len(found) == 0
    assert list(found) == []
    assert found, "an empty collection is still one"
    assert client.get_collection("other") is None
    assert [collection.name for collection in client] == ["layers"]


def test_a_name_is_taken_once(client: Client, layers: Collection) -> None:
    with pytest.raises(DekerCollectionAlreadyExistsError, match="layers"):
        client.create_collection("layers", LAYERS)
    assert client.get_collection("layers") == layers


@pytest.mark.parametrize("name", ["Ünï-数据", "with blank", "a:b", "x" * 255, "-", "{tag}", "%2e"])
def test_names_that_are_allowed(client: Client, name: str) -> None:
    array = client.create_collection(name, LAYERS).create({"product": name, "level": 0})
    array[0, 0].update(1)
    assert [collection.name for collection in client] == [name]
    found = client.get_collection(name)
    assert found is not None
    assert next(iter(found)).primary_attributes["product"] == name


@pytest.mark.parametrize(
    "name", ["", " ", "../x", "/abs", "a/b", "a\\b", "..", "nul\0", "x" * 300, "ü" * 128, 5, None]
)
def test_names_that_are_refused(client: Client, name: str) -> None:
    with pytest.raises(DekerValidationError, match="collection name"):
        client.create_collection(name, LAYERS)
    assert list(client) == []


def test_a_later_collection_of_the_same_name_is_another(client: Client, layers: Collection) -> None:
    old = layers.create({"product": "a", "level": 1})
    old[:].update(1.0)
    layers.delete()
    layers.delete()
    assert client.get_collection("layers") is None
    new = client.create_collection("layers", LAYERS)
    assert new != layers
    assert len(new) == 0
    for use in (
        lambda: len(layers),
        lambda: list(layers),
        lambda: layers.create({"product": "b", "level": 1}),
        lambda: layers.filter({"product": "a", "level": 1}).first(),
        layers.clear,
        old[:].read,
        lambda: old[:].update(2.0),
        old[:].clear,
        old.read_meta,
        lambda: old.update_custom_attributes({"note": "late"}),
    ):
        with pytest.raises(DekerInstanceNotExistsError, match="deleted"):
            use()
    assert len(new) == 0


def test_clearing_keeps_the_collection(client: Client, layers: Collection) -> None:
    arrays = [layers.create({"product": "a", "level": level}) for level in range(3)]
    layers.clear()
    assert len(layers) == 0
    with pytest.raises(DekerInstanceNotExistsError, match=arrays[0].id):
        arrays[0][:].read()
    assert layers.create({"product": "a", "level": 0}).id != arrays[0].id


def test_a_collection_made_from_a_dict_is_the_same(client: Client) -> None:
    schema = VArraySchema(
        dtype="int16",
        dimensions=[DimensionSchema("y", 4), DimensionSchema("band", 2, labels=["red", "blue"])],
        vgrid=(2, 1),
        fill_value=7,
        attributes=LAYERS.attributes,
    )
    options = HDF5Options(
        chunks=(2, 1), compression_opts=HDF5CompressionOpts("gzip", compression_opts=4)
    )
    first = client.create_collection("first", schema, options)
    form = {**first.as_dict, "name": "second"}
    second = client.collection_from_dict(form)
    assert second.schema == first.schema
    assert second.options == first.options
    assert second.as_dict == form
    for wrong, named in (
        ({"name": "third", "type": "array", "metadata_version": "0.2"}, "schema"),
        ({**form, "name": "third", "metadata_version": "0.10"}, "newer"),
        ({**form, "name": "third", "metadata_version": "two"}, "two"),
        ({key: value for key, value in form.items() if key != "name"}, "name"),
        ({key: value for key, value in form.items() if key != "metadata_version"}, "version"),
        ({**form, "name": "third", "type": "table"}, "table"),
        ([form], "dict"),
    ):
        with pytest.raises(DekerMetaDataError, match=named):
            client.collection_from_dict(wrong)  # type: ignore[arg-type]
    assert {collection.name for collection in client} == {"first", "second"}


def test_arrays_in_order_of_creation(layers: Collection) -> None:
    arrays = [layers.create({"product": "p", "level": level}) for level in range(5)]
    assert len(layers) == 5
    assert list(layers) == arrays
    assert all(isinstance(array, Array) and not isinstance(array, VArray) for array in layers)


def test_an_own_id(layers: Collection) -> None:
    own = str(uuid.uuid4())
    array = layers.create({"product": "p", "level": 1}, id_=own.upper())
    assert array.id == own
    with pytest.raises(DekerArrayAlreadyExistsError, match=own):
        layers.create({"product": "p", "level": 2}, id_=own)
    for bad in ("../../x", "", "1234"):
        with pytest.raises(DekerValidationError, match="id"):
            layers.create({"product": "p", "level": 3}, id_=bad)
    assert len(layers) == 1


def test_primary_attributes_are_unique(layers: Collection) -> None:
    first = layers.create({"product": "p", "level": 1})
    with pytest.raises(DekerArrayAlreadyExistsError, match=first.id):
        layers.create({"product": "p", "level": 1})
    first.delete()
    layers.create({"product": "p", "level": 1})
    assert len(layers) == 1


@pytest.mark.parametrize(
    ("primary", "custom", "named"),
    [
        (None, None, "product"),
        ({"product": "p"}, None, "level"),
        ({"product": "p", "level": "high"}, None, "level"),
        ({"product": "p", "level": 1, "colour": "red"}, None, "colour"),
        ({"product": "p", "level": 1}, {"product": "q"}, "product"),
        ({"product": "p", "level": 1}, {"count": 1.5}, "count"),
    ],
)
def test_attributes_that_do_not_fit(
    layers: Collection, primary: dict[str, object], custom: dict[str, object], named: str
) -> None:
    with pytest.raises(DekerValidationError, match=named):
        layers.create(primary, custom)
    assert len(layers) == 0


def test_filters(layers: Collection) -> None:
    one = layers.create({"product": "p", "level": 1}, {"note": "first"})
    layers.create({"product": "p", "level": 2})
    assert layers.filter({"id": one.id}).first() == one
    assert layers.filter({"id": one.id.upper()}).last() == one
    found = layers.filter({"product": "p"}).filter({"level": 1}).first()
    assert found == one
    assert found.custom_attributes["note"] == "first"
    assert layers.filter({"product": "p", "level": 3}).first() is None
    assert layers.filter({"id": str(uuid.uuid4())}).first() is None
    with pytest.raises(DekerIncompleteFilterError, match="level"):
        layers.filter({"product": "p", "level": None})
    assert layers.filter({"product": "p", "level": 1, "note": "first"}).first() == one
    assert layers.filter({"product": "p", "level": 1, "note": "second"}).first() is None
    for wrong in (5, None, "id"):
        with pytest.raises(DekerFilterError, match="dict"):
            layers.filter(wrong)  # type: ignore[arg-type]


def test_a_filter_is_added_to_with_a_dict(layers: Collection) -> None:
    with pytest.raises(DekerFilterError, match="dict"):
        layers.filter({}).filter(5)  # type: ignore[arg-type]


def test_an_id_finds_arrays_of_its_own_collection_only(client: Client, layers: Collection) -> None:
    other = client.create_collection("other", LAYERS)
    array = other.create({"product": "p", "level": 1})
    assert layers.filter({"id": array.id}).first() is None


def test_custom_attributes(layers: Collection) -> None:
    array = layers.create({"product": "p", "level": 1}, {"note": "old"})
    array.update_custom_attributes({"count": 5})
    assert dict(array.custom_attributes) == {"note": "old", "count": 5}
    found = next(iter(layers))
    assert found.read_meta()["custom_attributes"] == {"note": "old", "count": 5}
    for bad, named in (({"level": 2}, "level"), ({"x": 1}, "x"), ({"count": "many"}, "count")):
        with pytest.raises(DekerValidationError, match=named):
            array.update_custom_attributes(bad)
    assert found.read_meta() == array.read_meta()
    assert found.read_meta()["primary_attributes"] == {"product": "p", "level": 1}


def test_two_updaters_do_not_undo_each_other(layers: Collection) -> None:
    array = layers.create({"product": "p", "level": 1})
    failures: list[BaseException] = []

    def update(name: str, value: Callable[[int], object]) -> None:
        mine = layers.filter({"id": array.id}).first()
        assert mine is not None
        try:
            for number in range(60):
                mine.update_custom_attributes({name: value(number)})
                assert mine.read_meta()["custom_attributes"][name] == value(number)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [
        threading.Thread(target=update, args=("note", str)),
        threading.Thread(target=update, args=("count", int)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert array.read_meta()["custom_attributes"] == {"note": "59", "count": 59}


def test_a_deleted_array(layers: Collection) -> None:
    array = layers.create({"product": "p", "level": 1})
    array[:].update(np.ones((4, 6), "float32"))
    array.delete()
    array.delete()
    for use in (
        array[:].read,
        lambda: array[0].update(1.0),
        array[:].clear,
        array.read_meta,
        lambda: array.update_custom_attributes({"note": "late"}),
    ):
        with pytest.raises(DekerInstanceNotExistsError, match=array.id):
            use()
    assert len(layers) == 0
    again = layers.create({"product": "p", "level": 1}, id_=array.id)
    assert np.isnan(again[:].read()).all()


def test_a_handle_of_an_id_that_now_is_another_array(client: Client, layers: Collection) -> None:
    old = layers.create({"product": "p", "level": 1})
    old.delete()
    bytes_schema = ArraySchema(dtype="uint8", dimensions=[DimensionSchema("n", 3)])
    new = client.create_collection("bytes", bytes_schema).create(id_=old.id)
    new[:].update([1, 2, 3])
    with pytest.raises(DekerInstanceNotExistsError, match=old.id):
        old[:].read()
    with pytest.raises(DekerInstanceNotExistsError, match=old.id):
        old[0, 0].update(5.0)
    with pytest.raises(DekerInstanceNotExistsError, match=old.id):
        old.read_meta()
    with pytest.raises(DekerInstanceNotExistsError, match=old.id):
        old.update_custom_attributes({"note": "late"})
    old.delete()
    assert new[:].read().tolist() == [1, 2, 3]


def test_everything_is_there_in_another_process(
    client: Client, layers: Collection, start: Callable[..., Script]
) -> None:
    array = layers.create({"product": "p", "level": 1}, {"note": "hello"})
    array[1].update(np.arange(6, dtype="float32"))
    client.close()
    lines = start(
        """
with Client(f"file://{root}") as client:
    collection = client.get_collection("layers")
    array = collection.filter({"product": "p", "level": 1}).first()
    say(array.id, array.custom_attributes["note"], array[1, 2:4].read().tolist())
    array[1, 10.5].update(9)
    say(array[1, 10.5].read(), len(collection))
""",
        client.root_path,
    ).end()
    assert lines == [f"{array.id} hello [2.0, 3.0]", "9.0 1"]
