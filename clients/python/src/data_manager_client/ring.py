"""A reader of one exchange's ring in shared memory.

Any number of readers, each at its own pace, none known to the writer: a reader that is too slow is overtaken
("lapped") and told how many records it lost, exactly. The ring remembers its last ``capacity`` records and nothing
longer; the stream is the memory.

Record ``n`` lies in slot ``n mod capacity``. The slot's sequence is ``2n+1`` while the record is written and ``2n+2``
once it is whole. A reader copies the record between two looks at the sequence, and keeps the copy only where both
looks found ``2n+2``.

Memory order
    Python has no fences. On x86-64 a processor makes loads in program order, so the two looks enclose the copy and a
    record that passes is whole. On machines that may reorder loads (aarch64) the second look is the only guard: it
    finds a slot whose sequence it sees changed, but nothing forbids that the copy's own loads are made before the
    first look or after the second one, and then a stale or torn record could pass. The hundreds of instructions that
    the interpreter runs between the steps make that unlikely, not impossible. Where that matters, read the stream, or
    the ring with the Rust reader. That an aligned word is read in one access is taken for granted.

A reader belongs to one thread at a time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import SegmentMissing
from .records import TRADE_DTYPE, Record, Records, decode
from .segment import Segment, Words, segment_path

_FOLLOW_BATCH = 4096
_CHECK_EVERY = 0.1


class Gone(Enum):
    """Why no record will come from this mapping. Its text says it in words."""

    CLOSED = "the writer has closed the ring, and all of it is read"
    SILENT = "the writer shows no life: killed, or stopped"
    REPLACED = "another writer has replaced the ring"
    REMOVED = "the ring's file has been removed"
    TRUNCATED = "the ring's file has been cut off: this reader must be dropped"

    def __str__(self) -> str:
        return self.value


class Lost(NamedTuple):
    """Records that were overwritten before this reader came to them."""

    exchange: str
    records: int
    """How many."""
    epoch: int
    """Of which writer."""


@dataclass(frozen=True)
class Batch:
    """Records in the writer's order, each whole; a copy, so it stays as it is."""

    records: Records
    position: int
    """Number of the first of them since the epoch began."""
    lost: int
    """Records lost right in front of them, because the writer has overtaken this reader."""

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True)
class View:
    """Records where they lie in the ring, not copied: the writer may overwrite them at any time.

    Compute, then ask :meth:`is_intact`. If it says no, throw away what was computed: all of these records count as
    lost then, ``len(view)`` of them.
    """

    records: Records
    position: int
    """Number of the first of them since the epoch began."""
    lost: int
    """Records lost right in front of them, because the writer has overtaken this reader."""
    _sequences: Words
    _segment: Segment

    def __len__(self) -> int:
        return len(self.records)

    def is_intact(self) -> bool:
        """Whether none of the records has been touched since the view was taken. Raises ``Truncated``."""
        self._segment.guard()
        return bool(np.array_equal(self._sequences, _whole(self.position, len(self.records))))


