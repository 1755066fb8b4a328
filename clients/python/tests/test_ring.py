"""The ring's protocol against a writer that is stopped between any two of its steps."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import segments
from daemon import environment
from segments import Writer

import data_manager_client as dm
from data_manager_client import Gone, RingReader
from data_manager_client.layout import HEADER_BYTES


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "ring")


def numbers(batch: dm.Batch | dm.View) -> list[int]:
    return [int(number) for number in batch.records["trade_id"]]


def test_a_record_is_there_only_when_whole(writer: Writer) -> None:
    reader = RingReader(str(writer.path))
    assert len(reader.read()) == 0
    writer.begin()
    assert len(reader.read()) == 0
    writer.commit()
    # `head` has not moved: the slots' own sequences decide.
    batch = reader.read()
    assert batch.records.tobytes() == segments.record(0)
    assert (batch.position, batch.lost, reader.position, reader.behind) == (0, 0, 1, 0)
    assert len(reader.read()) == 0


def test_reading_goes_over_the_end_of_the_memory(writer: Writer) -> None:
    reader = RingReader(str(writer.path))
    writer.push(50)
    assert numbers(reader.read(40)) == list(range(40))
    writer.push(40)
    batch = reader.read()
    assert numbers(batch) == list(range(40, 90)) and batch.lost == 0
    writer.push(30)
    first, second = reader.view(), reader.view()
    assert numbers(first) + numbers(second) == list(range(90, 120))
    assert first.is_intact() and not first.records.flags.owndata and not first.records.flags.writeable


@pytest.mark.parametrize("capacity", [64, 256])
@pytest.mark.parametrize("pushed", [63, 64, 65, 100, 1000])
def test_a_lapped_reader_goes_on_where_the_protocol_says(tmp_path: Path, capacity: int, pushed: int) -> None:
    writer = Writer(tmp_path / "ring", capacity)
    reader = RingReader(str(writer.path))
    writer.push(pushed)
    batch = reader.read(10)
    oldest = pushed - capacity + capacity // 8 if pushed > capacity else 0
    assert (batch.lost, batch.position) == (oldest, oldest)
    assert numbers(batch) == list(range(oldest, oldest + 10)) and reader.position == oldest + 10


def test_a_slot_being_overwritten_is_lapped_before_it_is_whole(writer: Writer) -> None:
    reader = RingReader(str(writer.path))
    writer.push(64)
    writer.begin()
    batch = reader.read(5)
    # head - capacity + margin = 8, as in a reader of the daemon's own.
    assert (batch.lost, numbers(batch)) == (8, [8, 9, 10, 11, 12])


def test_with_a_head_that_trails_a_lapped_reader_still_moves_forward(writer: Writer) -> None:
    reader = RingReader(str(writer.path))
    writer.push(400, publish=False)
    got = lost = 0
    while reader.position < 400:
        batch = reader.read(7)
        got, lost = got + len(batch), lost + batch.lost
    assert (got, lost) == (64, 336)


def test_what_is_overwritten_during_the_copy_is_lost_and_the_rest_kept(writer: Writer) -> None:
    class Interrupted(RingReader):
        def _copy(self, position: int, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
            words = super()._copy(position, count)
            writer.push(5)
            return words

    reader = Interrupted(str(writer.path))
    writer.push(60)
    batch = reader.read()
    # 65 are written: record 0 is gone, the new place is 65 - 64 + 8, and what lies behind it was copied whole.
    assert (batch.lost, batch.position, numbers(batch)) == (9, 9, list(range(9, 60)))
    assert len(batch) + batch.lost == reader.position


def test_a_view_tells_when_the_writer_came_upon_it(writer: Writer) -> None:
    reader = RingReader(str(writer.path))
    writer.push(60)
    view = reader.view(10)
    assert view.is_intact()
    writer.push(4)
    assert view.is_intact()
    writer.begin()
    assert not view.is_intact()
    writer.commit()
    assert not view.is_intact()


def test_slots_are_the_memory_itself(writer: Writer) -> None:
    reader = RingReader(str(writer.path))
    slots = reader.slots
    writer.push(65)
    assert slots["seq"][:2].tolist() == [2 * 64 + 2, 2 * 1 + 2]
    assert slots["record"]["trade_id"][:2].tolist() == [64, 1]
    assert not slots.flags.writeable and slots.itemsize == 64


def test_beginnings(writer: Writer) -> None:
    writer.push(200)
    reader = RingReader(str(writer.path))
    assert reader.position == 200 - 64 + 8
    reader.from_newest()
    assert (reader.position, reader.behind, len(reader.read())) == (200, 0, 0)
    reader.from_oldest()
    assert reader.position == 144
    writer.set("state", 2)
    # Nobody overwrites the oldest of a closed ring.
    assert RingReader(str(writer.path)).position == 136


def test_the_symbol_table_grows_and_broken_entries_are_passed_over(writer: Writer) -> None:
    writer.add_symbol(0, 7, b"BTCUSDT")
    reader = RingReader(str(writer.path))
    assert reader.symbols == {7: "BTCUSDT"} and reader.symbol(8) == "#8"
    writer.add_symbol(1, 8, b"\xff\xfe")
    writer.add_symbol(2, 9, b"")
    writer.add_symbol(3, 10, b"ETHUSDT")
    assert reader.symbol(10) == "ETHUSDT" and set(reader.symbols) == {7, 10}
    writer.set("symbols", 2**32 - 1)
    assert reader.symbol(11) == "#11"
    assert (reader.exchange, reader.epoch, reader.capacity) == ("binance", 1_700_000_000_000_000_000, 64)


def test_hostile_words_cost_no_more_than_an_answer(writer: Writer) -> None:
    reader = RingReader(str(writer.path))
    writer.push(10)
    writer.set("head", 2**64 - 1)
    assert numbers(reader.read()) == list(range(10))
    assert len(reader.read()) == 0
    writer.next = 2**62
    writer.begin()
    reader.read()
    assert reader.position <= 2**62 + 64
    reader.read()
    reader.from_newest()
    assert len(reader.read()) == 0


def test_the_end_is_told(writer: Writer) -> None:
    reader = RingReader(str(writer.path))
    writer.push(3)
    assert reader.check() is None
    writer.set("state", 2)
    assert reader.check() is None, "three records are left"
    reader.read()
    assert reader.check() is Gone.CLOSED
    writer.set("state", 1)
    assert reader.check(silence=-1) is Gone.SILENT
    writer.set("heartbeat", 2)
    assert reader.check(silence=0) is None, "it has changed"
    os.rename(writer.path, f"{writer.path}.old")
    assert reader.check() is Gone.REMOVED
    with pytest.raises(dm.SegmentMissing):
        reader.reopen()
    other = Writer(writer.path, epoch=9)
    assert reader.check() is Gone.REPLACED
    assert reader.reopen() and reader.epoch == 9 and reader.position == 0
    assert not reader.reopen()
    other.push(1)
    assert numbers(reader.read()) == [0]
    reader.close()
    with pytest.raises(dm.RingError, match="closed"):
        reader.read()


@pytest.mark.parametrize(
    ("error", "words", "changed"),
    [
        (dm.NotARing, "no data-manager ring", {"magic": b"ELF"}),
        (dm.WrongVersion, "version 2", {"version": 2}),
        (dm.BadHeader, "header_bytes is 64", {"header_bytes": 64}),
        (dm.BadHeader, "slot_bytes is 0", {"slot_bytes": 0}),
        (dm.BadHeader, "record_bytes is 56", {"record_bytes": 56}),
        (dm.BadHeader, "record_kind is 9", {"record_kind": 9}),
        (dm.BadHeader, "capacity is 0", {"capacity": 0}),
        (dm.BadHeader, "capacity is 1000", {"capacity": 1000}),
        (dm.BadHeader, "capacity is 32", {"capacity": 32}),
        (dm.BadHeader, "capacity is 9223372036854775808", {"capacity": 2**63}),
        (dm.BadHeader, "symbols_max is 0", {"symbols_max": 0}),
        (dm.BadHeader, "symbols_max is 4294967295", {"symbols_max": 2**32 - 1}),
        (dm.BadHeader, "symbol_table is 0", {"symbol_table": 0}),
        (dm.BadHeader, "symbol_table is 4097", {"symbol_table": 4097}),
        (dm.BadHeader, "slots is", {"symbol_table": 2**64 - 64}),
        (dm.BadHeader, "slots is 4096", {"slots": 4096}),
        (dm.BadHeader, "slots is", {"slots": 2**64 - 64}),
        (dm.BadHeader, "UTF-8", {"exchange": b"\xff\xfe"}),
        (dm.BadHeader, "exchange length", {"exchange": b""}),
        (dm.Truncated, "the file has", {"capacity": 2**30}),
    ],
)
def test_a_header_that_no_writer_writes_is_refused(
    tmp_path: Path, error: type[dm.RingError], words: str, changed: dict[str, int | bytes]
) -> None:
    path = tmp_path / "ring"
    path.write_bytes(segments.header(**changed) + bytes(8 * HEADER_BYTES))
    with pytest.raises(error, match=words) as raised:
        RingReader(str(path))
    assert str(path) in str(raised.value)


def test_random_headers_are_refused_or_read(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    path = segments.write(tmp_path / "ring")
    whole = path.read_bytes()
    for _ in range(500):
        data = bytearray(whole)
        for at in random.integers(8, 260, random.integers(1, 5)):
            data[at] = random.integers(0, 256)
        path.write_bytes(data)
        try:
            with RingReader(str(path)) as reader:
                reader.read()
                reader.view()
                assert reader.check(0) in (None, *Gone) and reader.symbols is not None
        except dm.RingError:
            pass


@pytest.mark.parametrize("length", [0, 7, 8, 100, HEADER_BYTES - 1, HEADER_BYTES, 2 * HEADER_BYTES + 63 * 64])
def test_a_file_that_ends_too_soon_is_refused(tmp_path: Path, length: int) -> None:
    path = segments.write(tmp_path / "ring")
    os.truncate(path, length)
    with pytest.raises(dm.Truncated if length >= 8 else dm.NotARing):
        RingReader(str(path))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(dm.SegmentMissing, match="is `data-manager serve --ipc` running"):
        RingReader.open("binance", directory=str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(segments.write(tmp_path / "ring"))
    for name in ("pipe", "link", "."):
        with pytest.raises(dm.NotARing):
            RingReader(str(tmp_path / name))
    for exchange, prefix in (("", "/x"), ("a/b", "/x"), ("x" * 33, "/x"), ("a", "x"), ("a", "/x/y"), ("a\0", "/x")):
        with pytest.raises(ValueError, match=r"prefix|exchange|NUL"):
            RingReader.open(exchange, prefix)


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    path = segments.write(tmp_path / "ring")
    # Whoever runs the tests as root may read everything.
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(dm.SegmentPermission, match=r"transport\.ipc\.mode"):
        RingReader(str(path))


_CUT = """
import os, sys
import data_manager_client as dm
path, cut = sys.argv[1], int(sys.argv[2])
reader = dm.RingReader(path)
view = reader.view(5)
assert view.is_intact()
follower = dm.RingReader(path).follow()
next(follower)
os.truncate(path, cut)
def refuses(look):
    try:
        look()
    except dm.Truncated as error:
        assert path in str(error)
    else:
        raise SystemExit(f"{look} was not refused")
