"""Immutable values, one noun per module. No I/O, no defaults taken from the host."""
