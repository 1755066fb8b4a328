"""Every error of this package. Each text says what is wrong and what to do about it."""

from __future__ import annotations


class DataManagerError(Exception):
    """Anything that this package raises on purpose, wrong arguments (``ValueError``) apart."""


class RingError(DataManagerError):
    """A ring cannot be read."""


class SegmentMissing(RingError):
    """There is no file of that name: no writer has run yet, or under another prefix."""


class SegmentPermission(RingError):
    """The file may not be read by this user."""


class NotARing(RingError):
    """There is something else under that name."""


class WrongVersion(RingError):
    """A ring of another layout version."""


class BadHeader(RingError):
    """A field of the header holds what no writer of this version writes."""


class Truncated(RingError):
    """The file is shorter than its header declares. A reader that raised it must be dropped."""


class StreamError(DataManagerError):
    """The stream cannot be read."""


class ExtraMissing(DataManagerError, ImportError):
    """An optional dependency is not installed."""


class ConnectFailed(StreamError):
    """No server answered, or none let us in."""


class StreamMissing(StreamError):
    """The server has no stream of that name."""


class BadMessage(StreamError):
    """One message holds no records. The next read goes on behind it."""

    def __init__(self, sequence: int, subject: str, reason: str) -> None:
        super().__init__(f"sequence {sequence} on {subject}: {reason}")
        self.sequence = sequence
        self.subject = subject
        self.reason = reason
