"""Benchmarks: `make bench`. They measure and print; they never judge."""
