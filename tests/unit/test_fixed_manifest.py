from __future__ import annotations

import pickle
import random

import numpy as np
import pytest

from deker_cluster.core.fixed_manifest import FixedManifest


@pytest.mark.parametrize("seed", range(5))
def test_it_is_a_dict(seed: int) -> None:
    chance = random.Random(seed)
    entries = {
        chance.randrange(1 << chance.randint(1, 52)): chance.randbytes(chance.randint(1, 40))
        for _ in range(chance.randint(1, 300))
    }
    manifest = FixedManifest(entries)
    assert len(manifest) == len(entries)
    assert manifest.as_dict() == entries
    near = {ordinal + step for ordinal in entries for step in (-1, 0, 1) if ordinal + step >= 0}
    for ordinal in near:
        assert manifest.look_up(np.array([ordinal])) == [entries.get(ordinal)]
    wanted = np.array(sorted(near))
    assert manifest.look_up(wanted) == [entries.get(ordinal) for ordinal in wanted.tolist()]
    again = pickle.loads(pickle.dumps(manifest))  # noqa: S301
    assert again.as_dict() == entries


def test_nothing_is_in_an_empty_one() -> None:
    manifest = FixedManifest({})
    assert len(manifest) == 0
    assert manifest.as_dict() == {}
    assert manifest.look_up(np.array([0, 5])) == [None, None]
    assert manifest.look_up(np.array([3])) == [None]
    assert manifest.look_up(np.array([], np.int64)) == []
