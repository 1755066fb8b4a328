"""One pull consumer's messages, as they come.

nats-py's own ``fetch`` waits until a batch is full or its time is over, which would delay every live trade by seconds;
so the requests are made here, by the server's public protocol, a next one before the last one is used up.

It notices when something may be missing and says so by :class:`Doubt`: what to do then is the caller's business.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

EXPIRES = 30.0
"""Seconds that the server keeps a request."""
HEARTBEAT = 5.0
"""Seconds after which the server shows life on a request that it cannot serve."""


class Doubt(Exception):
    """The consumer is gone, or messages of it may be: it must be looked up or made anew."""


class Pull:
    """Requests and messages of one consumer, on an inbox of its own."""

    def __init__(self, client: Client, api: str, stream: str, consumer: str, batch: int) -> None:
        self._client = client
        self._subject = f"{api}.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._batch = batch
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._messages: deque[Msg] = deque()
        self._arrived = asyncio.Event()
        self._outstanding = 0
        self._doubt = ""
        self._heard = 0.0

    async def start(self) -> None:
        """Begins to listen; nothing is asked for yet."""
        self._subscription = await self._client.subscribe(self._inbox, cb=self._take)

    def doubt(self, why: str) -> None:
        """Lets the next look for a message fail, once what has arrived is taken."""
        self._doubt = why
        self._arrived.set()

    @property
    def has_message(self) -> bool:
        """Whether :meth:`next` would not wait."""
        return bool(self._messages)

    async def stop(self) -> None:
        """Stops listening; what has arrived and was not taken is dropped."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._client.is_closed:
            await subscription.unsubscribe()

    async def next(self) -> Msg:
        """The next message. It may be cancelled at any time, and loses nothing by it."""
        waiting_since = time.monotonic()
        while not self._messages:
            if self._doubt:
                raise Doubt(self._doubt)
            if self._outstanding < self._batch:
                await self._ask()
            self._arrived.clear()
            if self._messages or self._doubt:
                continue
            try:
                await asyncio.wait_for(self._arrived.wait(), HEARTBEAT)
            except asyncio.TimeoutError:
                if time.monotonic() - max(self._heard, waiting_since) > 2 * HEARTBEAT:
                    raise Doubt(f"nothing was heard of the server for {2 * HEARTBEAT:.0f} s") from None
        if self._outstanding < self._batch // 2 and not self._doubt:
            await self._ask()
        # Behind the last place where it can be cancelled.
        return self._messages.popleft()

    async def _ask(self) -> None:
        request = {"batch": self._batch, "expires": int(EXPIRES * 1e9), "idle_heartbeat": int(HEARTBEAT * 1e9)}
        await self._client.publish(self._subject, json.dumps(request).encode(), self._inbox)
        self._outstanding += self._batch

    async def _take(self, message: Msg) -> None:
        self._heard = time.monotonic()
        status = message.headers.get("Status") if message.headers else None
        if status is None or message.data:
            self._messages.append(message)
            self._outstanding -= 1
        elif status == "408" or status == "404":
            # A request has run out; the header says how much of it was not served.
            unserved = int((message.headers or {}).get("Nats-Pending-Messages", self._outstanding))
            self._outstanding = max(0, self._outstanding - unserved)
        elif status != "100":
            self._doubt = f"{status} {(message.headers or {}).get('Description', 'no responders')}"
        self._arrived.set()
