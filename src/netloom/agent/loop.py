"""The reconcile loop: one thread owns all that is written on this host; everything else only tells it.

Events come through one queue: a step of the server's stream, a change in the switch's database, a worker's
result, the wish to stop. After each burst of events the loop plans, lets the tracker apply, and reports.
"""

from __future__ import annotations

import logging
import os
import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from netloom.agent import status, view
from netloom.agent.apart import Apart
from netloom.agent.bridge_tracker import BridgeTracker
from netloom.agent.console import Consoles
from netloom.agent.doctor import LONGEST_HOLD, Listener, Report, Request
from netloom.agent.link import Link, Step
from netloom.agent.planning import Left, Planning, origin_of, told
from netloom.agent.settings import Settings
from netloom.agent.surroundings import Surroundings
from netloom.agent.tracker import Tracker
from netloom.agent.trial import Trial
from netloom.agent.workers import Workers
from netloom.dataplane.linux import neightable
from netloom.dataplane.linux.watch import HERE, Watch
from netloom.dataplane.ovs import bridges
from netloom.dataplane.ovs.flowwatch import Change, Command, FlowWatch
from netloom.dataplane.ovs.groups import GroupTable
from netloom.dataplane.ovs.openflow import Switch
from netloom.dataplane.ovs.ovsdb import Ovsdb
from netloom.dataplane.process import ApplyError
from netloom.instances.instances import Instances
from netloom.metadata.answers import answer
from netloom.metadata.listener import MetadataServer
from netloom.model.hosts import HostFacts, HostView
from netloom.model.hoststate import Device, HostState
from netloom.model.structs import compile_structs

log = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
"""How often the loop looks whether what it started still lives."""
AUDIT_SECONDS = 60.0
"""How often it reads everything again, in case somebody else changed something."""

AGAIN_SECONDS = 5.0
"""When it tries again after a mistake of its own."""
SEED_BYTES = 512
"""Random bytes that an instance gets with its metadata, as many as of Nova."""

Event = Callable[[], None]


