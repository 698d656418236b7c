"""The pure core: numbers in, numbers out. No I/O, no clock, no processes.

Everything here can be tested without a server, and imports nothing heavier than NumPy.
"""
