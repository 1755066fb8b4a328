"""``python -m data_manager_client``: prints records of a ring or of the stream.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time

import numpy as np

from .errors import BadMessage, DataManagerError, Truncated
from .records import KIND_GAP, KIND_TRADE, Records, SymbolOf, decode
from .ring import Gone, RingReader
from .stream import StreamReader
from .text import CSV_HEADER, csv_line, json_line

_NAP = 0.001
_CHECK_EVERY = 0.1
_OPEN_TIMEOUT = 3.0
_KNOWN = (KIND_TRADE, KIND_GAP)

_EXAMPLES = """\
examples:
  python -m data_manager_client --ipc binance
  python -m data_manager_client --ipc binance --symbols BTCUSDT --since oldest --count 100 --format csv
  python -m data_manager_client --nats nats://localhost:4222 --exchange okx --since oldest --format raw > okx.bin

Records go to stdout, everything else to stderr. raw is 48 bytes a record, json and csv are what `data-manager tail`
prints. It ends with 0 after --count records; with 1 when the writer has closed the ring, or when nothing has come for
--timeout seconds; without --count it goes on until then.
"""


class Failed(Exception):
    """An expected problem, told in one line."""


class Printer:
    """Writes records to stdout until there are enough."""

    def __init__(self, form: str, count: int | None) -> None:
        self._out = sys.stdout.buffer
        self._form = form
        self._left = sys.maxsize if count is None else count
        if form == "csv":
            self._out.write(f"{CSV_HEADER}\n".encode())

    @property
    def is_full(self) -> bool:
        """Whether there are enough."""
        return self._left <= 0

    def write(self, records: Records, exchange: str, symbol: SymbolOf) -> None:
        """Writes as many of them as are wanted."""
        kinds = records["kind"]
        known = np.isin(kinds, _KNOWN)
        if not known.all():
            kind = int(kinds[~known][0])
            _tell(f"{exchange}: {int((~known).sum())} records of unknown kind, such as {kind}")
            records = records[known]
        records = records[: self._left]
        self._left -= len(records)
        if self._form == "raw":
            self._out.write(records.tobytes())
            return
        line = json_line if self._form == "json" else csv_line
        lines = [line(record) for record in decode(records, exchange, symbol)]
        self._out.write("".join(f"{text}\n" for text in lines).encode())

    def flush(self) -> None:
        """Gives what was written to the reader."""
        self._out.flush()


def main() -> int:
    """The command; its exit code."""
    parser = _parser()
    args = parser.parse_args()
    if args.ipc is not None and args.exchange:
        parser.error("--exchange is for --nats; --ipc names its exchange itself")
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("nats").setLevel(logging.CRITICAL)
    try:
        out = Printer(args.format, args.count)
        if args.ipc is not None:
            _ring(args, out)
        else:
            asyncio.run(_stream(args, out))
        out.flush()
    except BrokenPipeError:
        # Who read our output has had enough. What is still buffered must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return _end(130)
    except (DataManagerError, Failed, ValueError, OSError) as error:
        _tell(str(error))
        return _end(1)
    return 0


def _end(code: int) -> int:
    """Flushes what there is; the exit code stays what it is."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _ring(args: argparse.Namespace, out: Printer) -> None:
    with RingReader.open(args.ipc, args.prefix, args.directory) as reader:
        if args.since == "newest":
            reader.from_newest()
        silent_since, check_at = time.monotonic(), 0.0
        while not out.is_full:
            if _print_batch(reader, args.symbols, out):
                silent_since = time.monotonic()
                continue
            out.flush()
            now = time.monotonic()
            if now >= check_at:
                check_at = now + _CHECK_EVERY
                _look(reader, args.symbols, out)
            _give_up(silent_since, args.timeout)
            time.sleep(_NAP)


def _print_batch(reader: RingReader, symbols: list[str], out: Printer) -> bool:
    """Prints what is new; whether there was anything."""
    batch = reader.read()
    if batch.lost:
        _tell(f"{reader.exchange}: too slow, {batch.lost} records lost")
    records = batch.records
    if symbols and len(records):
        ids = [number for number, symbol in reader.symbols.items() if symbol in symbols]
        records = records[np.isin(records["instrument_id"], ids)]
    out.write(records, reader.exchange, reader.symbol)
    return len(batch) > 0 or batch.lost > 0


def _look(reader: RingReader, symbols: list[str], out: Printer) -> None:
    """Ends with a closed ring, and goes over to a new writer's."""
    gone = reader.check()
    if gone is Gone.TRUNCATED:
        raise Truncated(f"{reader.path}: {gone}")
    if gone is Gone.CLOSED:
        raise Failed(f"{reader.exchange}: {gone}; start `data-manager serve --ipc` again")
    if gone is Gone.REPLACED:
        while not out.is_full and _print_batch(reader, symbols, out):
            pass
        if not out.is_full and reader.reopen():
            _tell(f"{reader.exchange}: a new writer has taken over")


async def _stream(args: argparse.Namespace, out: Printer) -> None:
    reader = StreamReader(
        args.nats,
        stream=args.stream,
        subject_prefix=args.subject_prefix,
        exchanges=args.exchange or [],
        symbols=args.symbols,
        start="all" if args.since == "oldest" else "new",
        open_timeout=_OPEN_TIMEOUT,
    )
    async with reader:
        silent_since = time.monotonic()
        while not out.is_full:
            try:
                # A short look first: what is printed shall not wait in a buffer for the next message.
                message = await reader.next(_NAP)
                if message is None:
                    out.flush()
                    message = await reader.next(args.timeout or None)
            except BadMessage as error:
                _tell(str(error))
                continue
            if message is None:
                _give_up(silent_since, args.timeout)
                continue
            silent_since = time.monotonic()
            out.write(message.records, message.exchange, message.symbol)


def _give_up(silent_since: float, timeout: float) -> None:
    if timeout and time.monotonic() - silent_since >= timeout:
        raise Failed(f"nothing has come for {timeout:g} s; is the writer running? (--timeout)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_manager_client",
        description="Print data-manager's records from shared memory or from the stream.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--ipc", metavar="EXCHANGE", help="read the ring of this exchange, such as binance")
    source.add_argument("--nats", metavar="URL", help="read the stream of this server, such as nats://localhost:4222")
    parser.add_argument("--stream", default="MARKET_DATA", help="the stream's name (default: %(default)s)")
    parser.add_argument(
        "--subject-prefix", default="market", metavar="PREFIX", help="in front of all subjects (default: %(default)s)"
    )
    parser.add_argument(
        "--exchange", action="append", metavar="X", help="with --nats: this exchange; may be given several times"
    )
    parser.add_argument(
        "--symbols", type=_names, default=[], metavar="A,B", help="these canonical symbols only (default: all)"
    )
    parser.add_argument(
        "--since", choices=["oldest", "newest"], default="newest", help="where to begin (default: %(default)s)"
    )
    parser.add_argument("--count", type=_count, metavar="N", help="end after this many records")
    parser.add_argument(
        "--format", choices=["json", "csv", "raw"], default="json", help="how records look (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="fail when nothing has come for so many seconds; 0: never (default: %(default)g)",
    )
    parser.add_argument(
        "--prefix",
        default="/data_manager_",
        help="with --ipc: the writer's transport.ipc.shm_path_prefix (default: %(default)s)",
    )
    parser.add_argument("--directory", default="/dev/shm", help="with --ipc: where rings live (default: %(default)s)")
    return parser


def _names(text: str) -> list[str]:
    names = [name.strip().upper() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("no symbol")
    return names


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of records")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
