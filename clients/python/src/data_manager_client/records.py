"""The two wire records, trades and gaps, as numpy dtypes and as plain Python values.

A record is 48 bytes, little-endian, without padding, and the same in the ring and in the stream. An array of records
has :data:`TRADE_DTYPE` as long as nobody has looked at ``kind``; :func:`split` tells trades and gaps apart.

Prices and sizes are a mantissa and a scale: ``price × 10^-price_scale``. As :class:`~decimal.Decimal` they are exact,
every digit that the venue sent; as float64 they are the nearest binary number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import IntEnum, IntFlag
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Records: TypeAlias = npt.NDArray[np.void]
"""A one-dimensional structured array of records."""

RECORD_BYTES = 48
KIND_TRADE = 1
KIND_GAP = 2


def _dtype(*fields: tuple[str, str, int]) -> np.dtype[np.void]:
    names, formats, offsets = zip(*fields, strict=True)
    dtype: np.dtype[np.void] = np.dtype(
        {"names": list(names), "formats": list(formats), "offsets": list(offsets), "itemsize": RECORD_BYTES}
    )
    return dtype


TRADE_DTYPE = _dtype(
    ("ts_event", "<u8", 0),
    ("ts_recv", "<u8", 8),
    ("trade_id", "<u8", 16),
    ("price", "<i8", 24),
    ("size", "<u8", 32),
    ("instrument_id", "<u4", 40),
    ("price_scale", "u1", 44),
    ("size_scale", "u1", 45),
    ("flags", "u1", 46),
    ("kind", "u1", 47),
)
"""A trade. Times are nanoseconds since the Unix epoch."""

GAP_DTYPE = _dtype(
    ("ts_start", "<u8", 0),
    ("ts_end", "<u8", 8),
    ("first_id", "<u8", 16),
    ("last_id", "<u8", 24),
    ("missing", "<u8", 32),
    ("instrument_id", "<u4", 40),
    ("strength", "u1", 44),
    ("reason", "u1", 45),
    ("flags", "u1", 46),
    ("kind", "u1", 47),
)
"""A declared loss. Ids and the number of missing trades are 0 where they are unknown."""

# A contract with the writer; the tests hold the offsets too.
assert TRADE_DTYPE.itemsize == GAP_DTYPE.itemsize == RECORD_BYTES


class Side(IntEnum):
    """The aggressor side: who took liquidity."""

    NONE = 0
    BUY = 1
    SELL = 2


class Flags(IntFlag):
    """The bits of ``flags`` above the aggressor side."""

    HASHED_ID = 1 << 2
    """The id is a hash of the venue's textual id."""
    BACKFILLED = 1 << 3
    """The trade came late, from the venue's history; of a gap: it has been filled since."""
    SNAPSHOT = 1 << 4
    """History that the venue sent at subscribe."""
    AGGREGATED = 1 << 5
    """One row for several fills."""
    AFTER_GAP = 1 << 6
    """Trades right before this one are missing, so far."""
    SPECIAL = 1 << 7
    """Block trade, liquidation, deleveraging, settlement: not an ordinary match."""


class GapStrength(IntEnum):
    """How sure it is that trades are missing."""

    UNKNOWN = 0
    PROVED = 1
    """The venue's own ids prove it."""
    FRAMES_LOST = 2
    """Frames were lost on a connection."""
    POSSIBLE = 3
    """A disconnect on a venue that gives no signal."""

    @classmethod
    def _missing_(cls, value: object) -> GapStrength:
        return cls.UNKNOWN


class GapReason(IntEnum):
    """Why trades are missing."""

    UNKNOWN = 0
    VENUE_DISCONNECT = 1
    STALL = 2
    OUTBOX_OVERFLOW = 3
    BROKER_LOST = 4
    UNDECODABLE_FRAME = 5

    @classmethod
    def _missing_(cls, value: object) -> GapReason:
        return cls.UNKNOWN


class Trade(NamedTuple):
    """One trade as the venue reported it."""

    exchange: str
    symbol: str
    price: Decimal
    size: Decimal
    side: Side
    ts_event: int
    """The venue's time, ns since the Unix epoch."""
    ts_recv: int
    """When the frame left the socket, ns since the Unix epoch."""
    trade_id: int
    flags: Flags
    instrument_id: int


class Gap(NamedTuple):
    """A declared loss: trades of one instrument that are missing."""

    exchange: str
    symbol: str
    ts_start: int
    ts_end: int
    first_id: int
    """First missing trade id, 0 unknown."""
    last_id: int
    """Last missing trade id, 0 unknown."""
    missing: int
    """How many trades are missing, 0 unknown."""
    strength: GapStrength
    reason: GapReason
    flags: Flags
    """:attr:`Flags.BACKFILLED`: the gap has been filled since."""
    instrument_id: int


