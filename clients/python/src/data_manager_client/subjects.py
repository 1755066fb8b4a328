"""NATS subjects: ``{prefix}.{exchange}.{symbol}.trades`` and ``.gaps``.

In a token every byte outside ``A-Z a-z 0-9 _ -`` is written ``%XX``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

KINDS = ("trades", "gaps")

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_HEX = frozenset("0123456789abcdefABCDEF")


class Parts(NamedTuple):
    """The parts of a subject, decoded."""

    exchange: str
    symbol: str
    kind: str
    """``trades`` or ``gaps``."""


def token(text: str) -> str:
    """A text as one token of a subject."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in text.encode())


def untoken(text: str) -> str | None:
    """Reverses :func:`token`; ``None`` where the escape is broken or the bytes are no UTF-8."""
    first, *escapes = text.split("%")
    out = bytearray(first.encode())
    for escape in escapes:
        if len(escape) < 2 or not _HEX.issuperset(escape[:2]):
            return None
        out.append(int(escape[:2], 16))
        out += escape[2:].encode()
    try:
        return out.decode()
    except UnicodeDecodeError:
        return None


def subject(prefix: str, exchange: str, symbol: str, kind: str) -> str:
    """The subject of an instrument."""
    return f"{prefix}.{token(exchange)}.{token(symbol)}.{kind}"


def parse(prefix: str, name: str) -> Parts | None:
    """Takes a subject apart; ``None`` when it is not one of ours under ``prefix``."""
    if not name.startswith(f"{prefix}."):
        return None
    tokens = name[len(prefix) + 1 :].split(".")
    if len(tokens) != 3 or tokens[2] not in KINDS:
        return None
    exchange, symbol = untoken(tokens[0]), untoken(tokens[1])
    if exchange is None or symbol is None:
        return None
    return Parts(exchange, symbol, tokens[2])


def filters(prefix: str, exchanges: Sequence[str], symbols: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """The subjects of what is asked for; an empty list of exchanges or symbols means all."""
    exchange_tokens = [token(name) for name in dict.fromkeys(exchanges)] or ["*"]
    symbol_tokens = [token(name) for name in dict.fromkeys(symbols)] or ["*"]
    return [
        f"{prefix}.{exchange}.{symbol}.{kind}"
        for exchange in exchange_tokens
        for symbol in symbol_tokens
        for kind in dict.fromkeys(kinds)
    ]
