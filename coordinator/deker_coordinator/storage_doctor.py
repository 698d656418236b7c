"""Look at one storage from outside: is all that it needs in reach, and well."""

from __future__ import annotations

import ipaddress
import shutil
import time
from typing import TYPE_CHECKING

from deker_cluster.errors import DekerBaseApplicationError, DekerClientError
from deker_cluster.registry.models import ShardState
from deker_cluster.registry.opening import open_registry
from deker_coordinator.doctor import Finding
from deker_coordinator.identity import FORMAT_VERSION
from deker_coordinator.local_ray import RayEndpoint
from deker_coordinator.survey import state_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deker_cluster.registry.client import Registry
    from deker_cluster.uri import Address

__all__ = ["storage_findings"]

_LEAST_FREE = 0.05
_LEAST_FREE_BYTES = 1 << 30
_CLOCK_S = 1.0
_SLOW_S = 0.05
_TRIES = 3


def storage_findings(address: Address) -> Iterator[Finding]:
    """Look at what a storage needs. Nothing is changed; an embedded registry is started."""
    if address.path is not None:
        yield from _directory(address.path)
    else:
        yield _login(address)
    try:
        registry, leave = open_registry(address)
    except (DekerBaseApplicationError, OSError) as error:
        yield Finding("registry", ok=False, found=str(error), advice=_reach_it(address))
        return
    try:
        yield from _registry(registry)
        yield from _cluster(address, registry)
    except (DekerBaseApplicationError, OSError) as error:
        yield Finding("registry", ok=False, found=str(error), advice=_reach_it(address))
    finally:
        registry.close()
        leave()


def _reach_it(address: Address) -> str:
    if address.path is not None:
        return f"see the logs in {address.path / 'registry'}"
    return "start the server there, open its port, and check name and password in the address"


def _directory(root: Path) -> Iterator[Finding]:
    usage = shutil.disk_usage(root)
    yield Finding(
        "free disk",
        _roomy(usage.free, usage.total),
        f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB are free in {root}",
        "delete what is not needed, or move the directory to a larger disk",
    )


def _roomy(free: float, total: float) -> bool:
    return free >= _LEAST_FREE_BYTES and free >= _LEAST_FREE * total


def _login(address: Address) -> Finding:
    open_to_all = address.password is None and not all(
        _is_loopback(host) for host, _ in address.endpoints
    )
    return Finding(
        "registry login",
        not open_to_all,
        "without a password" if address.password is None else "with a password",
        "give the server a password or an ACL file: whoever reaches its port can delete everything",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _registry(registry: Registry) -> Iterator[Finding]:
    server = registry.server_info()
    took_s, off_s = min(_asked_time(registry) for _ in range(_TRIES))
    yield Finding(
        "registry",
        took_s < _SLOW_S,
        f"{server.kind} {server.version} answers in {took_s * 1000:.2f} ms",
        "bring the server nearer, or look at what keeps it busy (SLOWLOG GET)",
    )
    yield Finding(
        "registry durability",
        not server.weaknesses,
        "; ".join(server.weaknesses) or "every acknowledged change is on its disk",
        "set that in the server's configuration: else acknowledged writes may be lost",
    )
    yield Finding(
        "clocks",
        off_s <= _CLOCK_S + took_s,
        f"this machine and the registry differ by {off_s:.2f} s",
        "let both follow NTP: times of generations are the registry's, filters by time are yours",
    )


def _asked_time(registry: Registry) -> tuple[float, float]:
    """Return how long the registry took to say what time it is, and how far that is from ours."""
    begun = time.time()
    theirs = registry.server_time_s()
    took_s = time.time() - begun
    return took_s, abs(theirs - (begun + took_s / 2))


def _cluster(address: Address, registry: Registry) -> Iterator[Finding]:
    cluster = registry.cluster()
    if cluster is None:
        advice = f"deker-cluster start {address} --data-dir DIR"
        if address.path is not None:
            advice = f"deker-cluster registry rebuild file://{address.path}"
        yield Finding("cluster", ok=False, found="the registry holds none", advice=advice)
        return
    yield Finding(
        "cluster",
        cluster.format <= FORMAT_VERSION,
        f"{cluster.id}, format {cluster.format}",
        "install a newer deker-cluster",
    )
    if address.path is None:
        yield _ray(str(cluster.settings.get("ray_address", "")))
        yield from _shards(registry)


def _ray(ray_address: str) -> Finding:
    try:
        reached = bool(ray_address) and RayEndpoint(ray_address).answers()
    except DekerClientError:
        reached = False
    return Finding(
        "Ray",
        reached,
        f"{ray_address or 'no address'} {'answers' if reached else 'does not answer'}",
        "start Ray there, or elsewhere, and then run deker-cluster start again",
    )


def _shards(registry: Registry) -> Iterator[Finding]:
    beats = registry.beats()
    for record in registry.shard_map().shards:
        state, beat = state_of(record), beats.get(record.number)
        if state == ShardState.LOST:
            continue
        name = f"shard {record.number} ({record.info.get('actor')})"
        heard = "never heard of" if beat is None else f"heard of {beat.age_s:.0f} s ago"
        yield Finding(
            name,
            state == ShardState.UP and beat is not None,
            f"{state}, {heard}",
            f"start Ray on its node ({record.info.get('node')}); see 'ray status'",
        )
        if beat is None or "free_bytes" not in beat.said:
            continue
        free, total = float(beat.said["free_bytes"]), float(beat.said["total_bytes"])
        yield Finding(
            f"disk of {name}",
            _roomy(free, total),
            f"{free / 1e9:.1f} GB of {total / 1e9:.1f} GB are free",
            "add nodes (deker-cluster join), or delete what is not needed",
        )
