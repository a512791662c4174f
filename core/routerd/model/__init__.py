"""Immutable values, one noun per module. No I/O, and no default from the host."""
