"""Segments made by hand: a writer after the protocol, step by step, and headers with anything in them."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from data_manager_client.layout import HEADER_BYTES, MAGIC, SLOT_BYTES

SYMBOLS_MAX = 64
SLOTS = 2 * HEADER_BYTES
FIELDS = {
    "magic": ("8s", 0, MAGIC),
    "version": ("<I", 8, 1),
    "header_bytes": ("<I", 12, HEADER_BYTES),
    "slot_bytes": ("<I", 16, SLOT_BYTES),
    "record_bytes": ("<I", 20, 48),
    "capacity": ("<Q", 24, 64),
    "epoch": ("<Q", 32, 1_700_000_000_000_000_000),
    "pid": ("<I", 40, 4711),
    "record_kind": ("<I", 44, 1),
    "exchange": ("32s", 48, b"binance"),
    "symbol_table": ("<Q", 80, HEADER_BYTES),
    "symbols_max": ("<I", 88, SYMBOLS_MAX),
    "slots": ("<Q", 96, SLOTS),
    "head": ("<Q", 128, 0),
    "heartbeat": ("<Q", 192, 1),
    "state": ("<I", 200, 1),
    "symbols": ("<I", 256, 0),
}


def header(**changed: int | bytes) -> bytes:
    """A header's bytes; any field may be anything."""
    data = bytearray(HEADER_BYTES)
    for name, (form, at, value) in FIELDS.items():
        struct.pack_into(form, data, at, changed.get(name, value))
    return bytes(data)


def write(path: Path, capacity: int = 64, **changed: int | bytes) -> Path:
    """An empty segment as a file."""
    path.write_bytes(header(capacity=capacity, **changed) + bytes(SLOTS - HEADER_BYTES + capacity * SLOT_BYTES))
    return path


def record(number: int, kind: int = 1, instrument_id: int = 7) -> bytes:
    """A record that says of itself which one it is."""
    return struct.pack("<QQQqQIBBBB", number, number + 1, number, 3 * number, number, instrument_id, 2, 3, 1, kind)


class Writer:
    """The writing end, in steps that can be left out."""

    def __init__(self, path: Path, capacity: int = 64, **changed: int | bytes) -> None:
        self.path = write(path, capacity, **changed)
        self.capacity = capacity
        self.next = 0
        with self.path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def begin(self) -> None:
        self._put("<Q", self._slot(), 2 * self.next + 1)

    def commit(self, data: bytes | None = None) -> None:
        at = self._slot()
        self._map[at + 8 : at + 56] = record(self.next) if data is None else data
        self._put("<Q", at, 2 * self.next + 2)
        self.next += 1

    def push(self, count: int = 1, publish: bool = True) -> None:
        for _ in range(count):
            self.begin()
            self.commit()
        if publish:
            self.publish()

    def publish(self) -> None:
        self.set("head", self.next)

    def add_symbol(self, index: int, instrument_id: int, symbol: bytes) -> None:
        at = HEADER_BYTES + 64 * index
        self._map[at : at + 64] = struct.pack("<IB3x56s", instrument_id, len(symbol), symbol)
        self.set("symbols", index + 1)

    def set(self, field: str, value: int) -> None:
        form, at, _ = FIELDS[field]
        self._put(form, at, value)

    def _slot(self) -> int:
        return SLOTS + (self.next % self.capacity) * SLOT_BYTES

    def _put(self, form: str, at: int, value: int) -> None:
        struct.pack_into(form, self._map, at, value)
