"""Point one imported function of a shared library somewhere else: the way of plthook and xhook, for ELF on 64-bit Linux.

A library calls a function of another one through a slot that the dynamic linker fills. `dlopen` of glibc and musl returns a pointer
to `struct link_map` (link.h), from which the dynamic section, its relocations and so the slot are found.
"""

import ctypes
import importlib.util
import mmap
from collections.abc import Iterator
from pathlib import Path

STRING_TABLE, SYMBOL_TABLE, JUMP_RELOCATIONS, JUMP_BYTES, RELOCATIONS, RELOCATION_BYTES = 5, 6, 23, 2, 7, 8
SYMBOL_SIZE, RELOCATION_SIZE = 24, 24
READ_WRITE = 1 | 2
LAZY = 1


class LinkMap(ctypes.Structure):
    """The head of glibc's and musl's `struct link_map`."""

    _fields_ = (("base", ctypes.c_uint64), ("name", ctypes.c_char_p), ("dynamic", ctypes.c_uint64))


def point_import_at(package: str, library: str, symbol: str, address: int) -> bool:
    """Make `library` inside the installed `package` call `address` for `symbol`. Loads the library; False where it has no such slot."""
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / library
        if path.is_file():
            return _rebind(path, symbol, address)
    return False


def _rebind(path: Path, symbol: str, address: int) -> bool:
    link = open_link_map(path)
    if link is None:
        return False
    tables = dict(dynamic_entries(link.dynamic))
    slots = [slot for name, slot in imports(tables, link.base) if name == symbol.encode()]
    for slot in slots:
        page = slot - slot % mmap.PAGESIZE
        if ctypes.CDLL(None)["mprotect"](ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), READ_WRITE) != 0:
            return False
        ctypes.c_uint64.from_address(slot).value = address
    return bool(slots)


def open_link_map(path: Path) -> LinkMap | None:
    """Load the library, or take it if it is loaded; None if it cannot be."""
    dlopen = ctypes.CDLL(None)["dlopen"]
    dlopen.restype = ctypes.c_void_p
    handle = dlopen(str(path).encode(), LAZY)
    return LinkMap.from_address(handle) if handle else None


def dynamic_entries(start: int) -> Iterator[tuple[int, int]]:
    """(tag, value) pairs up to the null entry."""
    while tag := ctypes.c_int64.from_address(start).value:
        yield tag, ctypes.c_uint64.from_address(start + 8).value
        start += 16


def imports(tables: dict[int, int], base: int) -> Iterator[tuple[bytes, int]]:
    """(symbol, address of its slot) for every relocation that names a symbol."""
    for table, size in ((JUMP_RELOCATIONS, JUMP_BYTES), (RELOCATIONS, RELOCATION_BYTES)):
        for offset in range(0, tables.get(size, 0), RELOCATION_SIZE):
            entry = tables[table] + offset
            index = ctypes.c_uint64.from_address(entry + 8).value >> 32
            if index:
                name = ctypes.c_uint32.from_address(tables[SYMBOL_TABLE] + index * SYMBOL_SIZE).value
                yield ctypes.string_at(tables[STRING_TABLE] + name), base + ctypes.c_uint64.from_address(entry).value
