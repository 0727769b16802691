"""The laws hold token for token where float32 is float32: on the CPU, whatever else the machine has."""

import sys

from tests.golden.conftest import on_the_cpu

__all__ = ["on_the_cpu"]
collect_ignore = [] if sys.platform == "linux" else ["test_cpu_kernels.py"]  # C functions stand under MLX there alone
