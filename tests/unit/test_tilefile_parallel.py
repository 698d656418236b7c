from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from deker_cluster.tilefile.parallel import run_all


def test_every_task_runs_once():
    done = []
    for executor in (None, ThreadPoolExecutor(3)):
        run_all([lambda i=i: done.append(i) for i in range(200)], executor)
        assert sorted(done) == list(range(200))
        done.clear()
        run_all([], executor)
        assert not done


def test_a_pool_that_is_busy_is_not_waited_for():
    release = threading.Event()
    done = []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(release.wait, 60)
        run_all([lambda i=i: done.append(i) for i in range(5)], pool)
        assert not release.is_set()
        release.set()
    assert sorted(done) == [0, 1, 2, 3, 4]


def test_tasks_of_a_pool_may_use_that_pool():
    done = []
    with ThreadPoolExecutor(2) as pool:
        outer = [
            pool.submit(run_all, [lambda i=i: done.append(i) for i in range(20)], pool)
            for _ in range(8)
        ]
        for task in outer:
            task.result(timeout=60)
    assert sorted(done) == sorted(list(range(20)) * 8)


def test_an_error_is_raised_when_nothing_runs_any_more():
    running = []

    def task(number):
        running.append(number)
        try:
            if number == 3:
                raise ValueError(number)
        finally:
            running.remove(number)

    with ThreadPoolExecutor(4) as pool:
        for executor in (None, pool):
            for _ in range(30):
                with pytest.raises(ValueError, match="3"):
                    run_all([lambda i=i: task(i) for i in range(20)], executor)
                assert not running


def test_a_pool_that_is_shut_down_leaves_all_to_the_caller():
    pool = ThreadPoolExecutor(2)
    pool.shutdown()
    done = []
    run_all([lambda i=i: done.append(i) for i in range(5)], pool)
    assert done == [0, 1, 2, 3, 4]