class Agent:
    """The loop and what it holds. Other threads use `post` alone."""

    def __init__(self, settings: Settings, facts: HostFacts) -> None:
        self._settings = settings.agent
        self._facts = facts
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._switch = Switch(Path(settings.agent.ovs_rundir))
        self._instances = Instances(
            settings.agent.state,
            Path(settings.agent.run_dir),
            self._fetch,
            settings.agent.max_image_mib << 20,
            types=facts.instance_types,
            refusal=facts.capabilities.get("instances", ""),
        )
        self.tracker = self._bridges(facts) if facts.backend == "linuxbridge" else self._ovs(facts)
        self._consoles = Consoles(self._console)
        self.view = HostView(seq=0, facts=facts)
        self._known = False  # whether the view is the server's, of now or of the last run
        self._state = HostState()
        self._epoch = ""
        self._sent: dict[status.Row, tuple[str, str]] = {}
        self._watched = 0.0
        self._link: Link | None = None
        self._apart = Apart(Path(settings.agent.run_dir), None)
        self._stopping = False
        self._stale = True
        self._dirty = True
        self._replan = True
        self._saving = view.Saving(self._settings.state / view.FILE)
        self._stuck = ""  # why the view cannot be carried out, where nothing of it can
        self._reached = 0  # the change that was carried out last
        self._rest_until = 0.0  # time.monotonic: after a mistake of ours, until a new view
        self._held_until = 0.0  # time.monotonic: a doctor looks
        self._planning = Planning()
        self._left: Left = {}  # what of the view cannot be planned
        self._trial = Trial(settings.agent.state / "view.trial")
        self._requests: tuple[str, ...] = ()  # the API requests behind what is to be carried out
        self._switch_identity: tuple[str, ...] = ()
        self._switch_told = self._switch_news = False
        self._gone: set[int] = set()  # namespaces that something is gone from, as the kernel told
        self._repeat: list[tuple[float, list[tuple[Device, list[str]]]]] = []
        self._complaint = ""
        self._around = Surroundings(facts)
        self._audit_at = time.monotonic() + AUDIT_SECONDS

    def _ovs(self, facts: HostFacts) -> Tracker:
        rundir = Path(self._settings.ovs_rundir)

        def flows(name: str, changes: list[Change] | None, groups: list[Command]) -> None:
            self.post(lambda: self._flows_changed(name, changes, groups))

        return Tracker(
            Ovsdb(str(rundir / "db.sock"), self._switch_tells),
            self._switch,
            GroupTable(rundir),
            FlowWatch(rundir, flows),
            MetadataServer(self._metadata),
            self._instances,
            Workers(self.post),
            run_dir=Path(self._settings.run_dir),
            userspace=facts.capabilities.get("datapath_type") == "netdev",
            connections_per_port=self._settings.connections_per_port,
            tunnel_ip=facts.tunnel_ip,
            ended=self._replica_ended,
        )

    def _bridges(self, facts: HostFacts) -> Tracker:
        parts = MetadataServer(self._metadata), self._instances, Workers(self.post)
        return BridgeTracker(facts, self._settings, *parts, self._replica_ended)

    def _replica_ended(self) -> None:
        """From another thread: a keepalived has ended."""
        self.post(lambda: self._told_of(lambda: self.tracker.replicas_ended()))

    def post(self, event: Event) -> None:
        """Have the loop call `event`; from any thread."""
        self.events.put(event)

    def stop(self) -> None:
        """End the loop; everything on the host is left as it is."""
        self.post(self._stop)

    def _stop(self) -> None:
        self._stopping = True

    # --- events --------------------------------------------------------------------------------

    def take_view(self, fresh: HostView) -> None:
        """Plan for this view from now on."""
        self._planning.tell_all()
        self._go_to(fresh)

    def _go_to(self, fresh: HostView) -> None:
        self.view = fresh
        self._known = self._replan = self._dirty = True
        self._rest_until = 0.0

    def _step(self, step: Step) -> None:
        if step.delta is None or step.delta.bare:
            self.view = msgspec.structs.replace(self.view, seq=step.seq)
        else:
            self._planning.tell(step.delta)
            self._go_to(view.apply_delta(self.view, step.delta))
            self._saving.due = True
            self._requests += step.delta.request_ids
            status.say_again(self._sent, (p.id for p in step.delta.upsert.get("ports", ())))
        self._epoch = step.epoch
        if self._apart.heard() and self._known:
            self.take_view(self.view)

    def _connected(self) -> None:
        self._sent = {}  # the server may not have what an earlier one was told
        self._dirty = True

    def _switch_tells(self) -> None:
        """From the database's thread: many changes in a row are looked at once."""
        if not self._switch_told:
            self._switch_told = True
            self.post(self._switch_changed)

    def _switch_changed(self) -> None:
        self._switch_told = False  # first: what comes from now on is looked at again
        self._switch_news = True

    def _look_again(self) -> None:
        """Look at what others told of, once for all that was told: much of it is an echo of the last pass."""
        news, self._switch_news = self._switch_news, False
        ids, self._gone = frozenset(self._gone), set()
        if news and not self.tracker.connected:
            self._stale = True
            return
        if news and HERE not in ids:
            self._told_of(self.tracker.switch_moved)
        if ids:
            self._told_of(lambda: self.tracker.taken_away(ids))

    def _flows_changed(
        self, bridge: str, changes: list[Change] | None, commands: list[Command]
    ) -> None:
        if changes is None:
            self._stale = True
            return
        if commands:  # first: flows need the groups that they name
            self._told_of(lambda: self.tracker.groups_changed(bridge, commands))
        if changes:
            self._told_of(lambda: self.tracker.flows_changed(bridge, changes))

    def _told_of(self, look: Callable[[], bool]) -> None:
        """Others have changed something: look there again."""
        try:
            if not self._stale and look():
                self._dirty = True
        except (ApplyError, OSError):
            self._stale = True  # it changes while it is looked at: everything is read anew

    def _metadata(self, port_id: str, path: str) -> tuple[str, bytes] | None:
        return answer(self.view, port_id, path, os.urandom(SEED_BYTES))

    def _fetch(self, image_id: str, into: BinaryIO, limit: int) -> str:
        if self._link is None:
            raise ApplyError("images come from the server, and none is connected")
        return self._link.fetch_image(image_id, into, limit)

    def _console(self, server_id: str, tail: bytes) -> None:
        if self._link is not None:
            self._link.console(server_id, tail)

    # --- the loop ------------------------------------------------------------------------------

    def run(self, link: Link | None = None) -> None:
        """Serve until `stop`. Without a link the host stays as the last view says."""
        compile_structs()
        self._link = link
        self._apart = Apart(Path(self._settings.run_dir), link)
        if self._settings.network_namespace != "own":
            for line in neightable.grow():
                log.info("%s", line)
        cached = view.load(self._saving.path, self._facts)
        if cached is not None:
            if self._trial.begin(cached.digest):
                self._epoch = cached.epoch
                self.take_view(cached.view)
            else:
                log.error(
                    "the saved view %s ended this agent before: it is left aside until the server says what shall be",
                    self._saving.path,
                )
        if link is not None:
            link.start(
                self.view.seq,
                self._epoch,
                lambda step: self.post(lambda: self._step(step)),
                lambda: self.post(self._connected),
            )
        self._consoles.start()
        try:
            Listener(self._settings.state, self.post, self.examine)
        except OSError as error:
            log.error("netloom doctor cannot ask this agent: %s", error)
        Watch(
            lambda ids: self.post(lambda: self._gone.update(ids)),
            lambda ids: self.post(lambda: self._told_of(lambda: self.tracker.tables_changed(ids))),
        )
        while not self._stopping:
            try:
                self._turn()
            except Exception as error:
                # A mistake of ours must not end the agent: what the server says next may go well.
                self._stumble(error)
        self._trial.end()
        self.tracker.workers.stop()

    def _turn(self) -> None:
        """One round of the loop: events, what is due, and bringing the host to its view."""
        self._wait(self._watched + WATCH_SECONDS)
        if self._stopping:
            return
        now = time.monotonic()
        if now >= self._watched + WATCH_SECONDS:
            self._watched = now
            try:
                self._watch()
            except (ApplyError, OSError) as error:
                self._complain(str(error))
                self._stale = True
        if now >= self._audit_at:
            self._stale = True
            self._audit_at = now + AUDIT_SECONDS
        self.once()
        if self._known:
            self._trial.end()
        self._save_again()

    def _stumble(self, error: Exception) -> None:
        """Say once, and to the server, what went wrong; try it again later, or at the next view."""
        words = f"the view cannot be carried out: {told(error)}"
        self._complain(words, self._asked())
        self._stuck = words
        self._rest_until = time.monotonic() + AGAIN_SECONDS
        self._audit_at = self._rest_until
        if self._known:
            self._report(self._reached)

    def _wait(self, watch: float) -> None:
        """Take all events that are there, waiting for the first one until something is due."""
        due = min([watch, *(at for at, _ in self._repeat)])
        retry = self.tracker.next_retry()
        if retry is not None:
            due = min(due, max(retry, self._rest_until))
        try:
            self.events.get(timeout=max(0.0, due - time.monotonic()))()
            while True:
                self.events.get_nowait()()
        except queue.Empty:
            pass
        self._look_again()

    def _watch(self) -> None:
        identity = self._switch.identity()
        if identity != self._switch_identity:
            if self._switch_identity:
                log.warning("Open vSwitch was started again: reading everything anew")
            self._switch_identity = identity
            self._stale = True
            self._around.forget_greetings()
        if self.tracker.replaced():
            self._stale = True
        elif self.tracker.watch():
            self._dirty = True
        self._consoles.follow(self._instances.consoles())
        now = time.monotonic()
        if self._apart.look(now, self._around.tunnels.values()) and self._known:
            self.take_view(self.view)
        if self._around.look(self.view, now) and self._known and not self._replan:
            self._report()

    def once(self) -> None:
        """Bring the host to the view, if there is reason to; report what became of it."""
        now = time.monotonic()
        for at, announcements in [entry for entry in self._repeat if entry[0] <= now]:
            self._repeat.remove((at, announcements))
            self.tracker.repeat(announcements)
        if not self._known:
            return  # nothing is known of what shall be: what is there stays
        if now < max(self._rest_until, self._held_until):
            return
        retry = self.tracker.next_retry()
        if not (
            self._dirty or self._stale or self.tracker.dirty or (retry is not None and retry <= now)
        ):
            self._heartbeat()
            return
        try:
            self._plan()
            # Before it is carried out: whoever is killed in the middle goes on from there, not back first.
            self._saving.save(self._epoch, self.view)
            if self._stale:
                self.tracker.read(self._state)
                self._stale = False
                self._quiet_underlay()
            self._dirty = False
            before = self.tracker.changes
            announcements = self.tracker.reconcile(self._state)
        except ApplyError as error:
            self._complain(str(error))
            self._stale = True
            return
        except Exception as error:
            self._stumble(error)
            return
        self._complain("")
        self._stuck, self._reached = "", self.view.seq
        self._around.greet(self.view, now)
        if announcements:
            self._repeat.append((time.monotonic() + 1.0, announcements))
        made = self.tracker.changes - before
        asked = self._asked()
        if made or asked:
            took = (time.monotonic() - now) * 1000
            said = f"{made} changes in {took:.0f} ms{self.tracker.reconciler.slow()}{asked}"
            log.info("seq %d: %s", self.view.seq, said)
        self._report()

    def _plan(self) -> None:
        if not self._replan:
            return
        before = self._state
        self._state, left = self._planning.plan_around(self._apart.served(self.view), before)
        self.tracker.want(self._state, before, self._planning.delta)
        for (table, id), why in left.items() - self._left.items():
            log.error("%s %s: %s", *origin_of(table, id), why)
        self._left = left
        self._replan = False

    def examine(self, request: Request) -> Report:
        """Look at the whole host for a doctor, and repair what differs if that is asked for."""
        host, seq = self._facts.host, self.view.seq
        if request.hold is not None:
            self._held_until = time.monotonic() + min(request.hold, LONGEST_HOLD)
            return Report(host, seq)
        if not self._known:
            return Report(host, wrong="the agent does not know yet what shall be on this host")
        try:
            self._plan()
            self.tracker.read(self._state)
            found = self.tracker.findings()
            self._dirty = self._dirty or bool(found)  # else it would wait for the audit
            if not request.repair or not found:
                return Report(host, seq, found)
            before = self.tracker.changes
            self.tracker.repair(self._state, found)
            made = self.tracker.changes - before
            self.tracker.read(self._state)
        except (ApplyError, OSError) as error:
            self._stale = True
            return Report(host, seq, wrong=str(error))
        left = self.tracker.findings()
        self._report(self._reached)
        keys = {item.key for item in left}
        return Report(host, seq, left, [item for item in found if item.key not in keys], made)

    def _quiet_underlay(self) -> None:
        if self._facts.tunnel_ip and self.tracker.userspace:
            try:
                bridges.quiet_underlay(self.tracker.database, self._facts.tunnel_ip)
            except ApplyError as error:
                log.warning("tunnels may lose packets: %s", error)

    def settle(self, seconds: float = 60.0) -> None:
        """Bring the host to the view and wait for the workers: for one application without a server."""
        deadline = time.monotonic() + seconds
        self.once()
        while self.tracker.busy and time.monotonic() < deadline:
            try:
                self.events.get(timeout=1.0)()
            except queue.Empty:
                continue
            self._look_again()
            self.once()
            self._save_again()
        self.tracker.workers.stop()

    def _asked(self) -> str:
        """Name the requests that the server named, once: their ids find the log lines on both sides."""
        requests, self._requests = dict.fromkeys(self._requests), ()
        return f" for {', '.join(requests)}" if requests else ""

    def _complain(self, words: str, more: str = "") -> None:
        if words and words != self._complaint:
            log.error("%s%s", words, more)
        self._complaint = words

    def _report(self, applied: int | None = None) -> None:
        """Say what has become of objects, and that this host has carried out `applied` (default: its view)."""
        rows = self.tracker.rows() | status.tunnels(self._around.tunnels)
        troubles = (
            *(self._stuck, self._saving.wrong, self._around.full),
            *(self.tracker.runs.stays(), self.tracker.foreign()),
        )
        wrong = "; ".join(filter(None, troubles))
        rows |= {(*origin_of(*row), "l2"): ("error", why) for row, why in self._left.items()}
        rows |= status.of_host(self._facts.host, wrong)
        rows |= self.tracker.repairs.rows(time.monotonic())
        if self._link is not None:
            news = status.changes(self._sent, rows, self.view.seq)
            # The first report to a server holds everything that there is to say.
            reached = self.view.seq if applied is None else applied
            self._link.report(reached, news, whole=not self._sent)
        self._sent = {**rows}

    def _heartbeat(self) -> None:
        """Nothing concerned this host: the next heartbeat says that it is at the newest change all the same."""
        if self._link is not None and not self._replan:
            self._reached = self.view.seq
            self._link.stands_at(self.view.seq)

    def _save_again(self) -> None:
        """What the disk did not take before is tried again, also while nothing else happens."""
        before = self._saving.wrong
        self._saving.save(self._epoch, self.view)
        if self._saving.wrong != before and self._known and not self._replan:
            self._report()
