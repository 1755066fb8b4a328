"""The stream of a real daemon on a real server: the same records, filters, beginnings, acknowledgements, outages."""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import nats
import pytest
import segments
from conftest import RECORDS, Recording
from daemon import DEADLINE, NatsServer, environment

import data_manager_client as dm
from data_manager_client import StreamReader

OURS: dict[str, Any] = {"stream": "PY_DATA", "subject_prefix": "py.market"}


def run(work: Awaitable[None]) -> None:
    """Runs a test's coroutine with a deadline."""

    async def bounded() -> None:
        await asyncio.wait_for(work, DEADLINE)

    asyncio.run(bounded())


async def take(reader: StreamReader, count: int) -> list[dm.Message]:
    return [await reader.__anext__() for _ in range(count)]


async def publish(url: str, count: int, subject: str = "m.binance.BTCUSDT.trades", first: int = 0) -> None:
    """Messages of one record each, into a stream that is made on first use."""
    client = await nats.connect(url)
    manager = client.jetstream()
    try:
        await manager.stream_info("S")
    except nats.js.errors.NotFoundError:
        await manager.add_stream(name="S", subjects=["m.>"])
    for number in range(first, first + count):
        await manager.publish(subject, segments.record(number))
    await client.close()


def test_the_stream_is_what_the_command_prints(recording: Recording) -> None:
    args = ("--nats", recording.server.url, "--since", "start", "--count", str(2 * RECORDS), "--format", "raw")
    expected = recording.daemon.tail(*args)

    async def work() -> None:
        async with StreamReader(recording.server.url, start="all", **OURS) as reader:
            messages = await take(reader, 2 * RECORDS)
        assert b"".join(message.records.tobytes() for message in messages) == expected
        sequences = [message.sequence for message in messages]
        assert sequences == sorted(set(sequences)) and sequences[0] == 1

    run(work())


def test_ring_and_stream_hold_the_same_of_each_symbol(recording: Recording) -> None:
    rings: dict[tuple[str, str], bytes] = defaultdict(bytes)
    for exchange in ("binance", "okx"):
        with recording.ring(exchange) as reader:
            batch = reader.read(reader.capacity)
            assert batch.position == 0 and reader.behind == 0
            for number, symbol in reader.symbols.items():
                rings[exchange, symbol] = batch.records[batch.records["instrument_id"] == number].tobytes()

    async def work() -> None:
        parts: dict[tuple[str, str], list[bytes]] = defaultdict(list)
        total = sum(map(len, rings.values())) // 48
        async with StreamReader(recording.server.url, start="all", **OURS) as reader:
            for message in await take(reader, total):
                parts[message.exchange, message.symbol].append(message.records.tobytes())
            assert await reader.next(0.2) is None, "the ring holds fewer"
        assert {key: b"".join(value) for key, value in parts.items()} == rings
        assert len(rings) == 4

    run(work())


def test_filters_and_beginnings(recording: Recording) -> None:
    async def work() -> None:
        url = recording.server.url
        async with StreamReader(url, start="all", exchanges=["okx"], symbols=["ETHUSDT"], **OURS) as reader:
            messages = await take(reader, 100)
            assert {(m.exchange, m.symbol, m.kind) for m in messages} == {("okx", "ETHUSDT", "trades")}
            (record,) = messages[0].decoded()
            assert isinstance(record, dm.Trade) and record.symbol == "ETHUSDT"
        async with StreamReader(url, start=messages[50].sequence, exchanges=["okx"], **OURS) as reader:
            assert (await reader.__anext__()).sequence == messages[50].sequence
        async with StreamReader(url, after=messages[50].sequence, start="all", **OURS) as reader:
            assert (await reader.__anext__()).sequence == messages[50].sequence + 1
        async with StreamReader(url, start="last", kinds=["trades"], **OURS) as reader:
            last = await take(reader, 4)
            assert len({(message.exchange, message.symbol) for message in last}) == 4
            assert await reader.next(0.2) is None
        async with StreamReader(url, start="new", **OURS) as reader:
            assert await reader.next(0.2) is None
        async with StreamReader(url, start=datetime(2020, 1, 1, tzinfo=timezone.utc), **OURS) as reader:
            assert (await reader.__anext__()).sequence == 1
        async with StreamReader(url, start=datetime(2200, 1, 1, tzinfo=timezone.utc), **OURS) as reader:
            assert await reader.next(0.2) is None
        async with StreamReader(url, start="all", kinds=["gaps"], **OURS) as reader:
            assert await reader.next(0.2) is None
        async with StreamReader(url, start="all", replay="original", **OURS) as reader:
            assert [message.sequence for message in await take(reader, 3)] == [1, 2, 3]

    run(work())


