"""A consumer on the server: how it is made or found, and whether its messages are complete.

Every message carries the consumer's own count. As long as that counts on without a jump, everything that the server
has delivered has arrived; a jump means that something was lost on the way.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from .errors import StreamError, StreamMissing
from .pull import Doubt, Pull

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext
    from nats.js.api import ConsumerConfig, ConsumerInfo

_INACTIVE = 60.0
"""Seconds after which the server removes an ordered consumer that nobody reads."""
_NO_STREAM = 10059


@dataclass(frozen=True)
class Plan:
    """What is to be read, and how."""

    stream: str
    filters: list[str]
    start: str | datetime | int
    replay: str
    durable: str | None
    is_exact: bool
    """The reader, not the server, knows where it stands: the consumer is made anew there at any doubt."""
    batch: int
    ack_wait: float
    api_prefix: str


class Consumer:
    """One consumer, and the messages that it delivers."""

    def __init__(self, manager: JetStreamContext, plan: Plan, name: str, pull: Pull, delivered: int) -> None:
        self._manager = manager
        self._plan = plan
        self._name = name
        self._pull = pull
        self._delivered = delivered
        self.begins_at: int | None = None
        """The stream sequence at which a consumer begins that was made for "new", "all" or a time."""

    @classmethod
    async def make(cls, client: Client, plan: Plan, position: int | None) -> Consumer:
        """Makes the consumer, or finds it; ``position`` is the sequence to go on from, once one is known."""
        from nats.js.errors import APIError, NotFoundError

        manager = client.jetstream(prefix=plan.api_prefix)
        try:
            if plan.durable is None:
                info = await manager.add_consumer(plan.stream, _ordered(plan, position))
            else:
                info = await _durable(manager, plan, plan.durable, position)
        except NotFoundError as error:
            if error.err_code == _NO_STREAM:
                raise StreamMissing(f"the server has no stream {plan.stream}; create it, or name another one") from None
            raise
        except APIError as error:
            # 503 passes: a cluster that has no leader right now.
            if error.code == 503:
                raise
            raise StreamError(f"cannot read stream {plan.stream}: {error.description}") from error
        pull = Pull(client, plan.api_prefix, plan.stream, info.name, plan.batch)
        await pull.start()
        delivered = info.delivered
        made = cls(manager, plan, info.name, pull, delivered.consumer_seq if delivered else 0)
        if plan.durable is None and position is None and plan.start != "last" and delivered is not None:
            made.begins_at = delivered.stream_seq + 1
        return made

    async def next(self) -> Msg:
        """The next message; :class:`Doubt` when one before it is missing."""
        message = await self._pull.next()
        count = message.metadata.sequence.consumer
        # With a durable the server itself delivers again what was not acknowledged.
        if self._plan.is_exact and count != self._delivered + 1:
            raise Doubt(f"{count - self._delivered - 1} messages were lost on their way")
        self._delivered = count
        return message

    @property
    def has_message(self) -> bool:
        """Whether :meth:`next` would not wait."""
        return self._pull.has_message

    async def ack_floor(self) -> int:
        """The stream sequence up to which the server will deliver nothing again."""
        info = await self._manager.consumer_info(self._plan.stream, self._name)
        return info.ack_floor.stream_seq if info.ack_floor else 0

    def doubt(self, why: str) -> None:
        """Lets the next look for a message fail."""
        self._pull.doubt(why)

    async def stop(self) -> None:
        """Stops to listen."""
        await self._pull.stop()


def troubles() -> tuple[type[BaseException], ...]:
    """What may pass by itself, and is tried again."""
    from nats.errors import Error as NatsError

    return (Doubt, NatsError, StreamError, asyncio.TimeoutError, OSError)


async def _durable(manager: JetStreamContext, plan: Plan, name: str, position: int | None) -> ConsumerInfo:
    info = await _find(manager, plan.stream, name)
    if info is not None:
        _check(info, plan, name)
    if not plan.is_exact:
        return info or await manager.add_consumer(plan.stream, _acknowledged(plan, name, position))
    stream = await manager.stream_info(plan.stream)
    if stream.config.retention not in (None, "limits"):
        raise StreamError(
            f"stream {plan.stream} has {stream.config.retention} retention: only with limits can a durable consumer "
            "be made anew at a place; leave `after` out, or `durable`"
        )
    if info is not None:
        # What its last process took and did not acknowledge would come late and out of order.
        await manager.delete_consumer(plan.stream, name)
    return await manager.add_consumer(plan.stream, _acknowledged(plan, name, position))


async def _find(manager: JetStreamContext, stream: str, name: str) -> ConsumerInfo | None:
    from nats.js.errors import NotFoundError

    try:
        info: ConsumerInfo = await manager.consumer_info(stream, name)
        return info
    except NotFoundError as error:
        if error.err_code == _NO_STREAM:
            raise
        return None


def _check(info: ConsumerInfo, plan: Plan, name: str) -> None:
    """A consumer that was made for something else must not be taken for ours."""
    config = info.config
    filters = config.filter_subjects or [config.filter_subject or ">"]
    if sorted(filters) != sorted(plan.filters):
        raise StreamError(
            f"the durable consumer {name} reads {', '.join(filters)}, not {', '.join(plan.filters)}: "
            "use another name, or delete it"
        )
    if config.deliver_subject or config.ack_policy == "none":
        raise StreamError(f"the durable consumer {name} is no pull consumer with acknowledgements: use another name")


def _ordered(plan: Plan, position: int | None) -> ConsumerConfig:
    from nats.js.api import AckPolicy

    return _config(plan, position).evolve(
        ack_policy=AckPolicy.NONE, inactive_threshold=_INACTIVE, mem_storage=True, num_replicas=1
    )


def _acknowledged(plan: Plan, name: str, position: int | None) -> ConsumerConfig:
    from nats.js.api import AckPolicy

    return _config(plan, position).evolve(
        name=name,
        durable_name=name,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=plan.ack_wait,
        # More than is ever on its way, or the server would stop delivering before anything is acknowledged.
        max_ack_pending=max(1000, 4 * plan.batch),
    )


def _config(plan: Plan, position: int | None) -> ConsumerConfig:
    from nats.js.api import ConsumerConfig, DeliverPolicy, ReplayPolicy

    config = ConsumerConfig(filter_subjects=plan.filters, replay_policy=ReplayPolicy(plan.replay))
    if position is not None:
        return config.evolve(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=max(position, 1))
    if isinstance(plan.start, datetime):
        # As text: not every version of nats-py turns a datetime into it.
        start = plan.start.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
        return config.evolve(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=start)
    policies = {"new": DeliverPolicy.NEW, "all": DeliverPolicy.ALL, "last": DeliverPolicy.LAST_PER_SUBJECT}
    return config.evolve(deliver_policy=policies[str(plan.start)])
