"""Run ``python -m deker_coordinator.cli``."""

from __future__ import annotations

from deker_coordinator.cli import main

if __name__ == "__main__":
    main(prog_name="deker-cluster")
