"""Measured speed, as ratios to what the work cannot do without: `python -m benchmarks [topic ...]`, or `make bench`.

A topic is a module with `rows(quick)` that yields one `Row` a number. Times are CPU seconds of one thread, taken in
turns with the reference in one run, so that other programs on the machine disturb both sides alike.
"""
