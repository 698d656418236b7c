"""What every process of the chaos rows needs: imported once, in the server that forks them."""

import deker_cluster
import deker_cluster.client
import deker_coordinator.library
import tests.chaos.bodies  # noqa: F401

__all__ = ["deker_cluster", "deker_coordinator"]
