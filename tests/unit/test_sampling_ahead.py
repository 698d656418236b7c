"""Working ahead in threads: order, depth, errors, and an end at any time."""

from __future__ import annotations

import threading

import pytest

from deker_cluster.sampling.ahead import ahead


@pytest.mark.parametrize("depth", [0, 1, 3, 20])
def test_results_come_in_order(depth: int) -> None:
    assert list(ahead(lambda n: n * n, range(10), depth)) == [n * n for n in range(10)]


def test_no_more_than_depth_is_begun_beyond_what_was_taken() -> None:
    begun: list[int] = []
    results = ahead(lambda n: begun.append(n) or n, range(100), 2)
    for taken in range(3):
        assert next(results) == taken
        assert len(begun) <= taken + 3
    results.close()
    assert len(begun) <= 5


def test_an_error_comes_where_its_result_would_be() -> None:
    def divide(n: int) -> float:
        return 6 / n

    results = ahead(divide, [3, 2, 0, 1], 2)
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_no_thread_is_left_when_it_is_given_up() -> None:
    results = ahead(lambda n: n, range(100), 2)
    next(results)
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("deker-ahead")]
