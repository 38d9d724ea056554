"""Benchmarks: each module is a command that prints a table and writes `bench/out/NAME.json`."""
