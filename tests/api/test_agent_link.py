"""The link of an agent to a real server: what it says, once and plainly, where it gets no further."""

from __future__ import annotations

import http.server
import json
import logging
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from netloom.agent.link import Link, Step, heartbeat_of
from netloom.agent.settings import AgentSettings
from netloom.api.hosts.presence import Presence
from netloom.model import HostFacts, Status
from netloom.model.errors import Conflict
from netloom.store import Store
from tests.support.serving import Serving, serving

FACTS = HostFacts(host="c1", tunnel_ip="192.0.2.1")
ADMIN = {"X-Roles": "admin,member,reader", "X-Project-Id": "a" * 32}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    settings = f'auth = "trusted-headers"\nagent_sockets = {{ c1 = "{tmp_path}/c1.sock" }}'
    with serving(tmp_path, settings) as running:
        made = running.netloom(
            *(
                "host",
                "add",
                "c1",
                "--config",
                str(running.config),
                "--secret-file",
                str(tmp_path / "secret"),
            )
        )
        assert made.returncode == 0, made.stderr
        yield running


@pytest.fixture
def link(server: Serving) -> Iterator[Callable[..., tuple[Link, list[Step]]]]:
    made: list[Link] = []

    def start(facts: HostFacts = FACTS, secret: str = "") -> tuple[Link, list[Step]]:
        folder, steps = server.config.parent, list[Step]()
        file = folder / "secret"
        if secret:
            file = folder / "wrong"
            file.write_text(secret)
            file.chmod(0o600)
        settings = AgentSettings(
            host="c1", server=f"unix://{folder}/c1.sock", secret_file=str(file)
        )
        made.append(Link(settings, facts))
        made[-1].start(0, "", steps.append, lambda: None)
        return made[-1], steps

    yield start
    for each in made:
        each.stop()


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def lines(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if words in record.getMessage()]


def tunnel_end(server: Serving) -> str:
    agents = httpx.get(f"{server.url}/networking/v2.0/agents", headers=ADMIN).json()["agents"]
    return next(
        a["configurations"]["tunneling_ip"] for a in agents if "tunneling_ip" in a["configurations"]
    )


@pytest.mark.slow
def test_of_two_agents_with_one_name_the_second_is_told_so(
    server: Serving, link: Callable[..., tuple[Link, list[Step]]], caplog: pytest.LogCaptureFixture
) -> None:
    first, steps = link()
    until(lambda: bool(steps), "no snapshot")
    _, others = link(HostFacts(host="c1", tunnel_ip="192.0.2.66"))
    words = "stream: the server answered 409: Another agent reports as host c1: stop that one, or give this host"
    until(lambda: bool(lines(caplog, words)), "it is not told")
    time.sleep(3)  # it has tried some more times
    assert len(lines(caplog, "stream: the server answered")) == 1
    assert others == [] and tunnel_end(server) == "192.0.2.1"
    # The first one goes: the second takes over.
    first.stop()
    until(lambda: bool(others), "the other does not take over", 90)
    assert tunnel_end(server) == "192.0.2.66"


def test_an_agent_that_is_silent_may_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    presence = Presence(5.0)
    presence.heard("c1", "old")
    presence.heard("c1", "young")  # neither has a stream: nobody speaks for the host yet
    presence.begun("c1", "old")
    with pytest.raises(Conflict, match="host c1"):
        presence.heard("c1", "young")
    presence.heard("c2", "young")
    now[0] += presence.fresh_seconds - 1
    presence.heard("c1", "old")
    now[0] += presence.fresh_seconds - 1
    with pytest.raises(Conflict):
        presence.heard("c1", "young")
    now[0] += 2  # its machine lost power: the connection is still open
    presence.heard("c1", "young")
    presence.begun("c1", "young")
    with pytest.raises(Conflict):
        presence.heard("c1", "old")
    presence.ended("c1", "old")
    presence.ended("c1", "young")
    presence.heard("c1", "third")


def test_a_host_is_away_when_its_last_stream_has_ended() -> None:
    presence = Presence(5.0)
    assert not presence.is_away("c1")  # nobody has heard of it yet
    presence.begun("c1", "one")
    presence.begun("c1", "one")  # its first stream is gone, and the server has not noticed yet
    presence.ended("c1", "one")
    assert not presence.is_away("c1")
    presence.ended("c1", "one")
    assert presence.is_away("c1") and not presence.is_away("c2")
    presence.begun("c1", "two")
    assert not presence.is_away("c1")


