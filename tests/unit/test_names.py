from __future__ import annotations

import pytest

from deker_cluster.errors import DekerValidationError
from deker_cluster.names import validate_collection_name


@pytest.mark.parametrize("name", ["a", "Weather 2024", "日本", "a:b", ".hidden", "a..b", "x" * 255])
def test_names_are_returned(name: str) -> None:
    assert validate_collection_name(name) == name


def test_lookalikes_are_one_name() -> None:
    assert validate_collection_name("e\u0301") == validate_collection_name("\u00e9") == "\u00e9"


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "\t", ".", "..", "a/b", "/a", "../esc", "a\\b", "a\0b", "a\nb", "a\x7fb"),
        *("a\u2028b", " a", "a ", "\u00a0a", "x" * 256, "é" * 128, "a\ud800", None, 3, b"a"),
    ],
)
def test_bad_names_are_refused_and_shown(name: object) -> None:
    with pytest.raises(DekerValidationError) as caught:
        validate_collection_name(name)
    assert repr(name)[:20] in str(caught.value)
    assert len(str(caught.value)) < 250
