"""How a registry and placement behave with many shards and tiles, without the shards.

``python -m benchmarks.scale`` runs it; ``docs/scaling.md`` says what follows from it.
"""
