"""One module for each library that is measured: how its user would store and read an array.

They run in the environments of :mod:`benchmarks.suite.environments`, so each imports only its
library, the standard library, numpy, and :mod:`benchmarks.suite.data`.
"""
