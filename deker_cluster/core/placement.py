"""Which shards hold a tile: weighted rendezvous hashing over failure domains. Pure (no I/O).

Every shard draws a number for every tile, and the best numbers win (rendezvous hashing: Thaler
and Ravishankar 1998; weights: Schindelhauer and Schomaker, "Weighted distributed hash tables",
SPAA 2005, logarithmic method). No table has to be kept, a shard's share follows its weight, and
when a shard comes or goes only tiles that it wins or held move.

The draws are persistent: where a tile lives is stored, but changing a draw would make a
rebalancer move everything. They are pinned by tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from deker_cluster.core.ids import mix64
from deker_cluster.errors import DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["ShardTarget", "rank"]

_MAX_NUMBER = 0xFFFF
"""Shard numbers are stored in 16 bits."""
_MAX_KEY = 2**64 - 1
_MAX_WEIGHT = 2.0**64
"""Keeps scores finite, and a weight in bytes of capacity fits."""
_BLOCK_CELLS = 1 << 18
"""Tiles times shards scored at once: a block's scores stay in the processor's cache."""


@attrs.frozen
class ShardTarget:
    """A shard as placement sees it.

    Raises
    ------
    DekerValidationError
        A number is out of its range.
    """

    number: int
    """Number of the shard in its cluster, 0 to 65535."""
    key: int
    """64-bit key made from the shard's UUID; it decides the draws."""
    weight: float
    """Share of the tiles, relative to the other shards; 0: takes no tiles."""
    domains: tuple[str, ...] = ()
    """Failure domains, the widest first, as zone, rack and node: copies of a tile avoid sharing
    them, the wider ones before the narrower. Of all shards as many."""

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.number <= _MAX_NUMBER:
            raise DekerValidationError(f"shard number {self.number} is not from 0 to 65535")
        if not 0 <= self.key <= _MAX_KEY:
            raise DekerValidationError(f"shard {self.number}: key {self.key} has not 64 bits")
        # NaN fails this comparison too.
        if not 0 <= self.weight <= _MAX_WEIGHT:
            raise DekerValidationError(
                f"shard {self.number}: weight {self.weight} is not from 0 to 2**64"
            )


