"""How a record looks on a line: JSON and CSV, as ``data-manager tail`` prints them."""

from __future__ import annotations

import json
from decimal import Decimal

from .records import Flags, Gap, GapReason, GapStrength, Record, Side, Trade, Unknown

CSV_HEADER = "exchange,symbol,price,size,side,ts_event,trade_id,flags,ts_recv"

_FLAG_NAMES = tuple((flag, str(flag.name).lower()) for flag in Flags)
_SIDE_NAMES = {side: side.name.lower() for side in Side}


def plain(value: Decimal) -> str:
    """All digits and never an exponent: ``0.00000092``, ``-12.5``, ``30236``."""
    return format(value, "f")


def json_line(record: Record) -> str:
    """One object, without the line's end."""
    if isinstance(record, Trade):
        fields: dict[str, object] = {
            "exchange": record.exchange,
            "symbol": record.symbol,
            "price": plain(record.price),
            "size": plain(record.size),
            "side": _SIDE_NAMES[record.side],
            "ts_event": record.ts_event,
            "ts_recv": record.ts_recv,
            "trade_id": str(record.trade_id),
            "flags": _flags(record.flags),
        }
    elif isinstance(record, Gap):
        fields = {"exchange": record.exchange, "symbol": record.symbol, "gap": _gap(record)}
    else:
        raise ValueError(_unknown(record))
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def csv_line(record: Record) -> str:
    """A row under :data:`CSV_HEADER`, without the line's end.

    Of a gap the last id stands where a trade has its price, the number of missing trades where it has its size, and
    the end where it has its time of receipt; the side says ``gap``.
    """
    if isinstance(record, Trade):
        flags = " ".join(_flags(record.flags))
        price, size, side = plain(record.price), plain(record.size), _SIDE_NAMES[record.side]
        tail = f"{record.ts_event},{record.trade_id},{flags},{record.ts_recv}"
        return f"{record.exchange},{record.symbol},{price},{size},{side},{tail}"
    if isinstance(record, Gap):
        words = " ".join([_reason(record.reason), _strength(record.strength), *_flags(record.flags)])
        tail = f"{record.ts_start},{record.first_id},{words},{record.ts_end}"
        return f"{record.exchange},{record.symbol},{record.last_id},{record.missing},gap,{tail}"
    raise ValueError(_unknown(record))


def _gap(gap: Gap) -> dict[str, object]:
    return {
        "ts_start": gap.ts_start,
        "ts_end": gap.ts_end,
        "first_id": str(gap.first_id),
        "last_id": str(gap.last_id),
        "missing": gap.missing,
        "strength": _strength(gap.strength),
        "reason": _reason(gap.reason),
        "flags": _flags(gap.flags),
    }


def _flags(flags: Flags) -> list[str]:
    return [name for flag, name in _FLAG_NAMES if flags & flag] if flags else []


def _reason(reason: GapReason) -> str:
    return reason.name.lower()


def _strength(strength: GapStrength) -> str:
    return strength.name.lower()


def _unknown(record: Unknown) -> str:
    return f"record kind {record.kind} is unknown to this version (1 is a trade, 2 a gap)"
