"""The link to the server: facts up, the stream of the view down, status and consoles up.

Two threads, each with a connection of its own; that of the reports stays open between heartbeats. Plain `http.client`: it is there already, where httpx would
cost every host 20 MB. The server may be away for as long as it likes: the host goes on as it is.
"""

from __future__ import annotations

import http.client
import logging
import queue
import random
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Struct

from netloom.agent import view
from netloom.agent.settings import AgentSettings
from netloom.dataplane.process import ApplyError
from netloom.model import bounds
from netloom.model.errors import UserError
from netloom.model.hosts import (
    AGENT_HEADER,
    EPOCH_HEADER,
    FAILOVER_HEADER,
    HEARTBEAT_HEADER,
    MOST_ROWS,
    HostFacts,
    Status,
    ViewDelta,
)

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
"""Between two reports of a host that has nothing to say, where the server names no other number."""
LEAST_HEARTBEAT, LONGEST_HEARTBEAT = 1.0, 60.0
SILENCE_SECONDS = 20.0
"""A stream that says nothing, not even that it lives, for so long is dead."""
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between attempts to reach the server."""
LONGEST_LINE = 256 * 1024 * 1024


class Step(Struct):
    """What came down the stream: a delta, or with `delta` None just the news that `seq` is the newest."""

    epoch: str
    seq: int
    delta: ViewDelta | None = None


class _Line(ViewDelta, frozen=True, kw_only=True):
    """A line of the stream; one with `keepalive` has no rows, its `seq` is the newest of the feed."""

    keepalive: bool = False


class ServerError(Exception):
    """The server is away or refuses (with an HTTP `status`, else 0); one line."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket in the file system."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Link:
    """`received` is called with each Step, `connected` when the stream has been opened anew."""

    def __init__(self, settings: AgentSettings, facts: HostFacts) -> None:
        self._settings = settings
        self.facts = facts
        self._secret = _secret(settings)
        _trust(settings)
        self._agent = secrets.token_hex(8)  # the server lets one agent at a time speak for a host
        self._prefix = f"/agent/v1/hosts/{quote(settings.host, safe='')}"
        self._reports: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, str, str], Status] = {}
        self._whole = False
        self._consoles: dict[str, bytes] = {}
        self._applied = 0
        self._heartbeat = HEARTBEAT_SECONDS
        self._stopping = threading.Event()
        self._trouble: dict[str, str] = {}
        self._streaming: http.client.HTTPConnection | None = None
        self._kept: http.client.HTTPConnection | None = None  # of the thread that reports
        self.failover = 0.0
        """After how many seconds without a word the server moves ordinary routers to other hosts; 0: never."""
        self.spoke = 0.0
        """time.monotonic: when the server last took a report."""
        self.posts = self.heartbeats = 0
        """Reports with rows, or whole ones; those that only said how far this host is."""

    def start(
        self,
        after: int,
        epoch: str,
        received: Callable[[Step], None],
        connected: Callable[[], None],
    ) -> None:
        """Start both threads; the stream goes on after change `after` of feed `epoch`."""
        arguments = (after, epoch, received, connected)
        threading.Thread(
            target=self._stream_forever, args=arguments, daemon=True, name="stream"
        ).start()
        threading.Thread(target=self._report_forever, daemon=True, name="report").start()

    def report(self, applied: int, rows: list[Status], whole: bool = False) -> None:
        """Send these rows soon, and that `applied` is carried out with the next report.

        `whole`: nothing else is wrong on this host, whatever was said earlier.
        """
        with self._lock:
            if whole:
                self._whole, self._rows = True, {}
            news = bool(rows) or applied != self._applied
            self._applied = applied
            self._rows.update({(row.kind, row.id, row.aspect): row for row in rows})
        if news:
            self._reports.put(None)

    def stands_at(self, applied: int) -> None:
        """Say with the next report, whenever that is due, that `applied` is carried out."""
        with self._lock:
            self._applied = applied

    def console(self, server_id: str, tail: bytes) -> None:
        """Send the tail of an instance's console with the next report."""
        with self._lock:
            self._consoles[server_id] = tail
        self._reports.put(None)

    def stop(self) -> None:
        """Say nothing more, and listen no more: the server is to know at once that nobody speaks for this host."""
        self._stopping.set()
        self._reports.put(None)
        streaming = self._streaming
        if streaming is not None and streaming.sock is not None:
            with suppress(OSError):
                streaming.sock.shutdown(socket.SHUT_RDWR)

    def fetch_image(self, image_id: str, into: BinaryIO, limit: int) -> str:
        """Write the image's bytes; returns the SHA-512 that the server says they have. Raises ApplyError."""
        try:
            with self._open("GET", f"/images/{quote(image_id, safe='')}", timeout=60) as response:
                size = 0
                while block := response.read(1 << 20):
                    size += len(block)
                    if size > limit:
                        raise ApplyError(f"image {image_id} is larger than this host takes")
                    try:
                        into.write(block)
                    except OSError as error:
                        raise ApplyError(
                            f"image {image_id} cannot be stored: {error.strerror}"
                        ) from error
                return response.headers.get("x-image-sha512", "")
        except ServerError as error:
            raise ApplyError(f"image {image_id} cannot be fetched: {error}") from error

    @contextmanager
    def _open(
        self, method: str, path: str, body: bytes | None = None, timeout: float = 10
    ) -> Generator[http.client.HTTPResponse]:
        """One request and its response; raises ServerError where it is not a success."""
        connection: http.client.HTTPConnection | None = None
        try:
            connection = self._connection(timeout)
            if path.startswith("/stream?"):
                self._streaming = connection
            yield self._ask(connection, method, path, body)
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(
                f"{self._settings.server}: {error or type(error).__name__}"
            ) from error
        finally:
            if connection is not None:
                connection.close()

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None
    ) -> http.client.HTTPResponse:
        headers = {
            "Authorization": f"Bearer {self._secret}",
            "Content-Type": "application/json",
            AGENT_HEADER: self._agent,
        }
        connection.request(method, self._prefix + path, body, headers)
        response = connection.getresponse()
        if response.status >= 300:
            words = f"the server answered {response.status}: {_said(response.read(2000))}"
            raise ServerError(words, response.status)
        return response

    def _post(self, path: str, body: bytes) -> None:
        """Post on the connection that was kept, as a new one costs the server as much as a heartbeat itself.

        The server may have closed it meanwhile: then once more on a new one. A report may come twice.
        """
        kept, self._kept = self._kept, None
        if kept is not None:
            try:
                self._ask(kept, "POST", path, body).read()
                self._kept = kept
                return
            except (OSError, http.client.HTTPException):
                pass
            finally:
                if self._kept is None:
                    kept.close()
        fresh = self._connection(10)
        try:
            self._ask(fresh, "POST", path, body).read()
            self._kept = fresh
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(
                f"{self._settings.server}: {error or type(error).__name__}"
            ) from error
        finally:
            if self._kept is None:
                fresh.close()

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        url = urlsplit(self._settings.server)
        if url.scheme == "unix":
            return _UnixConnection(url.path, timeout)
        # Read anew each time: a renewed certificate authority needs no restart.
        context = ssl.create_default_context(cafile=self._settings.ca_file)
        return http.client.HTTPSConnection(
            url.hostname or "", url.port, timeout=timeout, context=context
        )

    def _send(self, method: str, path: str, body: bytes) -> None:
        with self._open(method, path, body):
            pass

    # --- the stream ----------------------------------------------------------------------------

    def _stream_forever(
        self,
        after: int,
        epoch: str,
        received: Callable[[Step], None],
        connected: Callable[[], None],
    ) -> None:
        attempt = 0
        while not self._stopping.is_set():
            try:
                self._send("PUT", "/facts", msgspec.json.encode(self.facts))
                for step in self._stream(after, epoch, connected):
                    received(step)
                    after, epoch, attempt = step.seq, step.epoch, 0
                raise ServerError("the server ended the stream")
            except ServerError as error:
                if self._stopping.is_set():
                    return  # it was this host that hung up
                self._say("stream", str(error))
            except (ValueError, RecursionError) as error:
                words = bounds.one_line(str(error), 200)
                self._say("stream", f"the server sent what is no step of a stream: {words}")
            except Exception as error:
                # Whatever else it is: without this thread the host would never hear of anything again.
                self._say("stream", f"{type(error).__name__}: {bounds.one_line(str(error), 200)}")
            self._stopping.wait(PAUSES[min(attempt, len(PAUSES) - 1)])
            attempt += 1

    def _stream(self, after: int, epoch: str, connected: Callable[[], None]) -> Generator[Step]:
        path = f"/stream?after={after}&epoch={quote(epoch, safe='')}"
        with self._open("GET", path, timeout=SILENCE_SECONDS) as response:
            epoch = response.headers.get(EPOCH_HEADER, "")
            self._heartbeat = heartbeat_of(response.headers.get(HEARTBEAT_HEADER, ""))
            self.failover = failover_of(response.headers.get(FAILOVER_HEADER, ""))
            connected()
            while line := response.readline(LONGEST_LINE):
                if not line.strip():
                    continue
                said = msgspec.json.decode(line, type=_Line)
                step = Step(epoch, said.seq, None if said.keepalive else _typed(said))
                self._say("stream", "")
                yield step

    # --- reports -------------------------------------------------------------------------------

    def _report_forever(self) -> None:
        attempt = 0
        heartbeat = 0.0
        while not self._stopping.is_set():
            try:
                self._reports.get(timeout=max(0.0, heartbeat - time.monotonic()))
                while not self._reports.empty():
                    self._reports.get()
            except queue.Empty:
                pass
            with self._lock:
                rows, self._rows = self._rows, {}
                whole, self._whole = self._whole, False
                consoles, self._consoles = self._consoles, {}
                applied = self._applied
            try:
                for part in _parts(list(rows.values())):
                    self._post("/status", _report(applied, part, whole))
                    self.posts += bool(part) or whole
                    self.heartbeats += not (part or whole)
                    whole = False
                    for row in part:
                        del rows[row.kind, row.id, row.aspect]
                for server_id, tail in list(consoles.items()):
                    self._send_console(server_id, tail)
                    del consoles[server_id]
                attempt = 0
                # Hosts that began together, as after a restart of the server, drift apart.
                self.spoke = time.monotonic()
                heartbeat = self.spoke + self._heartbeat * random.uniform(0.8, 1.0)
                self._say("report", "")
            except ServerError as error:
                self._say("report", str(error))
                with self._lock:
                    if not self._whole:
                        self._whole, self._rows = whole, rows | self._rows
                    self._consoles = consoles | self._consoles
                self._stopping.wait(PAUSES[min(attempt, len(PAUSES) - 1)])
                attempt += 1
                heartbeat = 0.0

    def _send_console(self, server_id: str, tail: bytes) -> None:
        """Send a console; of a server that has been deleted meanwhile nobody wants it."""
        try:
            self._send("PUT", f"/console/{quote(server_id, safe='')}", tail)
        except ServerError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def _say(self, what: str, trouble: str) -> None:
        """Log trouble once, and that it is over."""
        if trouble != self._trouble.get(what, ""):
            self._trouble[what] = trouble
            if trouble:
                log.warning("%s: %s", what, trouble)
            else:
                log.info("%s: the server answers again", what)


