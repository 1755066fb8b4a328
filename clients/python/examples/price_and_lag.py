#!/usr/bin/env python3
"""Plots price and lag of one symbol, from the ring or from the stream, to a PNG.

    python examples/price_and_lag.py --ipc binance --symbol BTCUSDT -o btcusdt.png
    python examples/price_and_lag.py --nats nats://localhost:4222 --exchange okx --symbol ETHUSDT

Two lags are shown. From the venue: ``ts_recv - ts_event``, between two clocks, so it may be off by what they differ,
even below zero. From the socket: now - ``ts_recv``, between receipt and this program, on one clock if both run on one
machine. Only records that come while it runs are taken: of older ones the second lag would be their age.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass, field

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

import data_manager_client as dm

BUY, SELL, INK, FAINT = "#1a7f5a", "#c2413b", "#2b2f36", "#9aa1ab"


@dataclass
class Collected:
    """Trades as they came, and when they came to this program."""

    batches: list[dm.Records] = field(default_factory=list)
    seen_at: list[int] = field(default_factory=list)
    gaps: int = 0
    lost: int = 0
    count: int = 0

    def add(self, records: dm.Records) -> None:
        trades, gaps = dm.split(records)
        self.gaps += len(gaps)
        if len(trades):
            self.batches.append(trades)
            self.seen_at.extend([time.time_ns()] * len(trades))
            self.count += len(trades)


def from_ring(exchange: str, prefix: str, symbol: str, seconds: float) -> Collected:
    """Polls the ring without a pause: what is measured is the ring, not a sleep."""
    collected = Collected()
    with dm.RingReader.open(exchange, prefix) as reader:
        ids = [number for number, name in reader.symbols.items() if name == symbol]
        reader.from_newest()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            batch = reader.read()
            collected.lost += batch.lost
            collected.add(batch.records[np.isin(batch.records["instrument_id"], ids)])
    return collected


async def from_stream(url: str, exchange: str, symbol: str, seconds: float, options: dict[str, str]) -> Collected:
    collected = Collected()
    async with dm.StreamReader(
        url,
        exchanges=[exchange],
        symbols=[symbol],
        stream=options["stream"],
        subject_prefix=options["subject_prefix"],
    ) as reader:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            message = await reader.next(left)
            if message is not None:
                collected.add(message.records)
    return collected


def plot(collected: Collected, title: str, path: str) -> None:
    trades = np.concatenate(collected.batches)
    when = trades["ts_recv"].astype("datetime64[ns]")
    venue = (trades["ts_recv"].astype(np.int64) - trades["ts_event"].astype(np.int64)) / 1e3
    here = (np.array(collected.seen_at) - trades["ts_recv"].astype(np.int64)) / 1e3
    plt.rcParams.update({"font.size": 9.5, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT})
    figure, (above, middle, below) = plt.subplots(
        3, 1, figsize=(11, 8), sharex=True, height_ratios=[2.4, 1, 1], layout="constrained"
    )
    draw_price(above, when, trades)
    draw_lag(middle, when, venue, "venue to socket", "#3b6fb6")
    draw_lag(below, when, here, "socket to here", "#8a5bb0")
    locator = AutoDateLocator()
    below.xaxis.set_major_locator(locator)
    below.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    below.set_xlabel("time of receipt, UTC")
    losses = f"{collected.gaps} declared gaps, {collected.lost} records lost by this reader"
    above.set_title(f"{len(trades):,} trades, {losses}", loc="left", fontsize=9.5, color=FAINT)
    figure.suptitle(title, x=0.012, ha="left", fontsize=15, fontweight="bold")
    figure.savefig(path, dpi=140)


def draw_price(axes: Axes, when: np.ndarray, trades: dm.Records) -> None:
    prices, sizes, sides = dm.prices_float(trades), dm.sizes_float(trades), trades["flags"] & 3
    axes.step(when, prices, where="post", color=FAINT, linewidth=0.7, zorder=1)
    # By area, and bounded: one large trade shall not hide the rest.
    scale = np.quantile(sizes, 0.95) or 1.0
    areas = 4 + 60 * np.clip(sizes / scale, 0, 1.5)
    for side, color, label in ((1, BUY, "buyer was aggressor"), (2, SELL, "seller was aggressor")):
        chosen = sides == side
        axes.scatter(
            when[chosen], prices[chosen], areas[chosen], color=color, alpha=0.35, linewidths=0, label=label, zorder=2
        )
    axes.set_ylabel("price")
    axes.ticklabel_format(axis="y", useOffset=False)
    legend = axes.legend(loc="upper left", frameon=False, ncols=2, markerscale=1.0)
    for handle in legend.legend_handles:
        handle.set_alpha(0.9)
        handle.set_sizes([30])
    tidy(axes)


def draw_lag(axes: Axes, when: np.ndarray, lag: np.ndarray, label: str, color: str) -> None:
    axes.scatter(when, np.maximum(lag, 1), 5, color=color, alpha=0.35, linewidths=0)
    middle, high = np.quantile(lag, [0.5, 0.99])
    for value, name, style in ((middle, "p50", "-"), (high, "p99", "--")):
        axes.axhline(max(value, 1), color=color, linestyle=style, linewidth=1)
        axes.annotate(
            f" {name} {duration(value)}",
            (1, max(value, 1)),
            xycoords=("axes fraction", "data"),
            va="center",
            color=color,
            annotation_clip=False,
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: duration(value))
    axes.set_ylabel(label)
    tidy(axes)


def tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(color=FAINT)
    axes.grid(axis="y", color="#e8eaed", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.005)


def duration(us: float) -> str:
    """``85 µs``, ``2.4 ms``, ``1.2 s``."""
    for limit, divisor, unit in ((1e3, 1, "µs"), (1e6, 1e3, "ms")):
        if abs(us) < limit:
            return f"{us / divisor:.3g} {unit}"
    return f"{us / 1e6:.3g} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--ipc", metavar="EXCHANGE", help="read the ring of this exchange")
    source.add_argument("--nats", metavar="URL", help="read the stream of this server")
    parser.add_argument("--exchange", default="binance", help="with --nats (default: %(default)s)")
    parser.add_argument("--symbol", default="BTCUSDT", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=20, help="how long (default: %(default)g)")
    parser.add_argument("--prefix", default="/data_manager_", help="of the ring's name (default: %(default)s)")
    parser.add_argument("--stream", default="MARKET_DATA", help="default: %(default)s")
    parser.add_argument("--subject-prefix", default="market", help="default: %(default)s")
    parser.add_argument("-o", "--output", default="price_and_lag.png", help="default: %(default)s")
    args = parser.parse_args()
    try:
        if args.ipc:
            collected = from_ring(args.ipc, args.prefix, args.symbol, args.seconds)
        else:
            options = {"stream": args.stream, "subject_prefix": args.subject_prefix}
            collected = asyncio.run(from_stream(args.nats, args.exchange, args.symbol, args.seconds, options))
    except dm.DataManagerError as error:
        print(error, file=sys.stderr)
        return 1
    if not collected.count:
        print(f"no trade of {args.symbol} within {args.seconds:g} s", file=sys.stderr)
        return 1
    where = "shared memory" if args.ipc else "JetStream"
    plot(collected, f"{args.ipc or args.exchange} {args.symbol}, from {where}", args.output)
    print(f"{args.output}: {collected.count} trades")
    return 0


if __name__ == "__main__":
    sys.exit(main())
