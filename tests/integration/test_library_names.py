"""Names of collections, wherever they are asked for."""

from __future__ import annotations

import pytest

from deker_cluster import ArraySchema, DimensionSchema
from deker_cluster.errors import DekerCollectionNotExistsError

STRANGE = ["a/b", "..", "\0", "\udcff", "x" * 300, True, 0, 1, b"a", [], {}]
COMPOSED, DECOMPOSED = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"


@pytest.mark.parametrize("name", STRANGE, ids=ascii)
def test_names_that_none_can_have_are_those_of_nothing(client, name):
    assert name not in client
    for ask in (client.calculate_storage_size, client.clear_locks):
        with pytest.raises(DekerCollectionNotExistsError):
            ask(name)
    with pytest.raises(DekerCollectionNotExistsError):
        client.check_integrity(collection=name)


def test_both_spellings_of_a_name_are_one(client):
    schema = ArraySchema(dtype="i4", dimensions=[DimensionSchema("x", 2)])
    made = client.create_collection(DECOMPOSED, schema)
    for name in (COMPOSED, DECOMPOSED):
        assert name in client
        assert client.get_collection(name) == made
        assert client.calculate_storage_size(name).bytes == 0
        assert client.clear_locks(name) == 0
        assert client.check_integrity(collection=name).checked["collections"] == 1