def _typed(delta: ViewDelta) -> ViewDelta:
    """The step with its rows as structs. What is not understood ends the stream here: it must not be left out."""
    try:
        return view.typed(delta)
    except msgspec.ValidationError as error:
        raise ServerError(
            f"change {delta.seq} is not understood, and this host stays as it is until both programs are of the same"
            f" version: {error}"
        ) from error


def heartbeat_of(said: str) -> float:
    """Seconds between two reports, as the server wishes; an older server says nothing."""
    try:
        return min(LONGEST_HEARTBEAT, max(LEAST_HEARTBEAT, float(said)))
    except ValueError:
        return HEARTBEAT_SECONDS


def failover_of(said: str) -> float:
    """After how many seconds routers move, as the server says; of an older server they never do."""
    try:
        return max(0.0, float(said))
    except ValueError:
        return 0.0


def _parts(rows: list[Status]) -> Generator[list[Status]]:
    """Reports that the server takes, at least one. What is wrong comes first: a whole report ends all other trouble."""
    rows = sorted(rows, key=lambda row: row.state == "ok")
    for start in range(0, max(len(rows), 1), MOST_ROWS):
        yield rows[start : start + MOST_ROWS]


def _report(applied: int, rows: list[Status], whole: bool) -> bytes:
    return msgspec.json.encode({"applied_seq": applied, "rows": rows, "whole": whole})


def _said(body: bytes) -> str:
    """The message of an error document, or the body as it is, in one line."""
    try:
        words = str(msgspec.json.decode(body)["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        words = body.decode(errors="replace")
    return bounds.one_line(words, 1000)


def _secret(settings: AgentSettings) -> str:
    """The credential; raises UserError where there is none, or others on this host can read it."""
    path = Path(settings.secret_file)
    try:
        mode, words = path.stat().st_mode, path.read_bytes().split()
    except OSError as error:
        raise UserError(
            f"cannot read this host's credential {path}: {error.strerror};"
            " `netloom host add` on the server makes it"
        ) from error
    if mode & 0o077:
        raise UserError(f"others can read this host's credential {path}: chmod 600 {path}")
    if len(words) != 1 or not words[0].isascii():
        raise UserError(
            f"{path} holds no credential of a host: `netloom host add` on the server makes it"
        )
    return words[0].decode()


def _trust(settings: AgentSettings) -> None:
    """Refuse a `ca_file` that holds no certificate now, rather than complain at each attempt."""
    if not settings.server.startswith("https:"):
        return
    try:
        ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise UserError(
            f"[agent] ca_file {settings.ca_file} holds no certificate: {error.strerror or error}"
        ) from error