def rank(
    array_key: int, ordinals: ArrayLike, shards: Sequence[ShardTarget], copies: int
) -> NDArray[np.int64]:
    """Choose the shards for tiles of one array.

    The first copy goes to the shard with the best score, each further one to the best of those
    shards that share the fewest failure domains with a copy: another zone if there is one left,
    else another rack, else another node, else another shard. The score of a shard is
    ``-weight / ln(u)`` with ``u`` drawn evenly from (0, 1) by hashing array, tile and shard.

    Parameters
    ----------
    array_key
        64-bit key of the array.
    ordinals
        Tile numbers, shape ``(n,)``, not negative.
    shards
        In any order: the answer does not depend on it. Those of weight 0 are passed over.
    copies
        Shards per tile, at least 1.

    Returns
    -------
    ndarray of int64
        Shard numbers, shape ``(n, copies)``, best first.

    Raises
    ------
    DekerValidationError
        More copies than shards of positive weight, two shards with the same number or key, or
        an argument out of its range.
    """
    tiles = _tile_numbers(ordinals)
    targets = _usable(shards)
    if not 0 <= array_key <= _MAX_KEY:
        raise DekerValidationError(f"array key {array_key} has not 64 bits")
    if not 1 <= copies <= len(targets):
        raise DekerValidationError(
            f"{copies} copies of each tile asked for, 1 to {len(targets)} are possible with "
            f"{len(targets)} shards of positive weight: add shards or ask for fewer copies"
        )
    numbers = np.array([target.number for target in targets], np.int64)
    keys = np.array([target.key for target in targets], np.uint64)
    weights = np.array([target.weight for target in targets], np.float64)
    domains = _numbered([target.domains for target in targets])
    seed = np.uint64(mix64(array_key))
    chosen = np.empty((len(tiles), copies), np.int64)
    block = max(1, _BLOCK_CELLS // len(targets))
    for begin in range(0, len(tiles), block):
        part = slice(begin, begin + block)
        draws = _mix(_mix(tiles[part] ^ seed)[:, np.newaxis] ^ keys)
        chosen[part] = numbers[_best(_scores(draws, weights), domains, copies)]
    return chosen


def _usable(shards: Sequence[ShardTarget]) -> list[ShardTarget]:
    """Return the shards that may take tiles, by number, so that equal scores have one winner."""
    for what, values in (
        ("number", [shard.number for shard in shards]),
        ("key", [shard.key for shard in shards]),
    ):
        if len(set(values)) != len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise DekerValidationError(f"two shards have the same {what} {twice}")
    return sorted((shard for shard in shards if shard.weight > 0), key=lambda shard: shard.number)


def _tile_numbers(ordinals: ArrayLike) -> NDArray[np.uint64]:
    tiles: NDArray[Any] = np.asarray(ordinals)
    if tiles.ndim != 1 or (tiles.size and tiles.dtype.kind not in "iu"):
        raise DekerValidationError(
            f"tile numbers must be a row of whole numbers, not {tiles.ndim} axes of {tiles.dtype}"
        )
    if tiles.size and tiles.min() < 0:
        raise DekerValidationError(f"negative tile number {tiles.min()}")
    return tiles.astype(np.uint64)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Do :func:`~deker_cluster.core.ids.mix64` to each value, in a new array."""
    z = values + np.uint64(0x9E37_79B9_7F4A_7C15)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58_476D_1CE4_E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D0_49BB_1331_11EB)
    z ^= z >> np.uint64(31)
    return z


def _scores(draws: NDArray[np.uint64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn 64-bit draws ``(tiles, shards)`` into scores, higher is better, never negative.

    The middle of one of 2**52 equal steps is taken for ``u``: exact in a double, so it is
    neither 0 nor 1, where the logarithm or the division would fail.
    """
    u = (draws >> np.uint64(12)).astype(np.float64)
    u += 0.5
    u *= 2.0**-52
    np.log(u, out=u)
    scores: NDArray[np.float64] = np.divide(-weights, u, out=u)
    return scores


def _numbered(domains: Sequence[tuple[str, ...]]) -> NDArray[np.intp]:
    """Return numbers of the domains, ``(levels, shards)``: those of a rack are its zone's too."""
    if len({len(each) for each in domains}) > 1:
        raise DekerValidationError(f"shards with different numbers of failure domains: {domains}")
    levels = range(1, len(domains[0]) + 1)
    numbers = [{each[:level]: i for i, each in enumerate(domains)} for level in levels]
    found = [[numbers[level - 1][each[:level]] for each in domains] for level in levels]
    return np.array(found, np.intp).reshape(len(levels), len(domains))


def _best(scores: NDArray[np.float64], domains: NDArray[np.intp], copies: int) -> NDArray[np.intp]:
    """Return the columns of the chosen shards, ``(tiles, copies)``. Scribbles on ``scores``."""
    rows = np.arange(len(scores))
    best = np.empty((len(scores), copies), np.intp)
    # With how many domains of its own, at most, each shard is where a copy is: 0 is another zone.
    shared = np.zeros(scores.shape, np.int16)
    taken = len(domains) + 1
    for copy in range(copies):
        if copy and len(domains):
            fewest = shared.min(axis=1, keepdims=True)
            column = np.where(shared == fewest, scores, -1.0).argmax(axis=1)
        else:
            column = scores.argmax(axis=1)
        best[:, copy] = column
        if copy + 1 == copies:
            break
        for level, numbers in enumerate(domains, 1):
            same = numbers[column][:, np.newaxis] == numbers
            np.maximum(shared, np.int16(level), out=shared, where=same)
        shared[rows, column] = taken
        scores[rows, column] = -1.0
    return best
