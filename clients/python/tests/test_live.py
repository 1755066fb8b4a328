"""The ring of a real daemon: what a reader gets while it runs, is too slow, is killed, comes back and ends."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
from conftest import RECORDS, Recording
from daemon import Daemon, ending, environment, wait_until

import data_manager_client as dm
from data_manager_client import Gone, Lost, RingReader, Trade


def test_a_ring_is_what_the_command_prints(recording: Recording) -> None:
    for exchange in ("binance", "okx"):
        args = ("--ipc", "--exchange", exchange, "--since", "start", "--count", str(RECORDS), "--format", "raw")
        expected = recording.daemon.tail(*args)
        assert len(expected) == 48 * RECORDS
        with recording.ring(exchange) as reader:
            read, viewed = b"", b""
            while len(read) < len(expected):
                # An odd number, so that batches end anywhere.
                batch = reader.read(min(1013, RECORDS - reader.position))
                assert batch.lost == 0 and batch.position == len(read) // 48
                read += batch.records.tobytes()
            reader.from_oldest()
            while len(viewed) < len(expected):
                view = reader.view(min(1013, RECORDS - reader.position))
                viewed += view.records.tobytes()
                assert view.is_intact()
        assert read == expected and viewed == expected


def test_names_are_the_daemon_s(recording: Recording) -> None:
    with recording.ring("okx") as reader:
        assert set(reader.symbols.values()) == {"BTCUSDT", "ETHUSDT"}
        assert reader.exchange == "okx" and reader.capacity == 65536
        trades, _ = dm.split(reader.read().records)
        assert set(trades["instrument_id"].tolist()) <= set(reader.symbols)
        assert {int(number) for number in trades["kind"]} == {1}


def test_a_drained_daemon_s_ring_ends(recording: Recording) -> None:
    with recording.ring("binance") as reader:
        assert reader.check() is None
        count = 0
        while batch := reader.read():
            count += len(batch)
        assert reader.check() is Gone.CLOSED and reader.check() is Gone.CLOSED
        assert count == reader.position >= RECORDS and reader.behind == 0


def test_a_slow_reader_knows_exactly_what_it_lost(tmp_path: Path) -> None:
    with ending(Daemon(tmp_path, capacity=1024, rate=6000)) as daemon, RingReader.open(
        "binance", daemon.prefix
    ) as reader:
        start = reader.position
        got = lost = laps = 0
        seen: list[bytes] = []
        while laps < 5:
            wait_until("the writer has gone around", lambda: reader.behind > 1500, daemon.log)
            batch = reader.read(100)
            got, lost, laps = got + len(batch), lost + batch.lost, laps + (batch.lost > 0)
            seen.append(batch.records.tobytes())
            assert batch.position + len(batch) == reader.position
            assert got + lost == reader.position - start
        assert daemon.process.terminate() == 0
        while batch := reader.read(100):
            got, lost = got + len(batch), lost + batch.lost
            seen.append(batch.records.tobytes())
        assert got + lost == reader.position - start and reader.behind == 0
        assert reader.check() is Gone.CLOSED
        trades, _ = dm.split(dm.from_bytes(b"".join(seen)))
        # In order, each once: the simulated venue's ids grow by one per symbol.
        for number in set(trades["instrument_id"].tolist()):
            ids = trades["trade_id"][trades["instrument_id"] == number].astype(np.int64)
            assert (np.diff(ids) > 0).all()


def test_readers_beside_the_writer_read_whole_records(tmp_path: Path) -> None:
    with ending(Daemon(tmp_path, capacity=64, rate=20_000)) as daemon, RingReader.open(
        "binance", daemon.prefix
    ) as reader:
        first = reader.position
        known = set(reader.symbols)
        got = lost = 0
        while got < 20_000:
            batch = reader.read(64)
            got, lost = got + len(batch), lost + batch.lost
            records = batch.records
            assert set(records["instrument_id"].tolist()) <= known
            assert (records["kind"] == 1).all() and (records["ts_recv"] >= records["ts_event"]).all()
        assert got + lost == reader.position - first


def test_a_killed_writer_is_silent_and_following_goes_on_with_the_next(tmp_path: Path) -> None:
    with ending(Daemon(tmp_path)) as daemon, RingReader.open("binance", daemon.prefix) as reader:
        epoch = reader.epoch
        follower = reader.follow()
        before = list(itertools.islice(follower, 500))
        daemon.process.kill()
        with RingReader.open("binance", daemon.prefix) as watcher:
            wait_until("the writer is silent", lambda: watcher.check(2.0) is Gone.SILENT)
            head = watcher.position + watcher.behind
        # What the dead writer left is read to its end, then the new one's ring from its beginning.
        before += itertools.islice(follower, head - 500)
        assert reader.position == head and reader.epoch == epoch
        daemon.start()
        with RingReader.open("binance", daemon.prefix) as other:
            wait_until("the new writer has written", lambda: other.behind >= 500, daemon.log)
            expected = list(dm.decode(other.read(500).records, "binance", other.symbol))
        after = list(itertools.islice(follower, 500))
        assert reader.epoch > epoch and after == expected
        assert not [item for item in before + after if isinstance(item, Lost)]
        assert all(isinstance(item, Trade) and item.exchange == "binance" for item in before)


def test_following_tells_what_a_new_ring_has_lost_already(tmp_path: Path) -> None:
    with ending(Daemon(tmp_path, capacity=256, rate=8000)) as daemon, RingReader.open(
        "binance", daemon.prefix
    ) as reader:
        follower = reader.follow()
        next(follower)
        epoch = reader.epoch
        daemon.process.kill()
        daemon.start()
        with RingReader.open("binance", daemon.prefix) as other:
            wait_until("the new ring has wrapped", lambda: other.position + other.behind > 600, daemon.log)
        lost = read = 0
        for item in follower:
            if reader.epoch == epoch:
                continue
            lost += item.records if isinstance(item, Lost) else 0
            read += not isinstance(item, Lost)
            if read == 50:
                break
        assert lost > 0
        daemon.process.kill()
        # A batch is read ahead of what has been yielded.
        with RingReader.open("binance", daemon.prefix) as other:
            total = other.position + other.behind
        for item in follower:
            lost += item.records if isinstance(item, Lost) else 0
            read += not isinstance(item, Lost)
            if read + lost == total:
                break
        assert reader.position == read + lost == total


def test_the_example_draws_a_picture(tmp_path: Path) -> None:
    example = Path(__file__).parent.parent / "examples" / "price_and_lag.py"
    picture = tmp_path / "picture.png"
    with ending(Daemon(tmp_path)) as daemon:
        command = [sys.executable, str(example), "--ipc", "binance", "--prefix", daemon.prefix, "--seconds", "1"]
        done = subprocess.run(
            [*command, "-o", str(picture)], capture_output=True, text=True, timeout=60, check=False, env=environment()
        )
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG") and "trades" in done.stdout
