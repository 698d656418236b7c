"""Wait until storage nodes have joined Ray, then run a command in place of this one.

    python wait_for_nodes.py 3 deker-cluster start --data-dir /data

Started too early, `deker-cluster start` would serve the shards of those nodes only that are there.
"""

# ruff: noqa: INP001 - a script, copied into the image

from __future__ import annotations

import os
import sys
import time

LABEL = "deker.io/node"
DEADLINE_S = 600.0


def main(wanted: int, command: list[str]) -> None:
    """Wait for `wanted` labelled nodes, and give up with a message that says who is there."""
    import ray

    ray.init(address="auto", logging_level="ERROR")
    give_up = time.monotonic() + DEADLINE_S
    while len(here := _storage_nodes()) < wanted:
        if time.monotonic() > give_up:
            sys.exit(
                f"error: {wanted} nodes with the label {LABEL} should be there, after "
                f"{DEADLINE_S:g} s these are: {', '.join(here) or 'none'}"
            )
        time.sleep(1)
    ray.shutdown()
    os.execvp(command[0], command)  # noqa: S606 - the caller's own command


def _storage_nodes() -> list[str]:
    import ray

    return sorted(
        {
            node["Labels"][LABEL]
            for node in ray.nodes()
            if node["Alive"] and LABEL in node.get("Labels", {})
        }
    )


if __name__ == "__main__":
    if len(sys.argv) < 3 or not sys.argv[1].isdigit():
        sys.exit("usage: wait_for_nodes.py NUMBER COMMAND [ARGUMENT ...]")
    main(int(sys.argv[1]), sys.argv[2:])