@pytest.mark.slow
def test_the_console_of_a_server_that_is_gone_holds_up_no_report(
    server: Serving, link: Callable[..., tuple[Link, list[Step]]], caplog: pytest.LogCaptureFixture
) -> None:
    """An instance may say its last words after its server was deleted."""
    running, steps = link()
    until(lambda: bool(steps), "no snapshot")
    running.console("9c2f6d6e-0000-4000-8000-000000000001", b"last words")
    row = Status(kind="host", id="c1", aspect="state", seq=1, state="error", detail="said after it")
    until(
        lambda: "/console/9c2f6d6e-0000-4000-8000-000000000001 404" in server.log, "it was not sent"
    )
    running.report(7, [row])
    until(
        lambda: server.log.count("/console/") > 1 or applied(server) == 7, "the report is not sent"
    )
    assert server.log.count("/console/") == 1 and lines(caplog, "report:") == []


def applied(server: Serving) -> int:
    store = Store.open(f"sqlite:///{server.state}/netloom.db")
    try:
        with store.reader() as reader:
            return reader.hosts()["c1"].applied_seq
    finally:
        store.close()


@pytest.mark.slow
def test_a_wrong_secret_is_one_plain_line(
    server: Serving, link: Callable[..., tuple[Link, list[Step]]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    link(secret="guessed")
    words = "the server answered 401: The host's credential is not valid: see `netloom host add`."
    until(lambda: bool(lines(caplog, f"stream: {words}")), "it is not told")
    time.sleep(3)
    assert lines(caplog, "stream:") == [f"stream: {words}"]


class LaterServer(socketserver.ThreadingUnixStreamServer):
    """Speaks as a server of a later version may: its second step has a value that nobody knew before."""

    daemon_threads = True

    class RequestHandlerClass(http.server.BaseHTTPRequestHandler):
        asked: ClassVar[list[str]] = []

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(204 if self.command != "GET" else 200)
            self.end_headers()
            if self.command == "GET":
                self.asked.append(self.path)
                port = {"id": "p", "network_id": "n", "mac_address": "fa:16:3e:00:00:01"}
                steps: list[Any] = [
                    {"seq": 5, "snapshot": True, "upsert": {"ports": [port]}},
                    {
                        "seq": 6,
                        "upsert": {"ports": [port | {"port_security_enabled": "sometimes"}]},
                    },
                    {"seq": 7, "delete": {"ports": ["p"]}},
                ]
                for step in steps[1 if "after=5" in self.path else 0 :]:
                    self.wfile.write(json.dumps(step).encode() + b"\n")

        do_GET = do_PUT = do_POST = answer

        def log_message(self, format: str, *args: Any) -> None:
            return

        def address_string(self) -> str:
            return ""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), self.RequestHandlerClass)


def test_what_is_not_understood_is_said_once_and_nothing_after_it_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o600)
    with LaterServer(tmp_path / "s") as later:
        threading.Thread(target=later.serve_forever, daemon=True).start()
        settings = AgentSettings(
            host="c1", server=f"unix://{tmp_path}/s", secret_file=str(tmp_path / "secret")
        )
        link, steps = Link(settings, FACTS), list[Step]()
        link.start(0, "", steps.append, lambda: None)
        asked = LaterServer.RequestHandlerClass.asked
        until(lambda: len(asked) >= 4, "it does not ask again")
        link.stop()
        later.shutdown()
    assert [step.seq for step in steps] == [5]
    assert all("after=5" in path for path in asked[1:])
    said = lines(caplog, "stream:")
    assert len(said) == 1 and "change 6 is not understood" in said[0] and "same version" in said[0]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("25", 25.0), ("", 5.0), ("often", 5.0), ("0", 1.0), ("1e9", 60.0), ("nan", 1.0)],
)
def test_an_agent_reports_as_often_as_the_server_wishes_within_bounds(
    said: str, seconds: float
) -> None:
    assert heartbeat_of(said) == seconds