assert reader.check() is dm.Gone.TRUNCATED
looks = [reader.read, reader.view, lambda: reader.behind, lambda: reader.symbols, lambda: reader.slots, view.is_intact,
         reader.from_oldest, reader.from_newest, lambda: reader.symbol(99)]
for look in looks:
    refuses(look)
# Grown again, it holds zeros and no records.
os.truncate(path, 1 << 20)
refuses(reader.read)
os.truncate(path, cut)
refuses(lambda: [next(follower) for _ in range(100)])
print("alive")
"""


@pytest.mark.parametrize("cut", [0, HEADER_BYTES, 2 * HEADER_BYTES + 64])
def test_a_file_cut_off_under_its_mapping_is_told_and_kills_nobody(writer: Writer, cut: int) -> None:
    writer.push(50)
    command = [sys.executable, "-c", _CUT, str(writer.path), str(cut)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment())
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def test_a_mapping_outlives_nothing_but_its_views(writer: Writer) -> None:
    writer.push(5)
    before = len(os.listdir("/proc/self/fd"))
    with RingReader(str(writer.path)) as reader:
        view = reader.view()
    assert numbers(view) == [0, 1, 2, 3, 4]
    del view
    for _ in range(20):
        RingReader(str(writer.path)).read()
    assert len(os.listdir("/proc/self/fd")) == before
    assert mmap.PAGESIZE <= HEADER_BYTES