def test_packed_and_escaped_and_bad_messages(server: NatsServer) -> None:
    async def work() -> None:
        await publish(server.url, 1)
        client = await nats.connect(server.url)
        stream = client.jetstream()
        packed = b"".join(map(segments.record, range(10, 15)))
        await stream.publish("m.binance.BTC%2EUSDT%20x.trades", packed)
        await stream.publish("m.binance.BTCUSDT.trades", b"short")
        await stream.publish("m.binance.BTCUSDT.trades", b"")
        await stream.publish("m.binance.BTCUSDT.trades", packed[:95] + b"\x07")
        await stream.publish("m.binance.%GG.trades", packed)
        gap = struct.pack("<QQQQQIBBBB", 5, 6, 10, 12, 3, 99, 1, 2, 0, 2)
        await stream.publish("m.binance.BTCUSDT.gaps", gap)
        await client.close()
        bad: list[tuple[int, str]] = []
        good: list[dm.Message] = []
        options: dict[str, Any] = {"stream": "S", "subject_prefix": "m", "start": "all"}

        def keep(error: dm.BadMessage) -> None:
            assert str(error.sequence) in str(error) and error.subject in str(error)
            bad.append((error.sequence, error.reason))

        async for message in dm.read_stream(server.url, on_bad=keep, **options):
            good.append(message)
            if message.kind == "gaps":
                break
        assert [message.sequence for message in good] == [1, 2, 7]
        assert good[1].symbol == "BTC.USDT x" and good[1].records["trade_id"].tolist() == [10, 11, 12, 13, 14]
        assert [sequence for sequence, _ in bad] == [3, 4, 5, 6] and "kind 7" in bad[2][1]
        (record,) = good[2].decoded()
        assert isinstance(record, dm.Gap) and record.missing == 3
        async with StreamReader(server.url, after=2, stream="S", subject_prefix="m") as reader:
            with pytest.raises(dm.BadMessage, match="sequence 3 on m.binance.BTCUSDT.trades: 5 bytes"):
                await reader.__anext__()
            with pytest.raises(dm.BadMessage, match="sequence 4"):
                await reader.__anext__()
        async with StreamReader(server.url, start="all", symbols=["BTC.USDT x"], stream="S", subject_prefix="m") as r:
            assert (await r.__anext__()).sequence == 2

    run(work())


def test_a_restarted_server_is_read_on_without_a_hole(server: NatsServer) -> None:
    async def work() -> None:
        await publish(server.url, 300)
        options: dict[str, Any] = {"stream": "S", "subject_prefix": "m", "batch": 10, "reconnect_time_wait": 0.05}
        async with StreamReader(server.url, start="all", **options) as reader:
            messages = await take(reader, 100)
            await asyncio.to_thread(server.restart)
            await publish(server.url, 50, first=300)
            messages += await take(reader, 250)
        assert [message.sequence for message in messages] == list(range(1, 351))
        assert [int(message.records["trade_id"][0]) for message in messages] == list(range(350))

    run(work())


def test_a_deleted_consumer_is_made_anew_in_its_place(server: NatsServer) -> None:
    async def work() -> None:
        await publish(server.url, 100)
        async with StreamReader(server.url, start="new", stream="S", subject_prefix="m", batch=10) as reader:
            client = await nats.connect(server.url)
            (info,) = await client.jetstream().consumers_info("S")
            await client.jetstream().delete_consumer("S", info.name)
            await client.close()
            # Nothing was read yet, and still "new" means: since it was opened.
            await publish(server.url, 40, first=100)
            messages = await take(reader, 40)
        assert [message.sequence for message in messages] == list(range(101, 141))

    run(work())


def test_a_durable_goes_on_behind_what_was_acknowledged(server: NatsServer) -> None:
    async def work() -> None:
        await publish(server.url, 100)
        options: dict[str, Any] = {"stream": "S", "subject_prefix": "m", "start": "all", "durable": "d"}
        options |= {"batch": 10, "ack_wait": 1.0}
        async with StreamReader(server.url, **options) as reader:
            assert [m.sequence for m in await take(reader, 30)] == list(range(1, 31))
            await reader.ack()
        async with StreamReader(server.url, **options) as reader:
            # What was on its way to the one before comes again; nothing that was acknowledged does.
            sequences = {m.sequence for m in await take(reader, 70)}
            assert sequences == set(range(31, 101))
        async with StreamReader(server.url, **options) as reader:
            # The last one was yielded, but nobody has asked for the next one.
            (message,) = await take(reader, 1)
            assert message.redelivered
            await reader.ack()
            await publish(server.url, 1, first=100)
            assert (await reader.__anext__()).sequence == 101
        with pytest.raises(dm.StreamError, match="the durable consumer d reads"):
            await StreamReader(server.url, **{**options, "symbols": ["X"]}).open()

    run(work())


