"""Flows in this host's own numbers: all changes of a bridge in one bundle, then the numbers that nobody needs any more.

A flow's mark is its cookie, a hash of its text in numbers. The text names OpenFlow ports, so it changes when a device gets
another number: `stale` names the flows of such devices, found by an index. So a pass writes and hashes only flows that change.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from netloom.agent.reconcile.diff import Change, Mark
from netloom.agent.reconcile.kind import Failure, Kind, Look, NotReady
from netloom.dataplane.mark import broken
from netloom.dataplane.ovs import bridges, flowwatch
from netloom.dataplane.ovs.allocator import Allocator
from netloom.dataplane.ovs.openflow import PREFIX, Entry, Switch, cookie
from netloom.dataplane.ovs.ovsdb import Ovsdb
from netloom.dataplane.process import ApplyError
from netloom.model.hoststate import Flow, Interface, Key
from netloom.render.openflow import Resolve, Unresolved, flow_text

log = logging.getLogger(__name__)

Symbol = tuple[str, str]
"""(kind, name) of what gets its number from the allocator: `zone`, `meter` or `conj`."""


class _Uses:
    """What one flow names: devices, and symbols that get their number from the allocator."""

    __slots__ = ("_resolve", "devices", "symbols")

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self.devices: set[str] = set()
        self.symbols: set[Symbol] = set()

    def resolve(self, kind: str, name: str) -> str | None:
        """The number for a name, which is taken down."""
        if kind == "port":
            self.devices.add(name)
        else:
            self.symbols.add((kind, name))
        return self._resolve(kind, name)

    def rest(self, flow: Flow) -> None:
        """Take down what else a flow names that cannot be written yet."""
        kept, self._resolve = self._resolve, _any_number
        with suppress(ValueError):
            flow_text(flow, self.resolve)
        self._resolve = kept


def _any_number(kind: str, name: str) -> str:
    del kind, name
    return "1"


class Flows(Kind):
    """`has_bridge`: whether a bridge is there; `item`: a wanted flow by its key; `interfaces`: all that are wanted, by device."""

    name = "flow"
    sorts = ("flow",)
    # Nothing is let through before what answers it stands.
    after = (
        "bridge",
        "interface",
        "group",
        "zone",
        "meter",
        "route",
        "neighbour",
        "dnsmasq",
        "metadata",
    )
    at_once = True

    def __init__(
        self,
        database: Ovsdb,
        switch: Switch,
        allocator: Allocator,
        *,
        has_bridge: Callable[[str], bool],
        item: Callable[[Key], Flow],
        interfaces: Mapping[str, Interface],
    ) -> None:
        self._database = database
        self._switch = switch
        self._allocator = allocator
        self._has_bridge = has_bridge
        self._item = item
        self._wanted_ports = interfaces
        self._ports: dict[str, int] = {}  # device → its OpenFlow port, as flows name it
        self._named: dict[str, set[Key]] = defaultdict(set)  # device → flows that name it
        self._symbols: dict[Key, _Uses] = {}
        self._uses: Counter[Symbol] = Counter()
        self._there: dict[Key, int] = {}  # flows in the switch → cookie
        self._cookies: dict[tuple[str, int], Key] = {}  # the same the other way round
        self._expected: dict[int, str] = {}  # cookie → how the switch shows the flow
        self._unneeded = False
        self._written: set[str] = set()  # bridges whose flows were changed here since `written`

    # --- what is wanted ------------------------------------------------------------------------

    def mark(self, item: Flow) -> Mark:
        uses = _Uses(self._resolve)
        try:
            text = flow_text(item, uses.resolve)
        except Unresolved as missing:
            uses.rest(item)
            wait = self._wanted_ports.get(missing.name)
            said = f"device {missing.name} is not plugged"
            raise NotReady(said, blame=wait.origin if wait else None) from missing
        except ValueError as error:
            raise NotReady(f"a flow is left out: {error}", "error") from error
        finally:
            self._take(item, uses)
        return f"{cookie(text):x}"

    def _take(self, item: Flow, uses: _Uses) -> None:
        before = self._symbols.get(item.key)
        if before is None or before.devices != uses.devices or before.symbols != uses.symbols:
            self._uses.update(uses.symbols)  # first, so that none of them counts as given up
            self.forget(item.key)
            self._symbols[item.key] = uses
            for device in uses.devices:
                self._named[device].add(item.key)

    def _resolve(self, kind: str, name: str) -> str | None:
        if kind == "port":
            number = self._ports.get(name)
            return None if number is None else str(number)
        return str(self._allocator.number(kind, name))

    def forget(self, key: Key) -> None:
        old = self._symbols.pop(key, None)
        if old is None:
            return
        for device in old.devices:
            self._named[device].discard(key)
            if not self._named[device]:
                del self._named[device]
        for symbol in old.symbols:
            self._uses[symbol] -= 1
            if not self._uses[symbol]:
                del self._uses[symbol]
                self._unneeded = True

    def stale(self) -> Iterable[Key]:
        now = bridges.ofports(self._database)
        if now == self._ports:
            return ()
        moved = {name for name, number in now.items() if self._ports.get(name) != number}
        moved |= self._ports.keys() - now.keys()
        self._ports = now
        return [key for name in moved for key in self._named.get(name, ())]

    def moved(self) -> bool:
        """Whether a device has another number in the switch than flows name."""
        return bridges.ofports(self._database) != self._ports

    # --- what is there -------------------------------------------------------------------------

    def read(self, look: Look) -> dict[Key, Mark]:
        self._unneeded = True
        wanted: dict[tuple[str, int], Key] = {
            (key[1], int(mark, 16)): key for key, mark in look.marks[self.name].items()
        }
        # Of these alone it must be asked how the switch shows them; the rest is known.
        texts: dict[int, str] = {}
        for (_, number), key in wanted.items():
            item = look.wanted[key]
            if number not in self._expected and isinstance(item, Flow):
                texts[number] = flow_text(item, self._resolve)
        self._expected |= self._switch.expected(texts) if texts else {}
        numbers = {number for _, number in wanted}
        self._expected = {n: text for n, text in self._expected.items() if n in numbers}
        self._there, self._cookies = {}, {}
        found: dict[Key, Mark] = {}
        for name in bridges.ours(self._database):
            found |= self._read_bridge(name, wanted, look.foreign)
        return found

    def _read_bridge(
        self, bridge: str, wanted: dict[tuple[str, int], Key], foreign: dict[Key, str]
    ) -> dict[Key, Mark]:
        found: dict[Key, Mark] = {}
        entries: dict[int, list[str]] = defaultdict(list)
        for entry in self._switch.read(bridge):
            if entry.ours:
                entries[entry.cookie].append(entry.text)
            else:
                foreign |= _foreign(bridge, entry)
        for number, texts in entries.items():
            key = wanted.get((bridge, number), _unknown(bridge, number))
            found[key] = self._mark_of(number, texts, (bridge, number) in wanted) or ""
            self._note(key, number)
        return found

    def look_again(
        self, bridge: str, changes: Iterable[flowwatch.Change], wanted: Mapping[Key, Mark]
    ) -> tuple[dict[Key, Mark | None], dict[Key, str] | None]:
        """What became of flows that the switch tells of: key → mark, None where it is gone; and the foreign ones of the bridge.

        `wanted`: the marks of all flows. What was done here is no news: a flow that came and is known, or went and is not.
        Foreign flows are None where nothing is told of them.
        """
        last: dict[int, int] = {}
        for number, event in changes:
            last[number] = event if last.get(number, event) == event else flowwatch.MODIFIED
        ours = [number for number in last if number >> 48 == PREFIX]
        suspects = {
            number
            for number in ours
            if last[number] == flowwatch.MODIFIED
            or (last[number] == flowwatch.ADDED) != ((bridge, number) in self._cookies)
        }
        found = self._looked_at(bridge, suspects, wanted) if suspects else {}
        if len(ours) == len(last):
            return found, None
        return found, self.foreign(bridge)

    def foreign(self, bridge: str) -> dict[Key, str]:
        """The flows of a bridge that are not ours, in words."""
        foreign: dict[Key, str] = {}
        for entry in self._switch.read(bridge):
            if not entry.ours:
                foreign |= _foreign(bridge, entry)
        return foreign

    def written(self) -> set[str]:
        """Bridges whose flows were changed here since this was asked last: a flow of ours may have replaced a foreign one."""
        written, self._written = self._written, set()
        return written

    def _looked_at(
        self, bridge: str, numbers: set[int], wanted: Mapping[Key, Mark]
    ) -> dict[Key, Mark | None]:
        marks = {f"{number:x}": number for number in numbers}
        keys = {marks[m]: k for k, m in wanted.items() if m in marks and k[1] == bridge}
        entries: dict[int, list[str]] = {number: [] for number in numbers}
        few = next(iter(numbers)) if len(numbers) == 1 else None
        for entry in self._switch.read(bridge, few):
            if entry.cookie in entries:
                entries[entry.cookie].append(entry.text)
        unknown = [n for n in numbers if n in keys and n not in self._expected]
        texts = {n: flow_text(self._item(keys[n]), self._resolve) for n in unknown}
        self._expected |= self._switch.expected(texts) if texts else {}
        found: dict[Key, Mark | None] = {}
        for number in numbers:
            key = (
                keys.get(number) or self._cookies.get((bridge, number)) or _unknown(bridge, number)
            )
            found[key] = self._mark_of(number, entries[number], number in keys)
            self._note(key, number if entries[number] else None)
        return found

    def _note(self, key: Key, number: int | None) -> None:
        """Take down that a flow is in the switch with this cookie; None: it is not there."""
        old = self._there.pop(key, None)
        if old is not None and self._cookies.get((key[1], old)) == key:
            del self._cookies[key[1], old]
        if number is not None:
            self._there[key] = number
            self._cookies[key[1], number] = key

    def _mark_of(self, number: int, entries: list[str], wanted: bool) -> Mark | None:
        if not entries:
            return None
        if wanted and entries != [self._expected.get(number, entries[0])]:
            return broken(f"it was changed to '{entries[-1]}'")
        return f"{number:x}"

    # --- making it so --------------------------------------------------------------------------

    def apply(self, change: Change) -> dict[Key, Failure]:
        failed: dict[Key, Failure] = {}
        add: dict[str, dict[int, str]] = defaultdict(dict)
        gone: dict[str, set[int]] = defaultdict(set)
        keys: dict[tuple[str, int], Key] = {}
        numbers: dict[Key, int] = {}
        for item in change.make:
            if not isinstance(item, Flow):
                continue
            if not self._has_bridge(item.bridge):
                failed[item.key] = Failure(f"bridge {item.bridge} is not there")
                continue
            text = flow_text(item, self._resolve)
            number = cookie(text)
            add[item.bridge][number] = text
            keys[item.bridge, number] = item.key
            numbers[item.key] = number
            old = self._there.get(item.key)
            if old is not None:
                gone[item.bridge].add(old)
        for key in change.remove:
            number = self._there[key]
            if (
                self._cookies[key[1], number] == key
            ):  # else the same flow is wanted under its own key
                gone[key[1]].add(number)
                keys.setdefault((key[1], number), key)
        self._allocator.save()
        for bridge in sorted({*add, *gone}):
            self._written.add(bridge)
            bad = self._switch.apply(bridge, add[bridge], gone[bridge])
            failed |= {keys[bridge, n]: Failure(r) for n, r in bad.items() if (bridge, n) in keys}
        for key in change.remove:
            if key not in failed:
                self._note(key, None)
        for item in change.make:
            if item.key not in failed:
                self._note(item.key, numbers[item.key])
        self._unneeded = self._unneeded or bool(gone)
        return failed

    def goes_with(self, key: Key) -> Key | None:
        return ("bridge", key[1])

    def left(self) -> bool:
        """Whether flows of ours are in the switch that nobody wants."""
        return any(key not in self._symbols for key in self._there)

    def free_numbers(self) -> None:
        """Free the numbers of conjunctions that no flow names any more, neither wanted nor in the switch."""
        if not self._unneeded or self.left():
            return
        try:
            self._allocator.keep("conj", {name for kind, name in self._uses if kind == "conj"})
            self._allocator.save()
        except ApplyError as error:
            log.warning("numbers stay in use: %s", error)  # until flows are looked at next
        else:
            self._unneeded = False


def _unknown(bridge: str, number: int) -> Key:
    return ("flow", bridge, f"cookie={number:#x}")


def _foreign(bridge: str, entry: Entry) -> dict[Key, str]:
    said = f"flow '{entry.text}' of {bridge} is not Netloom's"
    return {("flow", bridge, f"cookie={entry.cookie:#x}", entry.text): said}
