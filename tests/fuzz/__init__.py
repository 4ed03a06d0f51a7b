"""A fuzzer: calls of everything that is public with one argument changed, and what became of them. ``python -m tests.fuzz --help``."""