class Unknown(NamedTuple):
    """A record of a kind that this version does not know; its writer is newer."""

    exchange: str
    symbol: str
    kind: int
    raw: bytes
    instrument_id: int


class Split(NamedTuple):
    """What :func:`split` returns."""

    trades: Records
    gaps: Records


Record: TypeAlias = Trade | Gap | Unknown
SymbolOf: TypeAlias = str | Callable[[int], str]

_SIDES = (Side.NONE, Side.BUY, Side.SELL, Side.NONE)  # The reserved value 3 reads as none.
_FLAGS = tuple(Flags(bits & ~3) for bits in range(256))
_POWERS = np.array([float(f"1e{scale}") for scale in range(256)])


def from_bytes(data: bytes) -> Records:
    """Records over ``data``, whose length must be a multiple of 48, without a copy."""
    return np.frombuffer(data, TRADE_DTYPE)


def split(records: Records) -> Split:
    """Trades (:data:`TRADE_DTYPE`) and gaps (:data:`GAP_DTYPE`), each in order.

    A record of any other kind is in neither of them; the lengths then add up to less than ``len(records)``.
    """
    kinds = records["kind"]
    return Split(records[kinds == KIND_TRADE], as_gaps(records[kinds == KIND_GAP]))


def as_gaps(records: Records) -> Records:
    """The same bytes with the names of a gap's fields."""
    return records.view(GAP_DTYPE)


def decimals(mantissas: npt.NDArray[Any], scales: npt.NDArray[Any]) -> list[Decimal]:
    """Exact decimals of mantissas and scales."""
    return [_decimal(mantissa, scale) for mantissa, scale in zip(mantissas.tolist(), scales.tolist(), strict=True)]


def prices(trades: Records) -> list[Decimal]:
    """Exact prices."""
    return decimals(trades["price"], trades["price_scale"])


def sizes(trades: Records) -> list[Decimal]:
    """Exact sizes, in the venue's own unit."""
    return decimals(trades["size"], trades["size_scale"])


def prices_float(trades: Records) -> npt.NDArray[np.float64]:
    """Prices as float64: for plots and statistics, NOT exact.

    The nearest binary number for mantissas below 2^53; larger ones are rounded twice. Compare and sum exact values
    with :func:`prices`.
    """
    result: npt.NDArray[np.float64] = trades["price"].astype(np.float64) / _POWERS[trades["price_scale"]]
    return result


def sizes_float(trades: Records) -> npt.NDArray[np.float64]:
    """Sizes as float64: for plots and statistics, NOT exact, as :func:`prices_float`."""
    result: npt.NDArray[np.float64] = trades["size"].astype(np.float64) / _POWERS[trades["size_scale"]]
    return result


def decode(records: Records, exchange: str, symbol: SymbolOf) -> Iterator[Record]:
    """Each record as :class:`Trade`, :class:`Gap` or :class:`Unknown`.

    ``symbol`` is the symbol of all of them, or a function that tells it of an instrument id.
    """
    symbol_of = symbol if callable(symbol) else _always(symbol)
    gaps = as_gaps(records)
    for at, row in enumerate(records.tolist()):
        kind = row[9]
        if kind == KIND_TRADE:
            yield _trade(row, exchange, symbol_of(row[5]))
        elif kind == KIND_GAP:
            yield _gap(gaps[at].item(), exchange, symbol_of(row[5]))
        else:
            yield Unknown(exchange, symbol_of(row[5]), kind, records[at].tobytes(), row[5])


def _always(symbol: str) -> Callable[[int], str]:
    return lambda _: symbol


def _trade(row: tuple[int, ...], exchange: str, symbol: str) -> Trade:
    ts_event, ts_recv, trade_id, price, size, instrument_id, price_scale, size_scale, flags, _ = row
    return Trade(
        exchange,
        symbol,
        _decimal(price, price_scale),
        _decimal(size, size_scale),
        _SIDES[flags & 3],
        ts_event,
        ts_recv,
        trade_id,
        _FLAGS[flags],
        instrument_id,
    )


def _gap(row: tuple[int, ...], exchange: str, symbol: str) -> Gap:
    ts_start, ts_end, first_id, last_id, missing, instrument_id, strength, reason, flags, _ = row
    return Gap(
        exchange,
        symbol,
        ts_start,
        ts_end,
        first_id,
        last_id,
        missing,
        GapStrength(strength),
        GapReason(reason),
        _FLAGS[flags],
        instrument_id,
    )


def _decimal(mantissa: int, scale: int) -> Decimal:
    # Made of text: exact whatever the precision of the caller's decimal context, which arithmetic would not be.
    return Decimal(f"{mantissa}E-{scale}")
