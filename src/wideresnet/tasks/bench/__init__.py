"""Benchmarks: contestants that take turns in one run, the machine's own limit beside them"""
