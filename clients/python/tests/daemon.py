"""The real daemon and a real nats-server, each a process of its own, gone with its files when the test ends."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SHM = Path("/dev/shm")
DEADLINE = 60.0
"""Long enough for any machine; reached only when something is broken."""
_PAUSE = 0.01
_numbers = itertools.count()


def wait_until(what: str, holds: Callable[[], object], log: Path | None = None) -> None:
    """Polls until it holds; fails with ``what`` and the log's end after the deadline."""
    end = time.monotonic() + DEADLINE
    while not holds():
        if time.monotonic() > end:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:]) if log and log.exists() else ""
            raise AssertionError(f"not within {DEADLINE:.0f} s: {what}\n{tail}")
        time.sleep(_PAUSE)


def binary(variable: str, how: str) -> str:
    """The program that an environment variable names."""
    path = os.environ.get(variable, "")
    if not path or not os.access(path, os.X_OK):
        raise RuntimeError(f"{variable} is {path or 'not set'}: it must name {how}; `make test-python` does all of it")
    return path


def daemon_binary() -> str:
    return binary("DATA_MANAGER_BIN", "the built daemon (cargo build, then target/debug/data-manager)")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A child process whose output goes to a file."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment())

    def kill(self) -> None:
        """As a crash: SIGKILL."""
        self.child.kill()
        self.child.wait()

    def terminate(self) -> int:
        """SIGTERM, then waits for its end; the exit code."""
        self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end after SIGTERM:\n{self.log.read_text()[-3000:]}") from None

    def end(self) -> None:
        """Whatever state it is in."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.kill()


class NatsServer:
    """One nats-server with JetStream, on a port that it keeps over restarts."""

    def __init__(self, home: Path, more: str = "") -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._home, self._more = home, more
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        config = self._home / "server.conf"
        store = self._home / "store"
        config.write_text(f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{store}" }}\n{self._more}\n')
        command = [binary("NATS_SERVER_BIN", "a nats-server (make tools, then .tools/nats-server-*/nats-server)")]
        self.process = Process([*command, "-c", str(config)], self._home / "server.log")
        wait_until("the nats-server is ready", self._is_ready, self.process.log)

    def _is_ready(self) -> bool:
        assert self.process.child.poll() is None, self.process.log.read_text()
        return "Server is ready" in self.process.log.read_text() and self._answers()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                return connection.recv(4) == b"INFO"
        except OSError:
            return False

    def restart(self) -> None:
        """SIGKILL, then the same store again."""
        self.process.kill()
        self.process.log.unlink()
        self.start()


class Daemon:
    """``data-manager serve --sim`` with a configuration of its own."""

    def __init__(self, home: Path, capacity: int = 65536, rate: int = 4000, nats: str | None = None) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._rate, self.nats = rate, nats
        self.prefix = f"/dm_py_{os.getpid()}_{next(_numbers)}_"
        self.config = home / "config.toml"
        self.log = home / "daemon.log"
        self.config.write_text(f"""
[exchanges.binance]
symbols = ["BTCUSDT", "ETHUSDT"]
[exchanges.okx]
symbols = ["BTCUSDT", "ETHUSDT"]
[transport.ipc]
shm_path_prefix = "{self.prefix}"
capacity = {capacity}
[transport.nats]
outbox_dir = "{home / "outbox"}"
[transport.nats.jetstream]
stream_name = "PY_DATA"
subject_prefix = "py.market"
[http]
listen = ""
""")
        self.start()

    def start(self) -> None:
        before = self._rings()
        command = [daemon_binary(), "serve", "--sim", "--rate", str(self._rate), "--ipc"]
        command += ["--nats", self.nats] if self.nats else []
        self.process = Process([*command, "--config", str(self.config)], self.log)
        # A daemon before this one has left its rings under the same names.
        wait_until("the daemon has made its rings", lambda: self._has_made(before), self.log)

    def _has_made(self, before: set[int]) -> bool:
        assert self.process.child.poll() is None, self.log.read_text()
        return len(self._rings() - before) == 2

    def _rings(self) -> set[int]:
        paths = [self.segment(name) for name in ("binance", "okx")]
        return {path.stat().st_ino for path in paths if path.exists()}

    def segment(self, exchange: str) -> Path:
        return SHM / f"{self.prefix[1:]}{exchange}"

    def tail(self, *args: str) -> bytes:
        """What ``data-manager tail`` prints: the reference."""
        command = [daemon_binary(), "tail", "--config", str(self.config), *args]
        done = subprocess.run(command, capture_output=True, timeout=DEADLINE, check=False, env=environment())
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def end(self) -> None:
        self.process.end()
        for file in SHM.glob(f"{self.prefix[1:]}*"):
            file.unlink()


@contextlib.contextmanager
def ending(process: Daemon) -> Iterator[Daemon]:
    """Ends it, whatever happens."""
    try:
        yield process
    finally:
        process.end()


def environment() -> dict[str, str]:
    """Ours, without what would configure a daemon, and with the client's sources."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DATA_MANAGER_")}
    return kept | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def client(*args: str, timeout: float = DEADLINE) -> subprocess.CompletedProcess[bytes]:
    """Runs ``python -m data_manager_client``."""
    command = [sys.executable, "-m", "data_manager_client", *args]
    return subprocess.run(command, capture_output=True, timeout=timeout, check=False, env=environment())
