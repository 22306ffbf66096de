"""Many hosts in one process that have no kernel and no switch: each remembers what it would have applied.

A simulated host has the link of a real agent (facts, stream, status reports), plans with the real `plan`, and reports
that all of it is in place. It offers no instances: there is nothing in which one could run. It is for tests of many
hosts, and for `netloom bench scale`.

A host's two threads wait for the server; one thread plans for all hosts. A line on the standard input asks for something, and the
answer is a line of JSON: `counts`; `wait N`, the same as soon as N plans were made; or `restart HOST` (its agent begins anew;
what it had applied is still there, and its counts begin anew).
"""

from __future__ import annotations

import functools
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import TextIO

import msgspec
from msgspec import Struct

from netloom.agent import status, view
from netloom.agent.link import Link, Step
from netloom.agent.planning import Planning
from netloom.agent.reconcile.diff import News
from netloom.agent.settings import AgentSettings
from netloom.model import bounds, toml
from netloom.model.hosts import HostFacts, HostView
from netloom.model.hoststate import Flow, HostObject, HostState, Key
from netloom.model.structs import compile_structs
from netloom.plan import VERSION

log = logging.getLogger(__name__)

STACK_BYTES = 512 * 1024
"""Of the threads, of which there are two a host."""


class SimulatedSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings file, one table `[simulated]`.

    `server`: as of an agent. `secrets`: the folder with each host's credential, in a file of its name. `hosts`: their
    names. `first_tunnel_ip`: the first one's end of tunnels, the others' follow.
    """

    server: str
    secrets: str
    hosts: tuple[str, ...]
    first_tunnel_ip: str


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    simulated: SimulatedSettings


def load(path: Path) -> SimulatedSettings:
    """Read the file; raises UserError with one line that says what is wrong with it."""
    return toml.load(path, _File, _check).simulated


def _check(file: _File) -> None:
    settings = file.simulated
    if not settings.server.startswith(("unix:///", "https://")):
        raise ValueError(
            f"[simulated] server must be unix:///path or an https URL: {settings.server!r}"
        )
    for name in settings.hosts:
        bounds.host_name(name)
    bounds.tunnel_end(settings.first_tunnel_ip)


class Counts(Struct):
    """What hosts had to do since the process began. `flows`: those added, altered or removed."""

    steps: int = 0
    plans: int = 0
    posts: int = 0
    heartbeats: int = 0
    added: int = 0
    altered: int = 0
    removed: int = 0
    flows: int = 0

    def add(self, other: Counts) -> None:
        """Take in another's."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Answer(Struct):
    """The answer to `counts`. `seq`: host → the change that it has carried out; `cpu_seconds`: of this process."""

    cpu_seconds: float
    seq: dict[str, int]
    total: Counts
    hosts: dict[str, Counts]


class Remembered:
    """What a host has applied, by key: it takes the kernel's and the switch's place."""

    def __init__(self) -> None:
        self.objects: dict[Key, HostObject] = {}

    def apply(self, news: News, counts: Counts) -> None:
        """Bring it to the state after `news`; counts what differed."""
        for key in news.fresh:
            item, had = news.after[key], self.objects.get(key)
            if had is None:
                counts.added += 1
            elif had is not item and had != item:
                counts.altered += 1
            else:
                continue
            self.objects[key] = item
            counts.flows += isinstance(item, Flow)
        for key in news.gone:
            counts.flows += isinstance(self.objects.pop(key), Flow)
            counts.removed += 1