class RingReader:
    """Reads one ring. It stands at the oldest record that will stay for a while, or where ``from_...`` puts it.

    Every method that looks at the ring raises :class:`~data_manager_client.Truncated` when the file has been cut off;
    the reader must then be dropped, and views of it must not be touched, or the process ends with SIGBUS.
    """

    def __init__(self, path: str) -> None:
        self._segment = Segment(path)
        self._position = 0
        self._symbols: dict[int, str] = {}
        self._symbols_read = 0
        self._beat, self._beat_since = 0, 0.0
        self._begin()

    @classmethod
    def open(cls, exchange: str, prefix: str = "/data_manager_", directory: str = "/dev/shm") -> RingReader:
        """Opens an exchange's ring by name; ``prefix`` is the writer's ``transport.ipc.shm_path_prefix``."""
        return cls(segment_path(exchange, prefix, directory))

    def read(self, max_records: int = 4096) -> Batch:
        """The next records, at most ``max_records``; none when there is nothing new.

        From where the reader stood, ``len(batch) + batch.lost`` is what :attr:`position` grows by, always.
        """
        segment = self._segment
        segment.guard()
        lost = 0
        ready = self._ready(max_records)
        if ready == 0 and self._is_lapped():
            lost = self._skip()
            ready = self._ready(max_records)
        position = self._position
        words = self._copy(position, ready)
        # The second look, behind the copy.
        intact = self._sequences(position, ready) == _whole(position, ready)
        first = 0
        if ready and not intact[0]:
            lost += self._skip()
            # The writer overwrites the oldest first: what lies beyond the new position may be whole in the copy.
            first = min(self._position - position, ready)
        count = _run(intact[first:])
        batch = Batch(_records(words[first : first + count]), self._position, lost)
        self._position += count
        return batch

    def view(self, max_records: int = 4096) -> View:
        """As :meth:`read`, without a copy: the records where they lie, up to the end of the ring's memory."""
        segment = self._segment
        segment.guard()
        lost = 0
        ready = self._ready(max_records)
        if ready == 0 and self._is_lapped():
            lost = self._skip()
            ready = self._ready(max_records)
        at = self._position & (self.capacity - 1)
        end = min(at + ready, self.capacity)
        slots = segment.slots[at:end]
        view = View(slots["record"], self._position, lost, segment.words[at:end, 0], segment)
        self._position += end - at
        return view

    def from_oldest(self) -> None:
        """Goes to the oldest record that will stay for a while.

        That is record 0, or on a ring that has wrapped and still has a writer an eighth of the ring behind the oldest
        one, which is about to be overwritten.
        """
        self._segment.guard()
        self._stand_at_oldest()

    def from_newest(self) -> None:
        """Goes to the end: what is published from now on."""
        self._segment.guard()
        self._position = self._segment.head()

    def check(self, silence: float = 3.0) -> Gone | None:
        """Whether records can still come; for when :meth:`read` has found nothing for a while, every 100 ms say.

        ``silence`` is how long, in seconds, the heartbeat may stand still, at least 2. Only its change is looked at,
        never its age: wall time may step. So silence is found by calling this again and again. A writer that was
        ``SILENT`` may come back; after ``TRUNCATED`` alone the reader must not be used again.
        """
        segment = self._segment
        if segment.file_bytes() < segment.header.segment_bytes:
            return Gone.TRUNCATED
        replaced = segment.is_replaced()
        if replaced is None:
            return Gone.REMOVED
        if replaced:
            return Gone.REPLACED
        # The state first: the last record may be stored between the two looks, and cannot hide behind the mark.
        if segment.is_closed() and self._ready(1) == 0 and not self._is_lapped():
            return Gone.CLOSED
        now, beat = time.monotonic(), segment.heartbeat()
        if beat != self._beat:
            self._beat, self._beat_since = beat, now
        return Gone.SILENT if now - self._beat_since > silence else None

    def reopen(self) -> bool:
        """Opens what stands under the name now; whether that is another writer's ring, at whose oldest record the
        reader then stands.

        What it has not read of the old ring it gives up, so read until nothing comes first. Where opening fails, as
        with ``SegmentMissing`` while there is no new writer yet, the reader is as before.
        """
        segment = Segment(self._segment.path)
        if segment.identity == self._segment.identity and segment.header.epoch == self.epoch:
            segment.close()
            return False
        self._segment.close()
        self._segment = segment
        self._begin()
        return True

    def follow(self, poll: float = 0.001) -> Iterator[Record | Lost]:
        """Yields what is there and what comes, without end; over a writer's restart too.

        It sleeps ``poll`` seconds when there is nothing new. Of a new writer's ring it reads all that is left of it;
        :attr:`epoch` tells which one it is.
        """
        check_at = time.monotonic()
        while True:
            idle = True
            for item in self._items():
                idle = False
                yield item
            if not idle:
                continue
            now = time.monotonic()
            if now >= check_at:
                check_at = now + _CHECK_EVERY
                if self.check() in (Gone.REPLACED, Gone.REMOVED, Gone.TRUNCATED):
                    # What it wrote between our last look and its end.
                    yield from self._drain()
                    yield from self._succeed()
            time.sleep(poll)

    @property
    def slots(self) -> Records:
        """All slots as they lie in memory, read-only, not copied: ``seq`` and ``record``. For the curious."""
        self._segment.guard()
        return self._segment.slots

    @property
    def position(self) -> int:
        """Number of the next record since the epoch began."""
        return self._position

    @property
    def behind(self) -> int:
        """Records that are published and not read yet."""
        self._segment.guard()
        return max(0, self._segment.head() - self._position)

    @property
    def capacity(self) -> int:
        """Records that the ring remembers."""
        return self._segment.header.capacity

    @property
    def exchange(self) -> str:
        """The exchange's token."""
        return self._segment.header.exchange

    @property
    def epoch(self) -> int:
        """When the writer began, ns since the Unix epoch; positions count from there."""
        return self._segment.header.epoch

    @property
    def path(self) -> str:
        """The segment's file."""
        return self._segment.path

    @property
    def symbols(self) -> dict[int, str]:
        """Symbols by instrument id. It grows as the writer adds some."""
        self._segment.guard()
        self._symbols_read, found = self._segment.symbols_from(self._symbols_read)
        self._symbols.update(found)
        return self._symbols

    def symbol(self, instrument_id: int) -> str:
        """The symbol of an instrument id; ``#`` and the id where the writer has named none."""
        known = self._symbols.get(instrument_id)
        return known if known is not None else self.symbols.get(instrument_id, f"#{instrument_id}")

    def close(self) -> None:
        """Lets go of the ring; the reader and its views must not be used afterwards."""
        self._segment.close()

    def __enter__(self) -> RingReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _begin(self) -> None:
        """Everything that belongs to one segment."""
        segment = self._segment
        self._symbols, self._symbols_read = {}, 0
        self._beat, self._beat_since = segment.heartbeat(), time.monotonic()
        self._stand_at_oldest()

    def _stand_at_oldest(self) -> None:
        if self._segment.is_closed():
            self._position = max(0, self._segment.head() - self.capacity)
        else:
            self._position = self._oldest_safe()

    def _items(self) -> Iterator[Record | Lost]:
        """One batch, decoded."""
        batch = self.read(_FOLLOW_BATCH)
        if batch.lost:
            yield Lost(self.exchange, batch.lost, self.epoch)
        yield from decode(batch.records, self.exchange, self.symbol)

    def _drain(self) -> Iterator[Record | Lost]:
        left = True
        while left:
            left = False
            for item in self._items():
                left = True
                yield item

    def _succeed(self) -> Iterator[Lost]:
        """Goes over to a new writer's ring, if there is one."""
        try:
            is_new = self.reopen()
        except SegmentMissing:
            return
        if is_new and self._position:
            yield Lost(self.exchange, self._position, self.epoch)

    def _ready(self, max_records: int) -> int:
        """How many records from the position on are whole."""
        if self._sequence() != 2 * self._position + 2:
            return 0
        # The slots' own sequences decide. `head` may trail them, so it only says how many are worth a look.
        hint = max(self._segment.head() - self._position, 64)
        count = max(0, min(max_records, hint, self.capacity))
        return _run(self._sequences(self._position, count) == _whole(self._position, count))

    def _is_lapped(self) -> bool:
        """Whether the slot of the next record holds a later one."""
        return self._sequence() > 2 * self._position + 2

    def _sequence(self) -> int:
        """The sequence in the slot of the next record."""
        return int(self._segment.words[self._position & (self.capacity - 1), 0])

    def _skip(self) -> int:
        """Leaves what has been overwritten; how many records that loses."""
        lost = max(self._oldest_safe(), self._position + 1) - self._position
        self._position += lost
        return lost

    def _oldest_safe(self) -> int:
        """The oldest record that the writer will not overwrite within the next eighth of the ring."""
        oldest = self._segment.head() - self.capacity
        return oldest + max(self.capacity // 8, 1) if oldest >= 0 else 0

    def _sequences(self, position: int, count: int) -> Words:
        """A copy of the sequences of ``count`` slots."""
        words = self._segment.words
        at = position & (self.capacity - 1)
        end = at + count
        if end <= self.capacity:
            return words[at:end, 0].copy()
        return np.concatenate((words[at:, 0], words[: end - self.capacity, 0]))

    def _copy(self, position: int, count: int) -> Words:
        """A copy of the record words of ``count`` slots."""
        words = self._segment.words
        at = position & (self.capacity - 1)
        end = at + count
        if end <= self.capacity:
            return words[at:end, 1:7].copy()
        return np.concatenate((words[at:, 1:7], words[: end - self.capacity, 1:7]))


def _whole(position: int, count: int) -> Words:
    """The sequences of ``count`` slots whose records are whole."""
    return np.arange(count, dtype=np.uint64) * np.uint64(2) + np.uint64(2 * position + 2)


def _run(good: npt.NDArray[np.bool_]) -> int:
    """How many are true before the first that is not."""
    return len(good) if good.all() else int(good.argmin())


def _records(words: Words) -> Records:
    records: Records = words.reshape(-1).view(TRADE_DTYPE)
    return records
