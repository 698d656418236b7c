from __future__ import annotations

import uuid

import pytest

from deker_cluster.core.ids import array_key, mix64, new_id, validate_id
from deker_cluster.errors import DekerValidationError

SOME = "123e4567-e89b-42d3-a456-426614174000"


def test_new_ids_are_valid_version_4_and_distinct() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(validate_id(text) == text and uuid.UUID(text).version == 4 for text in ids)


@pytest.mark.parametrize(
    "text",
    [SOME, SOME.upper(), "00000000-0000-0000-0000-000000000000",
     "c232ab00-9414-11ec-b3c8-9f6bdeced846", "2ed6657d-e927-568b-95e1-2665a8aea6a2"],
)  # fmt: skip
def test_ids_of_any_version_and_case_are_accepted(text: str) -> None:
    assert validate_id(text) == text.lower()


@pytest.mark.parametrize(
    "text",
    ["", SOME[:-1], SOME + "0", SOME + "\n", " " + SOME, SOME.replace("-", ""), "{" + SOME + "}",
     SOME.replace("e", "g"), SOME.replace("1", "\u0661"), "123e456-7e89b-42d3-a456-426614174000",
     "urn:uuid:" + SOME, "../../etc/passwd", SOME.encode(), uuid.UUID(SOME), None, 7],
)  # fmt: skip
def test_what_is_no_id_is_refused_by_name(text: object) -> None:
    with pytest.raises(DekerValidationError) as caught:
        validate_id(text)  # type: ignore[arg-type]
    assert repr(text) in str(caught.value)


def test_mix64_is_splitmix64() -> None:
    # The first three outputs of the published generator seeded with 0.
    gamma = 0x9E3779B97F4A7C15
    assert [mix64(i * gamma % 2**64) for i in range(3)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


def test_array_keys_never_change() -> None:
    assert array_key("00000000-0000-0000-0000-000000000000") == 12035550249420947055
    assert array_key(SOME) == array_key(SOME.upper()) == 6801462292867346121


def test_array_key_depends_on_every_bit() -> None:
    bits = uuid.UUID(SOME).int
    keys = {array_key(str(uuid.UUID(int=bits ^ (1 << bit)))) for bit in range(128)}
    assert len(keys | {array_key(SOME)}) == 129
    assert all(0 <= key < 2**64 for key in keys)


def test_array_key_refuses_what_is_no_id() -> None:
    with pytest.raises(DekerValidationError, match="no id"):
        array_key("tile")