class SimulatedHost:
    """One host. Its link's threads call `post`; all else happens in the thread of `Simulation`."""

    def __init__(
        self,
        settings: AgentSettings,
        there: Remembered,
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        self.settings = settings
        self.there = there
        self.facts = facts(settings)
        self.counts = Counts()
        self.reached = 0
        self._post = post
        self._view = HostView(seq=0, facts=self.facts)
        self._state = HostState()
        self._planning = Planning()
        self._rows = status.Rows()
        self._sent: dict[status.Row, tuple[str, str]] = {}
        self._dirty = self._replan = self._known = False
        self._link = Link(settings, self.facts)

    def start(self) -> None:
        """Connect to the server; a host that has just started knows nothing and gets a snapshot."""
        self._link.start(
            0,
            "",
            lambda step: self._post(lambda: self._step(step)),
            lambda: self._post(self._connected),
        )

    def stop(self) -> None:
        """Say nothing more."""
        self._link.stop()

    def _step(self, step: Step) -> None:
        if step.delta is None or step.delta.bare:
            self._view = msgspec.structs.replace(self._view, seq=step.seq)
            if self._known and not self._dirty:
                self.reached = step.seq
                self._link.stands_at(step.seq)
            return
        self._view = view.apply_delta(self._view, step.delta)
        self._planning.tell(step.delta)
        self._known = self._dirty = self._replan = True
        self.counts.steps += 1
        status.say_again(self._sent, (port.id for port in step.delta.upsert.get("ports", ())))

    def _connected(self) -> None:
        self._sent = {}
        self._dirty = True

    def once(self) -> None:
        """Plan, remember and report, where there is reason to."""
        if not (self._dirty and self._known):
            return
        self._dirty = False
        if self._replan:
            self._replan = False
            before = self._state
            self._state, left = self._planning.plan_around(self._view, before)
            for (table, id), why in left.items():
                log.error("%s: %s %s: %s", self.settings.host, table, id, why)
            self.counts.plans += 1
            news = News.step(before, self._state, self._planning.delta)
            self._rows.follow(news)
            # What an agent before this one applied is compared whole, once.
            if not before.objects:
                news = News.of(self.there.objects, self._state.objects)
            self.there.apply(news, self.counts)
        rows = self._rows.said({})
        self.reached = self._view.seq
        news = status.changes(self._sent, rows, self.reached)
        self._link.report(self.reached, news, whole=not self._sent)
        self._sent = {**rows}

    def counted(self) -> Counts:
        """Its counts as of now."""
        self.counts.posts, self.counts.heartbeats = self._link.posts, self._link.heartbeats
        return self.counts


class Simulation:
    """The hosts of one process, and the thread that works for them."""

    def __init__(self) -> None:
        self.hosts: dict[str, SimulatedHost] = {}
        self.events: queue.SimpleQueue[tuple[str, Callable[[], None]]] = queue.SimpleQueue()
        self._stopping = False
        self._awaited: list[tuple[int, Callable[[], None]]] = []  # (plans, what is due then)

    @classmethod
    def of(cls, settings: SimulatedSettings) -> Simulation:
        """Make the hosts; raises UserError where a credential is missing."""
        made = cls()
        first = ip_address(settings.first_tunnel_ip)
        for number, name in enumerate(settings.hosts):
            agent = AgentSettings(
                host=name,
                server=settings.server,
                secret_file=str(Path(settings.secrets) / name),
                tunnel_ip=str(first + number),
            )
            made.add(agent, Remembered())
        return made

    def add(self, settings: AgentSettings, there: Remembered) -> SimulatedHost:
        """Take a host in."""
        name = settings.host
        host = SimulatedHost(settings, there, lambda event: self.events.put((name, event)))
        self.hosts[name] = host
        return host

    def run(self) -> None:
        """Serve until `stop`."""
        compile_structs()
        threading.stack_size(STACK_BYTES)
        for host in self.hosts.values():
            host.start()
        while not self._stopping:
            self.turn()
        for host in self.hosts.values():
            host.stop()

    def turn(self) -> None:
        """Take all events that are there, waiting for the first; then let the hosts work that they concern."""
        concerned: dict[str, None] = {}
        try:
            while True:
                name, event = self.events.get(block=not concerned)
                event()
                concerned[name] = None
        except queue.Empty:
            pass
        for name in concerned:
            if name in self.hosts:
                self.hosts[name].once()
        if self._awaited:
            plans = sum(host.counts.plans for host in self.hosts.values())
            due = [reply for awaited, reply in self._awaited if plans >= awaited]
            self._awaited = [each for each in self._awaited if plans < each[0]]
            for reply in due:
                reply()

    def stop(self) -> None:
        """End `run`; from any thread."""
        self.events.put(("", self._stop))

    def _stop(self) -> None:
        self._stopping = True

    def answer(self, lines: Iterable[str], out: TextIO) -> None:
        """Answer what is asked, line by line, from a thread of its own."""

        def reply(words: list[str]) -> None:
            if words[:1] == ["wait"] and len(words) == 2 and words[1].isdecimal():
                self._awaited.append((int(words[1]), lambda: reply(["counts"])))
            else:
                print(self._said(words), file=out, flush=True)

        for line in lines:
            self.events.put(("", functools.partial(reply, line.split())))

    def _said(self, words: list[str]) -> str:
        if words[:1] == ["restart"] and len(words) == 2 and words[1] in self.hosts:
            old = self.hosts[words[1]]
            old.stop()
            self.add(old.settings, old.there).start()
        elif words != ["counts"]:
            return '{"error":"say counts, wait N, or restart HOST"}'
        total, hosts = Counts(), {name: host.counted() for name, host in self.hosts.items()}
        for counts in hosts.values():
            total.add(counts)
        seqs = {name: host.reached for name, host in self.hosts.items()}
        return msgspec.json.encode(Answer(time.process_time(), seqs, total, hosts)).decode()


def facts(settings: AgentSettings) -> HostFacts:
    """What a simulated host says of itself: it has no switch and offers no instances."""
    return HostFacts(
        host=settings.host,
        tunnel_ip=settings.tunnel_ip,
        tunnel_types=settings.tunnel_types,
        backend="none",
        capabilities={"instances": "a simulated host runs none"},
        roles=settings.roles,
        availability_zone=settings.availability_zone,
        plan_version=VERSION,
        started_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def serve(path: Path, stop_on: Callable[[Callable[[], None]], None]) -> None:
    """Run the hosts of a settings file; `stop_on` is told how to end it."""
    simulation = Simulation.of(load(path))
    stop_on(simulation.stop)
    threading.Thread(
        target=simulation.answer, args=(sys.stdin, sys.stdout), daemon=True, name="asked"
    ).start()
    simulation.run()