def test_a_redelivered_message_is_not_yielded_twice(server: NatsServer) -> None:
    async def work() -> None:
        await publish(server.url, 20)
        options: dict[str, Any] = {"stream": "S", "subject_prefix": "m", "start": "all", "durable": "d"}
        options |= {"batch": 10, "ack_wait": 0.3}
        async with StreamReader(server.url, **options) as reader:
            # So many that the reader has asked for more, which the server answers with what it delivers again.
            sequences = [message.sequence for message in await take(reader, 12)]
            client = await nats.connect(server.url)

            async def is_redelivering() -> bool:
                return int((await client.jetstream().consumer_info("S", "d")).num_redelivered) > 0

            await until(is_redelivering)
            sequences += [message.sequence for message in await take(reader, 8)]
            assert sequences == list(range(1, 21))
            await reader.ack()

            async def is_settled() -> bool:
                # Each look acknowledges what has come again.
                assert await reader.next(0.05) is None
                return int((await client.jetstream().consumer_info("S", "d")).num_ack_pending) == 0

            await until(is_settled)
            await client.close()

    run(work())


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + DEADLINE
    while not await holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


_STORING = """
import asyncio, json, os, sys
from data_manager_client import StreamReader
url, path = sys.argv[1:]
lines = open(path).read().splitlines(True) if os.path.exists(path) else []
# The kill may have cut the last line short: it was not stored.
lines = [line for line in lines if line.endswith(chr(10))]
with open(path, "w") as file:
    file.writelines(lines)
after = json.loads(lines[-1])[0] if lines else 0
async def main():
    reader = StreamReader(url, stream="PY_DATA", subject_prefix="py.market", durable="keeper", after=after, batch=50)
    async with reader:
        with open(path, "a") as file:
            async for message in reader:
                print(json.dumps([message.sequence, message.records.tobytes().hex()]), file=file, flush=True)
asyncio.run(main())
"""


def test_a_reader_killed_three_times_misses_and_repeats_nothing(recording: Recording, tmp_path: Path) -> None:
    path = tmp_path / "stored.jsonl"
    command = [sys.executable, "-c", _STORING, recording.server.url, str(path)]

    def stored() -> int:
        return path.read_bytes().count(b"\n") if path.exists() else 0

    aim = 0
    for life in range(4):
        child = subprocess.Popen(command, env=environment())
        try:
            aim += 1700
            end = time.monotonic() + DEADLINE
            while stored() < aim:
                assert child.poll() is None and time.monotonic() < end, f"life {life}: {stored()} stored"
                time.sleep(0.005)
        finally:
            child.kill()
            child.wait()
        aim = stored()
    lines = [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")]
    args = ("--nats", recording.server.url, "--since", "start", "--count", str(len(lines)), "--format", "raw")
    assert bytes.fromhex("".join(data for _, data in lines)) == recording.daemon.tail(*args)
    assert [sequence for sequence, _ in lines] == list(range(1, len(lines) + 1))


def test_what_cannot_be_read_is_told(server: NatsServer) -> None:
    async def work() -> None:
        with pytest.raises(dm.StreamMissing, match="no stream NOWHERE"):
            await StreamReader(server.url, stream="NOWHERE").open()
        with pytest.raises(dm.ConnectFailed, match="nats://127.0.0.1:1"):
            await StreamReader("nats://127.0.0.1:1", open_timeout=0.5).open()
        with pytest.raises(dm.StreamError, match="not open"):
            await StreamReader(server.url).next()
        client = await nats.connect(server.url)
        await client.jetstream().add_stream(name="I", subjects=["i.>"], retention="interest")
        await client.close()
        with pytest.raises(dm.StreamError, match="interest retention"):
            await StreamReader(server.url, stream="I", subject_prefix="i", durable="d", after=0).open()

    run(work())


def test_authentication_goes_to_the_connection(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats", more='authorization { user: "reader", password: "secret" }')

    async def work() -> None:
        # A server that refuses closes at once: its word may be overtaken by the reset.
        with pytest.raises(dm.ConnectFailed, match="Authorization|may this user connect"):
            await StreamReader(server.url, stream="S", user="reader", password="wrong", open_timeout=2.0).open()
        with pytest.raises(dm.StreamMissing):
            await StreamReader(server.url, stream="S", user="reader", password="secret").open()

    try:
        run(work())
    finally:
        server.process.end()


@pytest.mark.parametrize(
    "wrong",
    [{"kinds": ["books"]}, {"symbols": "BTCUSDT"}, {"replay": "x"}, {"start": datetime(2026, 1, 1)}, {"start": "x"}],
)
def test_wrong_arguments_are_refused_before_anything_is_connected(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"kinds|lists|replay|zone|start"):
        StreamReader(**wrong)


def test_without_nats_py_the_error_names_the_extra() -> None:
    code = (
        "import sys, asyncio; sys.modules['nats.aio.client'] = None\n"
        "import data_manager_client as dm\n"
        "try:\n    asyncio.run(dm.StreamReader().open())\n"
        "except dm.ExtraMissing as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=environment()
    )
    assert "pip install 'data-manager-client[nats]'" in done.stdout, done.stderr
