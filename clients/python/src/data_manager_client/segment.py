"""A segment as a file and as read-only memory: how it is opened and checked, and its words.

It decides nothing about records. Every access goes through :meth:`Segment.guard` first: a file that was cut off under
its mapping ends the process with SIGBUS at the next touch, and no Python code could catch that.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt

from . import layout
from .errors import NotARing, RingError, SegmentMissing, SegmentPermission
from .layout import Header
from .records import Records

Words = npt.NDArray[np.uint64]

_SYMBOL_DTYPE: np.dtype[np.void] = np.dtype(
    {
        "names": ["id", "length", "text"],
        "formats": ["<u4", "u1", ("u1", (layout.SYMBOL_BYTES_MAX,))],
        "offsets": [0, 4, 8],
        "itemsize": layout.SYMBOL_ENTRY_BYTES,
    }
)


def segment_path(exchange: str, prefix: str, directory: str) -> str:
    """The path of an exchange's segment: ``{directory}{prefix}{exchange}``."""
    if not prefix.startswith("/") or "/" in prefix[1:]:
        raise ValueError(f'prefix {prefix!r} must start with "/" and hold no other one, as in "/data_manager_"')
    if not 1 <= len(exchange.encode()) <= layout.EXCHANGE_BYTES_MAX or "/" in exchange:
        raise ValueError(f'exchange {exchange!r} must have 1 to {layout.EXCHANGE_BYTES_MAX} bytes and no "/"')
    if "\0" in prefix + exchange:
        raise ValueError("a NUL byte cannot stand in a file name")
    return os.path.join(directory, prefix[1:] + exchange)


class Segment:
    """An open, checked and mapped segment."""

    _fd = -1

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = _open(path)
        try:
            self.header, self.identity = _checked(self._fd, path)
            self._map = self._mapped()
        except BaseException:
            self._release()
            raise
        self._cut = False
        self._head = self._word(layout.AT_HEAD, "<u8")
        self._heartbeat = self._word(layout.AT_HEARTBEAT, "<u8")
        self._state = self._word(layout.AT_STATE, "<u4")
        self._symbol_count = self._word(layout.AT_SYMBOLS, "<u4")
        header = self.header
        self._entries: Records = np.frombuffer(self._map, _SYMBOL_DTYPE, header.symbols_max, header.symbol_table)
        self.slots: Records = np.frombuffer(self._map, layout.SLOT_DTYPE, header.capacity, header.slots)
        words: Words = np.frombuffer(self._map, "<u8", header.capacity * layout.SLOT_WORDS, header.slots)
        self.words = words.reshape(header.capacity, layout.SLOT_WORDS)

    def guard(self) -> None:
        """Raises before memory is touched that the file no longer has.

        One system call. What is cut off between it and the access behind it is not seen; no writer of data-manager
        ever shortens a segment.
        """
        found = self.file_bytes()
        if found < self.header.segment_bytes:
            raise layout.truncated(self.path, self.header.segment_bytes, found)

    def file_bytes(self) -> int:
        """The file's length, 0 once it was found too short: what was cut off and grown again holds no records."""
        if self._fd < 0:
            raise RingError(f"{self.path}: this reader is closed; open another one")
        found = 0 if self._cut else os.fstat(self._fd).st_size
        self._cut = found < self.header.segment_bytes
        return found

    def head(self) -> int:
        """Records published since the epoch began."""
        # No writer gets this far; a hostile one must not bring a position beyond 64 bits.
        return min(int(self._head[0]), 1 << 62)

    def heartbeat(self) -> int:
        """The writer's last sign of life."""
        return int(self._heartbeat[0])

    def is_closed(self) -> bool:
        """Whether the writer says that nothing follows."""
        return int(self._state[0]) == layout.STATE_CLOSED

    def symbols_from(self, first: int) -> tuple[int, dict[int, str]]:
        """Symbols of the table's entries from ``first`` on, and the number of entries read so far."""
        # A count beyond the table is a lie; what the table holds is read all the same.
        count = min(int(self._symbol_count[0]), self.header.symbols_max)
        found = {}
        for entry in self._entries[first:count]:
            symbol = _symbol(bytes(entry["text"]), int(entry["length"]))
            if symbol is not None:
                found[int(entry["id"])] = symbol
        return max(first, count), found

    def is_replaced(self) -> bool | None:
        """Whether another file stands under the name; ``None``: nothing does."""
        try:
            there = os.lstat(self.path)
        except FileNotFoundError:
            return None
        except OSError:
            return False
        return (there.st_dev, there.st_ino) != self.identity

    def close(self) -> None:
        """Lets go of file and memory; the memory stays as long as a view of it is held."""
        if self._fd < 0:
            return
        self._release()
        del self._head, self._heartbeat, self._state, self._symbol_count, self._entries, self.slots, self.words
        # Not closed by force: a caller's view may hold it, and it goes with the last of them.
        del self._map

    def __del__(self) -> None:
        self._release()

    def _release(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _mapped(self) -> mmap.mmap:
        # Populated: the first look at each page shall not pay for a page fault.
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        try:
            return mmap.mmap(self._fd, self.header.segment_bytes, flags=flags, prot=mmap.PROT_READ)
        except ValueError:
            # Python compares with the file's length once more.
            raise layout.truncated(self.path, self.header.segment_bytes, os.fstat(self._fd).st_size) from None
        except OSError as error:
            raise RingError(f"cannot map {self.path}: {error.strerror}") from error

    def _word(self, at: int, kind: str) -> npt.NDArray[Any]:
        return np.frombuffer(self._map, kind, 1, at)


def _open(path: str) -> int:
    # Without NONBLOCK, a named pipe of this name would hold us up for ever.
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise SegmentMissing(f"no ring at {path}; is `data-manager serve --ipc` running?") from None
    except PermissionError:
        raise SegmentPermission(
            f"no permission to read {path}; join its group, or change transport.ipc.mode of the writer"
        ) from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise NotARing(f"{path} is not a regular file, so no ring; remove it") from None
        raise RingError(f"cannot open {path}: {error.strerror}") from error


def _checked(fd: int, path: str) -> tuple[Header, tuple[int, int]]:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise NotARing(f"{path} is not a regular file, so no ring; remove it")
    try:
        data = os.pread(fd, layout.HEADER_BYTES, 0)
    except OSError as error:
        raise RingError(f"cannot read {path}: {error.strerror}") from error
    header = layout.decode_header(data, status.st_size, path)
    return header, (status.st_dev, status.st_ino)


def _symbol(text: bytes, length: int) -> str | None:
    """A symbol of the table; ``None`` for an entry that no writer writes."""
    if not 1 <= length <= len(text):
        return None
    try:
        symbol = text[:length].upper().decode()
    except UnicodeDecodeError:
        return None
    return None if any(c.isspace() or unicodedata.category(c) == "Cc" for c in symbol) else symbol
