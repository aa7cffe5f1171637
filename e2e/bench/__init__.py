"""Benchmarks: each prints a table, and one last line of JSON with every figure."""
