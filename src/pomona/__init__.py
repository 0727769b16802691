"""Pomona: run, tune, shrink, ground and watch open models on your own machines.

Owns the version. Does not import anything heavy: `import pomona` is instant. Start reading at `pomona.app`.
"""

__version__ = "0.1.0"
