"""Fixtures: a recording that stands still, and live daemons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from daemon import Daemon, NatsServer, ending, wait_until

from data_manager_client import RingReader

RECORDS = 20_000


@dataclass
class Recording:
    """What a daemon has published before it was drained: closed rings and a stream that nobody adds to."""

    daemon: Daemon
    server: NatsServer

    def ring(self, exchange: str) -> RingReader:
        return RingReader.open(exchange, self.daemon.prefix)


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    home = tmp_path_factory.mktemp("recording")
    server = NatsServer(home / "nats")
    try:
        with ending(Daemon(home / "daemon", nats=server.url, rate=6000)) as daemon:
            for exchange in ("binance", "okx"):
                _wait_for_records(daemon, exchange)
            assert daemon.process.terminate() == 0, daemon.log.read_text()[-3000:]
            yield Recording(daemon, server)
    finally:
        server.process.end()


def _wait_for_records(daemon: Daemon, exchange: str) -> None:
    with RingReader.open(exchange, daemon.prefix) as reader:
        wait_until(f"{RECORDS} records of {exchange}", lambda: reader.behind >= RECORDS, daemon.log)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "nats")
    yield server
    server.process.end()
