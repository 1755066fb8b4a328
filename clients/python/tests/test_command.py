"""``python -m data_manager_client`` as scripts use it: output, exit codes, one line for every expected problem."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import segments
from conftest import RECORDS, Recording
from daemon import Daemon, NatsServer, client, ending, environment
from segments import Writer


@pytest.mark.parametrize("form", ["json", "csv", "raw"])
def test_a_ring_is_printed_as_the_daemon_s_command_does(recording: Recording, form: str) -> None:
    count = RECORDS if form == "raw" else 3000
    chosen = ("--since", "oldest", "--format", form, "--count", str(count))
    ours = client("--ipc", "okx", "--prefix", recording.daemon.prefix, *chosen)
    assert (ours.returncode, ours.stderr) == (0, b"")
    args = ("--ipc", "--exchange", "okx", "--since", "start", "--count", str(count), "--format", form)
    assert ours.stdout == recording.daemon.tail(*args)


@pytest.mark.parametrize("form", ["json", "csv", "raw"])
def test_a_stream_is_printed_as_the_daemon_s_command_does(recording: Recording, form: str) -> None:
    url = recording.server.url
    ours = client(
        *("--nats", url, "--stream", "PY_DATA", "--subject-prefix", "py.market", "--exchange", "binance"),
        *("--symbols", "ethusdt", "--since", "oldest", "--format", form, "--count", "5000"),
    )
    assert (ours.returncode, ours.stderr) == (0, b"")
    args = ("--nats", url, "--exchange", "binance", "--symbols", "ETHUSDT", "--since", "start", "--count", "5000")
    assert ours.stdout == recording.daemon.tail(*args, "--format", form)


def test_symbols_of_a_ring_are_chosen(recording: Recording) -> None:
    args = ("--since", "oldest", "--format", "raw", "--count", "500", "--symbols", "ETHUSDT")
    ours = client("--ipc", "okx", "--prefix", recording.daemon.prefix, *args)
    theirs = ("--ipc", "--exchange", "okx", "--since", "start", "--count", "500", "--symbols", "ETHUSDT")
    assert ours.stdout == recording.daemon.tail(*theirs, "--format", "raw")


def test_a_live_ring_is_printed_from_its_beginning(tmp_path: Path) -> None:
    with ending(Daemon(tmp_path)) as daemon:
        ring = ("--ipc", "binance", "--prefix", daemon.prefix, "--format", "raw")
        done = client(*ring, "--since", "oldest", "--count", "5000")
        assert (done.returncode, len(done.stdout), done.stderr) == (0, 48 * 5000, b"")
        new = client(*ring, "--count", "10")
        assert new.returncode == 0 and len(new.stdout) == 480 and new.stdout not in done.stdout


def test_a_closed_ring_ends_with_a_message(recording: Recording) -> None:
    done = client("--ipc", "okx", "--prefix", recording.daemon.prefix, "--since", "newest", "--count", "1")
    assert done.returncode == 1 and done.stdout == b"" and done.stderr.count(b"\n") == 1
    assert b"the writer has closed the ring" in done.stderr


def test_a_ring_where_nothing_comes_ends_with_a_message(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "binance")
    writer.push(3)
    args = ("--ipc", "binance", "--prefix", "/", "--directory", str(tmp_path), "--since", "oldest", "--format", "raw")
    assert client(*args, "--count", "3").stdout == b"".join(map(segments.record, range(3)))
    done = client(*args, "--count", "4", "--timeout", "0.3")
    assert (done.returncode, len(done.stdout)) == (1, 144)
    assert b"nothing has come for 0.3 s" in done.stderr


def test_a_stream_where_nothing_comes_ends_with_a_message(recording: Recording) -> None:
    args = ("--nats", recording.server.url, "--stream", "PY_DATA", "--subject-prefix", "py.market")
    done = client(*args, "--count", "1", "--timeout", "0.3")
    assert done.returncode == 1 and b"nothing has come for 0.3 s" in done.stderr


def test_lost_and_unknown_records_are_told_and_not_counted(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "binance")
    writer.push(10)
    writer.begin()
    writer.commit(segments.record(10, kind=9))
    writer.push(5)
    args = ("--ipc", "binance", "--prefix", "/", "--directory", str(tmp_path), "--since", "oldest", "--format", "raw")
    done = client(*args, "--count", "15")
    assert done.returncode == 0
    assert done.stdout == b"".join(segments.record(number) for number in range(16) if number != 10)
    assert b"1 records of unknown kind, such as 9" in done.stderr


def test_expected_problems_are_one_line(tmp_path: Path, server: NatsServer) -> None:
    (tmp_path / "foreign").write_bytes(b"not a ring" * 1000)
    segments.write(tmp_path / "cut", capacity=64)
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:5000])
    ring = ("--prefix", "/", "--directory", str(tmp_path), "--ipc")
    for args, words in (
        ((*ring, "missing"), "no ring at"),
        ((*ring, "foreign"), "no data-manager ring"),
        ((*ring, "cut"), "truncated"),
        ((*ring, "a/b"), "exchange 'a/b'"),
        (("--nats", server.url), "no stream MARKET_DATA"),
        (("--nats", "nats://127.0.0.1:1"), "cannot connect"),
    ):
        done = client(*args)
        text = done.stderr.decode()
        assert done.returncode == 1 and words in text and text.count("\n") == 1 and "Traceback" not in text, text


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--ipc", "a", "--nats", "b"),
        ("--ipc", "a", "--exchange", "b"),
        ("--ipc", "a", "--count", "0"),
        ("--ipc", "a", "--count", "x"),
        ("--ipc", "a", "--timeout", "-1"),
        ("--ipc", "a", "--format", "xml"),
        ("--ipc", "a", "--since", "now"),
        ("--ipc", "a", "--symbols", ","),
    ],
)
def test_wrong_usage_is_2(args: tuple[str, ...]) -> None:
    done = client(*args)
    assert done.returncode == 2 and b"usage:" in done.stderr and b"Traceback" not in done.stderr


def test_help_teaches() -> None:
    done = client("--help")
    assert done.returncode == 0 and b"examples:" in done.stdout and b"--timeout" in done.stdout


@pytest.mark.parametrize("form", ["json", "raw"])
def test_a_reader_that_has_had_enough_is_no_error(recording: Recording, form: str) -> None:
    command = [sys.executable, "-m", "data_manager_client", "--ipc", "okx", "--prefix", recording.daemon.prefix]
    command += ["--since", "oldest", "--format", form]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    assert child.stdout is not None and child.stderr is not None
    assert len(child.stdout.read(100)) == 100
    child.stdout.close()
    errors = child.stderr.read()
    child.stderr.close()
    assert child.wait(60) == 0 and errors == b""
