"""Records: the layout byte by byte, exact numbers, text."""

from __future__ import annotations

import decimal
import re
import struct
from decimal import Decimal

import numpy as np
import pytest

import data_manager_client as dm
from data_manager_client import subjects
from data_manager_client.text import CSV_HEADER, csv_line, json_line

TRADE = struct.pack("<QQQqQIBBBB", 11, 12, 13, -1234500, 2**64 - 1, 99, 4, 18, 1 | 4 | 64, 1)
GAP = struct.pack("<QQQQQIBBBB", 5, 6, 10, 12, 3, 99, 1, 2, 8, 2)


def test_offsets_are_the_contract_s() -> None:
    def offsets(dtype: np.dtype[np.void]) -> list[tuple[str, int, str]]:
        assert dtype.fields is not None
        return [(name, int(field[1]), field[0].str) for name, field in dtype.fields.items()]

    assert offsets(dm.TRADE_DTYPE) == [
        ("ts_event", 0, "<u8"),
        ("ts_recv", 8, "<u8"),
        ("trade_id", 16, "<u8"),
        ("price", 24, "<i8"),
        ("size", 32, "<u8"),
        ("instrument_id", 40, "<u4"),
        ("price_scale", 44, "|u1"),
        ("size_scale", 45, "|u1"),
        ("flags", 46, "|u1"),
        ("kind", 47, "|u1"),
    ]
    assert offsets(dm.GAP_DTYPE) == [
        ("ts_start", 0, "<u8"),
        ("ts_end", 8, "<u8"),
        ("first_id", 16, "<u8"),
        ("last_id", 24, "<u8"),
        ("missing", 32, "<u8"),
        ("instrument_id", 40, "<u4"),
        ("strength", 44, "|u1"),
        ("reason", 45, "|u1"),
        ("flags", 46, "|u1"),
        ("kind", 47, "|u1"),
    ]
    assert dm.TRADE_DTYPE.itemsize == dm.GAP_DTYPE.itemsize == 48


def test_a_trade_is_read_exactly_whatever_the_decimal_context() -> None:
    with decimal.localcontext() as context:
        context.prec = 3
        (trade,) = dm.decode(dm.from_bytes(TRADE), "okx", "BTCUSDT")
    assert isinstance(trade, dm.Trade)
    assert trade.price == Decimal("-123.45") and str(trade.size) == "18.446744073709551615"
    assert (trade.ts_event, trade.ts_recv, trade.trade_id, trade.instrument_id) == (11, 12, 13, 99)
    assert trade.side is dm.Side.BUY and trade.flags == dm.Flags.HASHED_ID | dm.Flags.AFTER_GAP


def test_a_gap_is_read_and_reserved_values_are_no_error() -> None:
    (gap,) = dm.decode(dm.from_bytes(GAP), "okx", lambda number: f"#{number}")
    assert isinstance(gap, dm.Gap)
    assert (gap.symbol, gap.ts_start, gap.ts_end, gap.first_id, gap.last_id, gap.missing) == ("#99", 5, 6, 10, 12, 3)
    assert (gap.strength, gap.reason, gap.flags) == (dm.GapStrength.PROVED, dm.GapReason.STALL, dm.Flags.BACKFILLED)
    strange = GAP[:44] + bytes((200, 0, 0, 2)) + TRADE[:46] + bytes((3, 1)) + TRADE[:47] + b"\x09"
    gap, trade, unknown = dm.decode(dm.from_bytes(strange), "okx", "X")
    assert isinstance(gap, dm.Gap) and gap.strength is dm.GapStrength.UNKNOWN
    assert gap.reason is dm.GapReason.UNKNOWN
    assert isinstance(trade, dm.Trade) and trade.side is dm.Side.NONE
    assert isinstance(unknown, dm.Unknown) and unknown.kind == 9 and unknown.raw == TRADE[:47] + b"\x09"


def test_records_are_split_by_kind_and_arrays_become_numbers() -> None:
    records = dm.from_bytes(TRADE + GAP + TRADE[:47] + b"\x09" + TRADE)
    trades, gaps = dm.split(records)
    assert trades.tobytes() == TRADE * 2 and gaps.tobytes() == GAP
    assert gaps["missing"].tolist() == [3] and gaps.dtype == dm.GAP_DTYPE
    assert dm.prices(trades) == [Decimal("-123.45")] * 2
    assert dm.sizes(trades) == [Decimal("18.446744073709551615")] * 2
    assert dm.prices_float(trades).tolist() == [-123.45, -123.45]
    assert dm.sizes_float(trades).tolist() == [18.446744073709551615] * 2


def test_every_price_of_53_bits_is_the_nearest_float() -> None:
    random = np.random.default_rng(1)
    trades = np.zeros(2_000, dm.TRADE_DTYPE)
    trades["price"] = random.integers(-(2**53), 2**53, len(trades))
    trades["price_scale"] = random.integers(0, 19, len(trades))
    assert dm.prices_float(trades).tolist() == [float(price) for price in dm.prices(trades)]


def test_lines_are_those_of_the_command() -> None:
    (trade,) = dm.decode(dm.from_bytes(TRADE), "okx", "BTCUSDT")
    (gap,) = dm.decode(dm.from_bytes(GAP), "okx", "BTCUSDT")
    assert json_line(trade) == (
        '{"exchange":"okx","symbol":"BTCUSDT","price":"-123.4500","size":"18.446744073709551615","side":"buy",'
        '"ts_event":11,"ts_recv":12,"trade_id":"13","flags":["hashed_id","after_gap"]}'
    )
    assert json_line(gap) == (
        '{"exchange":"okx","symbol":"BTCUSDT","gap":{"ts_start":5,"ts_end":6,"first_id":"10","last_id":"12",'
        '"missing":3,"strength":"proved","reason":"stall","flags":["backfilled"]}}'
    )
    assert csv_line(trade) == "okx,BTCUSDT,-123.4500,18.446744073709551615,buy,11,13,hashed_id after_gap,12"
    assert csv_line(gap) == "okx,BTCUSDT,12,3,gap,5,10,stall proved backfilled,6"
    assert CSV_HEADER.count(",") == csv_line(trade).count(",") == csv_line(gap).count(",")
    tiny = struct.pack("<QQQqQIBBBB", 0, 0, 0, 92, 0, 1, 8, 0, 0, 1)
    (trade,) = dm.decode(dm.from_bytes(tiny), "okx", "X")
    assert '"price":"0.00000092","size":"0","side":"none"' in json_line(trade)


@pytest.mark.parametrize("text", ["BTCUSDT", "BTCUSDT-SWAP", "A.B", "a b/c%", "Ünïcode", "*", ">", "", "%2", "%zz"])
def test_tokens_go_both_ways(text: str) -> None:
    token = subjects.token(text)
    assert re.fullmatch(r"([A-Za-z0-9_-]|%[0-9A-F]{2})*", token)
    assert subjects.untoken(token) == text


def test_foreign_subjects_are_told() -> None:
    assert subjects.parse("market", "market.binance.A%2EB.gaps") == ("binance", "A.B", "gaps")
    for name in ("market.binance.X", "market.binance.X.books", "market.a.b.c.trades", "other.a.b.trades", "market"):
        assert subjects.parse("market", name) is None
    for broken in ("%", "%2", "%zz", "%FF", "a%"):
        assert subjects.untoken(broken) is None
    assert subjects.filters("m", [], ["A.B", "A.B"], ["trades"]) == ["m.*.A%2EB.trades"]
