"""Measurements: each module is a command, `python -m benchmarks.NAME`. Nothing here is asserted in a test."""
