"""Packed blocks of GGUF to MLX's affine groups of 32.

Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K and Q5_K hold a scale and an offset for every 32 weights, which is MLX's affine form: their integers
are taken over as they are, and only scales and offsets are rounded to the type of the model. Formats with smaller groups (Q6_K, Q3_K,
Q2_K) or tables of values (IQ…) are unpacked and packed again with more bits. Layouts: llama.cpp, ggml/src/ggml-common.h.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

GROUP = 32
FOUR, FOUR_BITS = np.uint8(4), np.uint8(15)
Bytes = NDArray[np.uint8]


class Packed(NamedTuple):
    """A weight in MLX's affine form. `weight` is (…, inputs * bits / 32), uint32; `scales` and `biases` are (…, inputs / 32)."""

    weight: mx.array
    scales: mx.array
    biases: mx.array
    bits: int


class _Groups(NamedTuple):
    """Values are `scale * quant + offset`: (blocks, groups, 32), (blocks, groups), (blocks, groups)."""

    quants: Bytes
    scales: NDArray[np.float32]
    offsets: NDArray[np.float32]
    bits: int


def repack(data: NDArray[Any], kind: str, dtype: mx.Dtype) -> Packed | None:
    """`data` (…, bytes of a row) in MLX's form, without a change of its integers; None for formats that have no equal there."""
    layout = _LAYOUTS.get(kind)
    if layout is None:
        return None
    block_bytes, read = layout
    rows = data.shape[:-1]
    groups = read(np.ascontiguousarray(data).view(np.uint8).reshape(-1, block_bytes))
    scales, offsets = (mx.array(part.reshape(*rows, -1)).astype(dtype) for part in (groups.scales, groups.offsets))
    return Packed(mx.array(_pack(groups.quants, groups.bits).reshape(*rows, -1)), scales, offsets, groups.bits)


def bits_for(kind: str) -> int:
    """Bits to pack the values of another format with: two more than its own, as far as MLX has them."""
    own = {"Q2_K": 2, "Q3_K": 3, "Q6_K": 6, "IQ1_S": 2, "IQ1_M": 2, "IQ2_XXS": 2, "IQ2_XS": 2, "IQ2_S": 2, "IQ3_XXS": 3, "IQ3_S": 3}.get(
        kind, 4
    )
    return {2: 4, 3: 5, 4: 6, 6: 8}[own]


def _pack(quants: Bytes, bits: int) -> NDArray[np.uint32]:
    """(blocks, groups, 32) values as one stream of bits, the lowest first."""
    flat = quants.reshape(-1, GROUP)
    if bits == 8:
        return flat.view(np.uint32)
    if bits == 4:
        return (flat[:, 0::2] | (flat[:, 1::2] << 4)).astype(np.uint8).view(np.uint32)
    spread = np.unpackbits(flat[..., None], axis=-1, count=bits, bitorder="little")
    return np.packbits(spread.reshape(flat.shape[0], -1), axis=-1, bitorder="little").view(np.uint32)


def _half(blocks: Bytes, place: int) -> NDArray[np.float32]:
    """(blocks, 1): the 16-bit float at byte `place` of each block."""
    return blocks[:, place : place + 2].copy().view(np.float16).astype(np.float32)


def _nibbles(data: Bytes) -> Bytes:
    """(blocks, 16) bytes -> (blocks, 32): all low halves, then all high ones."""
    return np.concatenate([data & FOUR_BITS, data >> FOUR], axis=-1)


def _fifth_bits(blocks: Bytes, place: int) -> Bytes:
    return _shifted(np.unpackbits(blocks[:, place : place + 4], axis=-1, bitorder="little"))


def _shifted(bits: Bytes) -> Bytes:
    return bits << FOUR


def _q4_0(blocks: Bytes) -> _Groups:
    scale = _half(blocks, 0)
    return _Groups(_nibbles(blocks[:, 2:])[:, None], scale, -8 * scale, 4)


def _q4_1(blocks: Bytes) -> _Groups:
    return _Groups(_nibbles(blocks[:, 4:])[:, None], _half(blocks, 0), _half(blocks, 2), 4)


def _q5_0(blocks: Bytes) -> _Groups:
    scale = _half(blocks, 0)
    return _Groups((_nibbles(blocks[:, 6:]) | _fifth_bits(blocks, 2))[:, None], scale, -16 * scale, 5)


def _q5_1(blocks: Bytes) -> _Groups:
    return _Groups((_nibbles(blocks[:, 8:]) | _fifth_bits(blocks, 4))[:, None], _half(blocks, 0), _half(blocks, 2), 5)


def _q8_0(blocks: Bytes) -> _Groups:
    scale = _half(blocks, 0)
    return _Groups((blocks[:, 2:] ^ np.uint8(128))[:, None], scale, -128 * scale, 8)  # two's complement to offset 128


def _k_scales(blocks: Bytes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(blocks, 8) each: scale and offset of the eight groups of a K block, six bits each in twelve bytes."""
    packed = blocks[:, 4:16]
    low, middle, high = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([low & 63, (high & 15) | ((low >> 6) << 4)], axis=-1)
    offsets = np.concatenate([middle & 63, (high >> 4) | ((middle >> 6) << 4)], axis=-1)
    return _half(blocks, 0) * scales, -_half(blocks, 2) * offsets


def _k_nibbles(data: Bytes) -> Bytes:
    """(blocks, 128) bytes -> (blocks, 8, 32): 32 bytes hold the low halves of one group and the high ones of the next."""
    chunks = data.reshape(-1, 4, GROUP)
    return np.stack([chunks & FOUR_BITS, chunks >> FOUR], axis=2).reshape(-1, 8, GROUP)


def _q4_k(blocks: Bytes) -> _Groups:
    return _Groups(_k_nibbles(blocks[:, 16:]), *_k_scales(blocks), 4)


def _q5_k(blocks: Bytes) -> _Groups:
    fifth = np.unpackbits(blocks[:, 16:48, None], axis=-1, bitorder="little").transpose(0, 2, 1)  # bit g of byte i: group g, weight i
    return _Groups(_k_nibbles(blocks[:, 48:]) | _shifted(fifth), *_k_scales(blocks), 5)


_LAYOUTS: Mapping[str, tuple[int, Callable[[Bytes], _Groups]]] = {
    "Q4_0": (18, _q4_0),
    "Q4_1": (20, _q4_1),
    "Q5_0": (22, _q5_0),
    "Q5_1": (24, _q5_1),
    "Q8_0": (34, _q8_0),
    "Q4_K": (144, _q4_k),
    "Q5_K": (176, _q5_k),
}
"""Type -> (bytes of a block, reader)."""
