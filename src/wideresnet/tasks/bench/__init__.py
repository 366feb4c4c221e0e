"""Benchmarks: candidates measured in turns in one run, beside the peak of the machine."""
