"""The suite: the same work by this package, by its peers and by plain means, in turns.

``python -m benchmarks.suite --size quick`` runs it; ``docs/benchmarks.md`` says what it measures.
"""
