from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from deker_cluster.errors import DekerIntegrityError
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.tilefile.reader import read_region
from deker_cluster.tilefile.writer import encode_tile


@pytest.fixture
def paths(tmp_path):
    found = []
    for number in range(6):
        data = np.full((8, 8), number, "<u4")
        image = encode_tile(data, chunk_shape=(4, 4), filters=(), meta={})
        path = tmp_path / f"{number}.h5"
        path.write_bytes(b"".join(bytes(buffer) for _, buffer in image.segments))
        found.append(path)
    return found


def value(file):
    out = np.empty((8, 8), "<u4")
    read_region(file.index, file, (slice(0, 8),) * 2, out)
    assert (out == out[0, 0]).all()
    return int(out[0, 0])


def open_fds():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_file_is_opened_once(paths):
    cache = TileCache()
    with cache.pinned(paths[0]) as first:
        pass
    with cache.pinned(str(paths[0])) as second:
        assert second is first
    cache.close()


def test_the_number_of_open_files_is_bounded_and_the_oldest_go_first(paths):
    before = open_fds()
    cache = TileCache(capacity=2)
    for number in (0, 1, 0, 2):
        with cache.pinned(paths[number]) as file:
            assert value(file) == number
    assert len(cache) == 2
    assert open_fds() == before + 2
    with cache.pinned(paths[0]) as kept:
        pass
    with cache.pinned(paths[2]), cache.pinned(paths[0]) as again:
        assert again is kept
    cache.close()
    assert open_fds() == before


def test_a_pinned_file_stays_open_until_it_is_let_go(paths):
    before = open_fds()
    cache = TileCache(capacity=1)
    with cache.pinned(paths[0]) as file:
        for other in paths[1:]:
            with cache.pinned(other):
                pass
        cache.drop(paths[0])
        cache.close()
        paths[0].unlink()
        assert value(file) == 0
    with pytest.raises(OSError, match="descriptor"):
        value(file)
    assert open_fds() == before


def test_a_dropped_file_is_opened_anew(paths):
    cache = TileCache()
    with cache.pinned(paths[0]):
        pass
    paths[3].replace(paths[0])
    with cache.pinned(paths[0]) as file:
        assert value(file) == 0
    cache.drop(paths[0])
    with cache.pinned(paths[0]) as file:
        assert value(file) == 3
    cache.drop("not there")
    cache.close()


def test_a_file_that_does_not_open_leaves_nothing_behind(paths):
    before = open_fds()
    cache = TileCache()
    paths[0].write_bytes(b"junk")
    paths[1].unlink()
    with pytest.raises(DekerIntegrityError), cache.pinned(paths[0]):
        pass
    with pytest.raises(FileNotFoundError), cache.pinned(paths[1]):
        pass
    assert len(cache) == 0
    assert open_fds() == before


def test_threads_share_a_small_cache(paths):
    before = open_fds()
    cache = TileCache(capacity=2)
    wrong = []

    def work(seed):
        for number in np.random.default_rng(seed).integers(0, 6, 300).tolist():
            try:
                with cache.pinned(paths[number]) as file:
                    if value(file) != number:
                        wrong.append(number)
            except Exception as error:  # noqa: BLE001 - the main thread reports it
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert open_fds() == before + 2
    cache.close()
    assert open_fds() == before


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_the_lock_is_held_does_not_lock_up_the_child(paths):
    cache = TileCache()
    with cache.pinned(paths[2]):
        pass
    with cache._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(30)  # a child that is stuck does not outlive the test
            with cache.pinned(paths[2]) as file:
                os._exit(value(file))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    cache.close()
