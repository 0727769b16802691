"""The laws hold token for token where float32 is float32: on the CPU, whatever else the machine has."""

from tests.golden.conftest import on_the_cpu

__all__ = ["on_the_cpu"]
