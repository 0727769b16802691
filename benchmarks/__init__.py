"""Measurements of speed and quality, run by `scripts/bench`.

Owns: comparisons with other programs on the same machine in the same run. Does not own: the product, tests.
Start reading at `cpu.py`.
"""
