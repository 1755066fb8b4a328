"""The ring's segment byte by byte, version 1: offsets, sizes, and the header as data.

It opens no file and maps nothing; what it says about bytes, it says about any bytes, hostile ones included.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from .errors import BadHeader, NotARing, RingError, Truncated, WrongVersion
from .records import TRADE_DTYPE

MAGIC = b"DMRING\0\x01"
VERSION = 1
HEADER_BYTES = 4096
SLOT_BYTES = 64
SLOT_WORDS = SLOT_BYTES // 8
RECORD_BYTES = 48
RECORD_KIND = 1
EXCHANGE_BYTES_MAX = 32
CAPACITY_MIN = 64
CAPACITY_MAX = 1 << 30
SYMBOL_ENTRY_BYTES = 64
SYMBOL_BYTES_MAX = 56
SYMBOLS_MAX = 1 << 20

AT_HEAD = 128
AT_HEARTBEAT = 192
AT_STATE = 200
AT_SYMBOLS = 256

STATE_CLOSED = 2

SLOT_DTYPE: np.dtype[np.void] = np.dtype(
    {"names": ["seq", "record"], "formats": ["<u8", TRADE_DTYPE], "offsets": [0, 8], "itemsize": SLOT_BYTES}
)
"""A slot: its sequence, the record, 8 spare bytes. One cache line."""

# Everything up to the slots' offset: magic, version, sizes, capacity, epoch, pid, kind, exchange, table, slots.
_HEADER = struct.Struct("<8s4I2Q2I32sQI4xQ")


@dataclass(frozen=True)
class Header:
    """The part of the header that never changes while an epoch lasts."""

    capacity: int
    """Slots, a power of two."""
    epoch: int
    """When the writer began, ns since the Unix epoch; another number means another writer."""
    pid: int
    """The writer's process id, as its own pid namespace counts."""
    exchange: str
    symbol_table: int
    symbols_max: int
    slots: int
    """Offset of the slots."""

    @property
    def segment_bytes(self) -> int:
        """Bytes of the whole segment."""
        return self.slots + self.capacity * SLOT_BYTES


def decode_header(data: bytes, file_bytes: int, path: str) -> Header:
    """Reads a header and holds it against the length of the file that it came from.

    Afterwards every offset that follows from it lies inside the first :attr:`Header.segment_bytes` bytes, and the
    file has them. ``path`` is for the errors' texts.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise NotARing(f"{path} is no data-manager ring: its first bytes are {data[:8].hex(' ') or 'missing'}")
    if file_bytes < HEADER_BYTES or len(data) < HEADER_BYTES:
        raise Truncated(
            f"{path} has only {file_bytes} bytes, where a header alone has {HEADER_BYTES}: restart its writer"
        )
    fields = _HEADER.unpack_from(data)
    _, version, header_bytes, slot_bytes, record_bytes, capacity, epoch, pid, kind, name, table, entries, slots = fields
    if version != VERSION:
        raise WrongVersion(
            f"{path} has layout version {version}, this client reads version {VERSION}: "
            "run a client of the writer's release"
        )
    for field, found, expected in (
        ("header_bytes", header_bytes, HEADER_BYTES),
        ("slot_bytes", slot_bytes, SLOT_BYTES),
        ("record_bytes", record_bytes, RECORD_BYTES),
        ("record_kind", kind, RECORD_KIND),
    ):
        if found != expected:
            raise _bad(path, field, found, str(expected))
    header = Header(capacity, epoch, pid, _exchange(name, path), table, entries, slots)
    _check(header, path)
    if file_bytes < header.segment_bytes:
        raise truncated(path, header.segment_bytes, file_bytes)
    return header


def truncated(path: str, declared: int, found: int) -> Truncated:
    """The error of a file that ends before its segment does."""
    return Truncated(
        f"{path} is truncated: its header declares {declared} bytes, the file has {found}: "
        "restart its writer, then open it anew"
    )


def _check(header: Header, path: str) -> None:
    """Bounds everything, so that no later offset leaves the segment."""
    capacity = header.capacity
    if not CAPACITY_MIN <= capacity <= CAPACITY_MAX or capacity & (capacity - 1):
        raise _bad(path, "capacity", capacity, "a power of two, 64..=2^30")
    if not 1 <= header.symbols_max <= SYMBOLS_MAX:
        raise _bad(path, "symbols_max", header.symbols_max, "1..=2^20")
    if not header.exchange:
        raise _bad(path, "exchange length", 0, "1..=32 bytes")
    if header.symbol_table < HEADER_BYTES or header.symbol_table % SYMBOL_ENTRY_BYTES:
        raise _bad(path, "symbol_table", header.symbol_table, "a multiple of 64 behind the header")
    table_end = header.symbol_table + header.symbols_max * SYMBOL_ENTRY_BYTES
    if table_end > header.slots or header.slots > 1 << 32 or header.slots % SLOT_BYTES:
        raise _bad(path, "slots", header.slots, "a multiple of 64 behind the symbol table, at most 2^32")


def _exchange(field: bytes, path: str) -> str:
    try:
        return field.split(b"\0", 1)[0].decode()
    except UnicodeDecodeError:
        raise BadHeader(f"{path}: the exchange name in the header is no UTF-8 text: {_CURE}") from None


def _bad(path: str, field: str, found: int, expected: str) -> RingError:
    return BadHeader(f"{path}: header field {field} is {found}, expected {expected}: {_CURE}")


_CURE = "the file is damaged or not of a data-manager; restart its writer, which replaces it"
