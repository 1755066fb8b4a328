"""Reading the stream: in order, from a place in it, across lost connections.

Without ``durable`` the reader keeps nothing on the server: its ordered, ack-free consumer goes when it goes. With
``durable`` the server remembers what was acknowledged. With ``after`` the caller remembers, and is exact: nothing is
missed and nothing repeated, whatever dies.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from . import consumer, subjects
from .consumer import Consumer, Plan
from .errors import BadMessage, ConnectFailed, DataManagerError, ExtraMissing, StreamError
from .records import KIND_GAP, KIND_TRADE, RECORD_BYTES, Record, Records, decode, from_bytes

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

Start: TypeAlias = Literal["new", "all", "last"] | datetime | int

_RETRY_MIN, _RETRY_MAX = 0.2, 5.0
_KINDS = frozenset((KIND_TRADE, KIND_GAP))
_LOOK_AT = "is the server running there, and may this user connect?"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Message:
    """One message of the stream: the records of one instrument, in order; one, unless the writer packs them."""

    exchange: str
    symbol: str
    kind: str
    """``trades`` or ``gaps``."""
    sequence: int
    """Its stream sequence: what to give as ``after`` once it is stored."""
    redelivered: bool
    """Whether the server delivers it again; always new to this process. Only with ``durable`` and without ``after``."""
    records: Records

    def decoded(self) -> list[Record]:
        """The records as values with exact decimals."""
        return list(decode(self.records, self.exchange, self.symbol))


class StreamReader:
    """Reads one stream: ``async with StreamReader(url) as reader: async for message in reader: ...``.

    ``exchanges``, ``symbols``
        What to read; empty means all. ``kinds`` is ``("trades", "gaps")`` or one of them.
    ``start``
        ``"new"``: what comes from now on; ``"all"``: the oldest that is stored; ``"last"``: the last message of each
        subject, then what comes; a ``datetime`` with a zone (to the microsecond); an ``int``: a stream sequence.
    ``after``
        Begin right behind this stream sequence, whatever ``start`` says and the server remembers; 0 is the beginning.
        With ``durable`` the consumer is made anew at that place, which takes a stream with limits retention.
    ``durable``
        The name of a consumer that stays on the server. A message counts as handled, and is acknowledged in a batch
        with others, once the next one is asked for; or by :meth:`ack`. One process per name.
    ``replay``
        ``"instant"``, or ``"original"``: at the pace in which the messages were stored.
    ``connect_options``
        Everything else goes to ``nats.connect`` as it is: ``user``, ``password``, ``token``, ``nkeys_seed``,
        ``user_credentials``, ``tls``, ``inbox_prefix``, ...

    A message that holds no records raises :class:`~data_manager_client.BadMessage`; the next read goes on behind it.
    """

    def __init__(
        self,
        servers: str | Sequence[str] = "nats://localhost:4222",
        *,
        stream: str = "MARKET_DATA",
        subject_prefix: str = "market",
        exchanges: Sequence[str] = (),
        symbols: Sequence[str] = (),
        kinds: Sequence[str] = subjects.KINDS,
        start: Start = "new",
        after: int | None = None,
        durable: str | None = None,
        replay: Literal["instant", "original"] = "instant",
        batch: int = 500,
        ack_wait: float = 30.0,
        api_prefix: str = "$JS.API",
        open_timeout: float = 10.0,
        **connect_options: Any,
    ) -> None:
        if not kinds or not set(kinds) <= set(subjects.KINDS):
            raise ValueError(f"kinds are {subjects.KINDS} or one of them, not {kinds!r}")
        if isinstance(exchanges, str) or isinstance(symbols, str):
            raise ValueError("exchanges and symbols are lists of names")
        if replay not in ("instant", "original"):
            raise ValueError(f'replay is "instant" or "original", not {replay!r}')
        if isinstance(start, datetime) and start.tzinfo is None:
            raise ValueError("start has no time zone")
        if isinstance(start, str) and start not in ("new", "all", "last"):
            raise ValueError(f'start is "new", "all", "last", a datetime or a sequence, not {start!r}')
        if batch < 2:
            raise ValueError("batch must be at least 2")
        self._servers = [servers] if isinstance(servers, str) else list(servers)
        self._prefix = subject_prefix
        self._plan = Plan(
            stream=stream,
            filters=subjects.filters(subject_prefix, exchanges, symbols, kinds),
            start=start,
            replay=replay,
            durable=durable,
            is_exact=durable is None or after is not None,
            batch=batch,
            ack_wait=ack_wait,
            api_prefix=api_prefix,
        )
        self._open_timeout = open_timeout
        self._options = connect_options
        self._client: Client | None = None
        self._consumer: Consumer | None = None
        first = start if isinstance(start, int) else None
        self._next = first if after is None else after + 1
        """The sequence to go on from, once one is known."""
        self._current: Msg | None = None
        self._handled: list[Msg] = []
        self._yielded: set[int] = set()
        self._retry = _RETRY_MIN
        self._trouble = ""

    async def open(self) -> StreamReader:
        """Connects and makes or finds the consumer. ``async with`` does it too."""
        try:
            await self._connect()
            await self._begin()
        except (DataManagerError, asyncio.CancelledError):
            await self.close()
            raise
        except Exception as error:
            await self.close()
            raise StreamError(f"cannot read stream {self._plan.stream}: {error}; has the server JetStream?") from error
        return self

    async def next(self, timeout: float | None = None) -> Message | None:
        """The next message; ``None`` when none has come within ``timeout`` seconds.

        It may be cancelled at any time, and loses nothing by it.
        """
        try:
            return await asyncio.wait_for(self._take(), timeout)
        except asyncio.TimeoutError:
            return None

    async def ack(self) -> None:
        """Acknowledges everything that was yielded so far, the last message too. Nothing to do without ``durable``."""
        self._settle()
        await self._send_acks()
        if self._client is not None:
            await self._client.flush()

    async def close(self) -> None:
        """Acknowledges what was handled, and disconnects. The last message yielded is not counted as handled."""
        client, self._client = self._client, None
        if client is None or client.is_closed:
            return
        try:
            if client.is_connected:
                await self._send_acks(client)
                await client.flush()
        except Exception as error:  # A connection that is going: the server delivers again what it did not hear of.
            _log.debug("closing: %s", error)
        try:
            await client.close()
        except AttributeError:
            # Some versions of nats-py trip over a connection that never came to be.
            _log.debug("closing a client that was never connected")

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        return await self._take()

    async def __aenter__(self) -> StreamReader:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def _take(self) -> Message:
        self._settle()
        while True:
            message = await self._receive()
            metadata = message.metadata
            sequence = metadata.sequence.stream
            if self._is_repeat(sequence):
                self._handled.append(message)
                continue
            self._current = message
            self._next = max(sequence + 1, self._next or 0)
            if not self._plan.is_exact:
                self._yielded.add(sequence)
            return self._read(message, sequence, metadata.num_delivered > 1)

    def _is_repeat(self, sequence: int) -> bool:
        # An exact reader gets all in order, so whatever is behind it was there before.
        return sequence < (self._next or 0) if self._plan.is_exact else sequence in self._yielded

    def _read(self, message: Msg, sequence: int, redelivered: bool) -> Message:
        parts = subjects.parse(self._prefix, message.subject)
        if parts is None:
            raise BadMessage(sequence, message.subject, "the subject is none of ours")
        data = message.data
        if not data or len(data) % RECORD_BYTES:
            raise BadMessage(sequence, message.subject, f"{len(data)} bytes are no records of {RECORD_BYTES}")
        for kind in data[RECORD_BYTES - 1 :: RECORD_BYTES]:
            if kind not in _KINDS:
                raise BadMessage(sequence, message.subject, f"record kind {kind} is unknown to this version")
        return Message(parts.exchange, parts.symbol, parts.kind, sequence, redelivered, from_bytes(data))

    async def _receive(self) -> Msg:
        while True:
            if self._client is None:
                raise StreamError("the reader is not open; use `async with StreamReader(...)`, or await open()")
            if self._client.is_closed:
                raise StreamError(f"the connection is closed: {self._trouble or 'the client has given up'}")
            try:
                if self._consumer is None:
                    await self._begin()
                if self._consumer is not None:
                    await self._maybe_ack(self._consumer)
                    message = await self._consumer.next()
                    self._retry = _RETRY_MIN
                    return message
            except consumer.troubles() as error:
                _log.warning("reading the stream was interrupted, trying again: %s", error)
                await self._pause()

    async def _pause(self) -> None:
        """Lets go of the consumer, and waits a little longer each time."""
        gone, self._consumer = self._consumer, None
        wait, self._retry = self._retry, min(self._retry * 2, _RETRY_MAX)
        if gone is not None:
            await gone.stop()
        await asyncio.sleep(wait)

    async def _begin(self) -> None:
        assert self._client is not None
        fresh = await Consumer.make(self._client, self._plan, self._next)
        self._consumer = fresh
        if fresh.begins_at is not None:
            # Kept, so that a connection lost before the first message does not begin at another place.
            self._next = fresh.begins_at

    def _settle(self) -> None:
        """What was yielded last counts as handled now."""
        current, self._current = self._current, None
        if current is not None and self._plan.durable is not None:
            self._handled.append(current)

    async def _maybe_ack(self, source: Consumer) -> None:
        # Before each wait, so that the last messages of a burst do not wait for the next one.
        if self._handled and (len(self._handled) >= self._plan.batch // 2 or not source.has_message):
            await self._send_acks()
            if len(self._yielded) > 20 * self._plan.batch:
                floor = await source.ack_floor()
                self._yielded = {sequence for sequence in self._yielded if sequence > floor}

    async def _send_acks(self, client: Client | None = None) -> None:
        client = client or self._client
        handled, self._handled = self._handled, []
        if client is not None and self._plan.durable is not None:
            for message in handled:
                await client.publish(message.reply, b"+ACK")

    async def _connect(self) -> None:
        try:
            from nats.aio.client import Client
            from nats.errors import Error as NatsError
        except ImportError as error:
            raise ExtraMissing("reading the stream needs nats-py: pip install 'data-manager-client[nats]'") from error
        options = {"name": "data-manager-client", "max_reconnect_attempts": -1, **self._options}
        options["error_cb"] = self._on_error(options.get("error_cb"))
        options["reconnected_cb"] = self._on_reconnect(options.get("reconnected_cb"))
        client = self._client = Client()
        servers = ", ".join(self._servers)
        try:
            await asyncio.wait_for(client.connect(servers=self._servers, **options), self._open_timeout)
        except asyncio.TimeoutError:
            why = self._trouble or f"no answer within {self._open_timeout:g} s"
            raise ConnectFailed(f"cannot connect to {servers}: {why}; {_LOOK_AT}") from None
        except (NatsError, OSError) as error:
            raise ConnectFailed(f"cannot connect to {servers}: {error}; {_LOOK_AT}") from error

    def _on_error(self, also: Callable[[Exception], Any] | None) -> Callable[[Exception], Any]:
        async def on_error(error: Exception) -> None:
            self._trouble = str(error) or type(error).__name__
            _log.debug("nats: %s", self._trouble)
            if also is not None:
                await also(error)

        return on_error

    def _on_reconnect(self, also: Callable[[], Any] | None) -> Callable[[], Any]:
        async def on_reconnect() -> None:
            # What was under way on the old connection is lost.
            if self._consumer is not None:
                self._consumer.doubt("the connection was lost and made anew")
            if also is not None:
                await also()

        return on_reconnect


async def read_stream(
    servers: str | Sequence[str] = "nats://localhost:4222",
    *,
    on_bad: Callable[[BadMessage], None] | None = None,
    **options: Any,
) -> AsyncIterator[Message]:
    """Messages of a stream, without end; ``options`` are those of :class:`StreamReader`.

    A message that holds no records is given to ``on_bad``, and reading goes on; without ``on_bad`` it is raised, and
    that is the end.
    """
    async with StreamReader(servers, **options) as reader:
        while True:
            try:
                yield await reader.__anext__()
            except BadMessage as error:
                if on_bad is None:
                    raise
                on_bad(error)
