"""``create_many``: checked before anything is made, and then made page by page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from deker_cluster import (
    ArraySchema,
    AttributeSchema,
    Client,
    Collection,
    DimensionSchema,
    VArraySchema,
    creating,
)
from deker_cluster.errors import (
    DekerArrayAlreadyExistsError,
    DekerInstanceNotExistsError,
    DekerValidationError,
    RegistryUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster.registry import Registry

START = datetime(2020, 1, 1, tzinfo=UTC)
ATTRIBUTES = [
    AttributeSchema("place", str, primary=True),
    AttributeSchema("dt", datetime, primary=True),
    AttributeSchema("cloud", float, primary=False),
]
ID = "123e4567-e89b-42d3-a456-426614174000"


@pytest.fixture
def scenes(client: Client) -> Collection:
    schema = ArraySchema(
        dtype="uint8", dimensions=[DimensionSchema("x", 4)], attributes=ATTRIBUTES, fill_value=7
    )
    return client.create_collection("scenes", schema)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creating, "_PAGE_ARRAYS", 3)


def items(count: int, first: int = 0) -> Iterator[Any]:
    for number in range(first, first + count):
        yield {
            "primary_attributes": {"place": "æ", "dt": START + timedelta(days=number)},
            "custom_attributes": {"cloud": number / 8},
        }


def test_they_are_as_created_one_by_one(scenes: Collection) -> None:
    many = scenes.create_many(items(250))
    single = scenes.create(**next(items(1, 250)))

    assert [array.id for array in scenes] == [*(array.id for array in many), single.id]
    assert [array.custom_attributes["cloud"] for array in many] == [n / 8 for n in range(250)]
    assert type(many[0]) is type(single)
    for array in (many[0], many[249]):
        found = scenes.filter(dict(array.primary_attributes)).first()
        assert found is not None
        assert found.id == array.id
        assert found.read_meta() == {
            "id": array.id,
            "primary_attributes": array.primary_attributes,
            "custom_attributes": array.custom_attributes,
        }
    assert scenes.filter({"cloud": slice(1, 2)}).count() == 8
    many[17][:].update([1, 2, 3, 4])
    assert many[17][:].read().tolist() == [1, 2, 3, 4]
    assert many[18][:].read().tolist() == [7] * 4


def test_virtual_arrays_through_the_manager(client: Client) -> None:
    schema = VArraySchema(dtype="uint8", dimensions=[DimensionSchema("x", 4)], vgrid=(2,))
    collection = client.create_collection("virtual", schema)
    made = collection.varrays.create_many([{}, {"id_": ID.upper()}, {"custom_attributes": None}])
    assert [array.id for array in collection.varrays] == [array.id for array in made]
    assert made[1].id == ID


def test_nothing_to_make(scenes: Collection) -> None:
    assert scenes.create_many([]) == []
    assert len(scenes) == 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"primary_attributes": {"place": "x"}}, "item 4: primary attribute 'dt' needs a value"),
        ({**next(items(1)), "id_": "no id"}, "item 4: 'no id' is no id"),
        ({**next(items(1)), "id": ID}, "item 4: create.. takes no 'id'; it takes: primary_attr"),
        ("place", "item 4: an array to make is a dict of what create.. takes, not str: 'place'"),
        (next(items(1, 2)), "items 2 and 4 have the same primary attributes"),
        ({**next(items(1, 9)), "id_": ID}, "items 0 and 4 have the same id"),
    ],
)
@pytest.mark.usefixtures("small_pages")
def test_what_create_would_not_take(scenes: Collection, bad: Any, message: str) -> None:
    first, *rest = items(4)
    with pytest.raises(DekerValidationError, match=message):
        scenes.create_many([{**first, "id_": ID}, *rest, bad])
    assert len(scenes) == 0


@pytest.mark.usefixtures("small_pages")
def test_one_that_is_there_stops_all(scenes: Collection) -> None:
    there = scenes.create(**next(items(1, 7)))
    with pytest.raises(DekerArrayAlreadyExistsError) as caught:
        scenes.create_many(items(8))
    text = str(caught.value)
    assert f"collection 'scenes', item 7: array {there.id} has these" in text
    assert "'place': 'æ'" in text
    assert "0 of 8 arrays were made" in text
    assert [array.id for array in scenes] == [there.id]

    again = [*items(7), {**next(items(1, 9)), "id_": there.id}]
    with pytest.raises(
        DekerArrayAlreadyExistsError, match=f"item 7: an array of the id {there.id}"
    ):
        scenes.create_many(again)
    assert len(scenes) == 1


@pytest.mark.usefixtures("small_pages")
def test_one_that_another_makes_meanwhile(
    scenes: Collection, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = registry.create_arrays
    rival: list[str] = []

    def make_after_a_rival(*arguments: Any) -> Any:
        if not rival:
            rival.append(scenes.create(**next(items(1, 7))).id)
        return made(*arguments)

    monkeypatch.setattr(registry, "create_arrays", make_after_a_rival)
    with pytest.raises(DekerArrayAlreadyExistsError) as caught:
        scenes.create_many(items(8))
    assert f"item 7: array {rival[0]} has these primary attributes" in str(caught.value)
    assert "6 of 8 arrays were made before" in str(caught.value)
    days = [(array.primary_attributes["dt"] - START).days for array in scenes]
    assert days == [7, 0, 1, 2, 3, 4, 5]


@pytest.mark.usefixtures("small_pages")
def test_a_registry_that_goes_away_in_the_midst(
    scenes: Collection, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = registry.create_arrays
    calls = []

    def fail(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise RegistryUnavailableError("away")
        return made(*arguments)

    flushed = []
    flush = scenes.session.journal.flush
    monkeypatch.setattr(scenes.session.journal, "flush", lambda: flushed.append(flush()))
    monkeypatch.setattr(registry, "create_arrays", fail)
    with pytest.raises(RegistryUnavailableError, match="away") as caught:
        scenes.create_many(items(8))
    assert caught.value.__notes__ == ["the first 6 of 8 arrays had been made before"]
    assert len(scenes) == 6
    assert flushed


def test_a_deleted_collection(scenes: Collection) -> None:
    scenes.delete()
    with pytest.raises(DekerInstanceNotExistsError, match="'scenes' has been deleted"):
        scenes.create_many(items(2))


def test_they_are_on_disk_when_the_call_returns(scenes: Collection, registry: Registry) -> None:
    scenes.create_many(items(5))
    assert registry.journal_page(0, 1).first == registry.journal_page(0, 1).last + 1


def test_calls_are_few(scenes: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    link: Any = scenes.session.registry._link
    asked: list[str] = []
    request = link._request

    def count(words: Any, *rest: Any) -> Any:
        asked.append(words[1])
        return request(words, *rest)

    monkeypatch.setattr(link, "_request", count)
    scenes.create_many(items(1000))
    mine = [word for word in asked if "journal" not in word]
    assert mine == ["deker1_find_taken"] * 10 + ["deker1_create_arrays"] * 10


def test_large_attributes_make_small_pages(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = ArraySchema(
        dtype="uint8",
        dimensions=[DimensionSchema("x", 4)],
        attributes=[AttributeSchema("text", str, primary=False)],
    )
    collection = client.create_collection("texts", schema)
    sizes: list[int] = []
    registry = collection.session.registry
    made = registry.create_arrays

    def note(collection_id: str, drafts: Any) -> Any:
        sizes.append(sum(len(draft.meta) for draft in drafts))
        return made(collection_id, drafts)

    monkeypatch.setattr(registry, "create_arrays", note)
    texts = ["x" * 40_000] * 20
    arrays = collection.create_many({"custom_attributes": {"text": text}} for text in texts)
    assert len(sizes) > 3
    assert max(sizes) <= 256 * 1024
    assert [array.custom_attributes["text"] for array in collection] == texts
    assert len(arrays) == 20
