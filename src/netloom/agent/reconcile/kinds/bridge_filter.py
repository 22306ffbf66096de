"""The filter of Linux bridges: its tables, what is asked of each device, groups' rules, and sets of those whom rules name.

All of it is one kind, as its parts name each other: they come in one transaction, in the order in which they need each other.
Zones of connections are here too: an element of a map says which bridge has which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netloom.agent.reconcile.diff import Change, Mark
from netloom.agent.reconcile.kind import Failure, Kind, Look, NotReady
from netloom.dataplane.linux import bridge_filter as nftables
from netloom.dataplane.linux.bridge_filter import Content, Name
from netloom.dataplane.linux.nft import told
from netloom.dataplane.mark import broken, fingerprint
from netloom.dataplane.ovs.allocator import Allocator
from netloom.dataplane.process import ApplyError
from netloom.model.filtering import FarMember, FarSet, FilterBase, GroupFilter, PortFilter
from netloom.model.hoststate import HostObject, Key, Zone
from netloom.render.bridge_filter import (
    add_base,
    chains_of,
    elements_of,
    far_element,
    far_set_text,
    group_rules,
    listed_elements,
)
from netloom.render.values import Unwritable

_ORDER = ("filter-base", "far-set", "far-member", "group-filter", "filter", "zone")
"""Each needs what is named before it."""
_ZONES: Name = ("inet", "zones")
Element = tuple[Name, str, str]


class BridgeFilters(Kind):
    """How a restarted agent knows it as ours: the tables have our name, and all in them is ours."""

    name = "filter"
    sorts = _ORDER

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator
        self._expected = nftables.Expected()
        self._wanted: dict[Key, HostObject] = {}
        self._users: dict[
            tuple[str, str], set[Key]
        ] = {}  # (set, element) → the wanted members that are it
        self._there = Content()
        self._made: dict[Key, HostObject] = {}  # what is there as it was made

    # --- marks -----------------------------------------------------------------------------------

    def mark(self, item: HostObject) -> Mark:
        self.forget(item.key)
        try:
            _text_of(item)
        except Unwritable as error:
            raise NotReady(str(error), "error") from error
        self._wanted[item.key] = item
        if isinstance(item, FarMember):
            self._users.setdefault((item.name, far_element(item)), set()).add(item.key)
        if isinstance(item, Zone):
            return str(self._allocator.number("zone", item.name))
        return fingerprint(item)

    def forget(self, key: Key) -> None:
        item = self._wanted.pop(key, None)
        if isinstance(item, FarMember):
            element = (item.name, far_element(item))
            self._users[element].discard(key)
            if not self._users[element]:
                del self._users[element]

    # --- reading ---------------------------------------------------------------------------------

    def read(self, look: Look) -> dict[Key, Mark]:
        if look.whole:
            look.foreign |= {
                ("table", *where): said for where, said in nftables.forbidding().items()
            }
        there = self._there = nftables.read()
        if not there.frames:
            return {}
        chains: dict[Name, list[str]] = {}
        for item in self._wanted.values():
            chains |= _chains(item)
        sets = [item for item in self._wanted.values() if isinstance(item, FarSet)]
        expected = self._expected.rules(chains, sets)
        found: dict[Key, Mark] = {}
        for key, item in self._wanted.items():
            mark = self._compared(item, there, expected)
            if mark is not None:
                found[key] = mark
                if not mark.startswith("broken"):
                    self._made[key] = item
        return found | self._unwanted(there)

    def _compared(self, item: HostObject, there: Content, expected: nftables.Rules) -> Mark | None:
        """The mark of an object as it is there; None where nothing of it is."""
        if isinstance(item, FilterBase):
            frames, rules = self._expected.base()
            odd = [name for name in frames if there.frames.get(name) != frames[name]]
            odd += [name for name in rules if there.chains.get(name) != rules[name]]
            return broken(f"chain {odd[0][1]} was another one") if odd else fingerprint(item)
        if isinstance(item, Zone):
            number = there.sets.get(_ZONES, {}).get(f'"{item.name}"')
            return None if number is None else str(number)
        if isinstance(item, FarSet):
            elements = there.sets.get(("inet", item.name))
            if elements is None:
                return None
            odd = set(listed_elements(item)) ^ elements.keys() if item.kind == "listed" else ()
            return broken(f"{min(odd)} was there or was gone") if odd else fingerprint(item)
        if isinstance(item, FarMember):
            return (
                fingerprint(item)
                if far_element(item) in there.sets.get(("inet", item.name), ())
                else None
            )
        names = _chains(item)
        wanted = {name: expected.get(name) for name in names}
        missing = [name for name in names if name not in there.chains]
        if len(missing) == len(names):
            return None
        wrong = [f"chain {name[1]} was gone" for name in missing]
        wrong += [
            _odd_rules(name, rules or (), there.chains[name])
            for name, rules in wanted.items()
            if name in there.chains and there.chains[name] != rules
        ]
        for name, key, value in _elements(item):
            if there.sets.get(name, {}).get(key) != value:
                wrong.append(f"{key} in {name[1]} was gone or another")
        return broken("; ".join(wrong[:3])) if wrong else fingerprint(item)

    def _unwanted(self, there: Content) -> dict[Key, Mark]:
        """What is in our tables and nobody wants."""
        found: dict[Key, Mark] = {}
        known = {name for item in self._wanted.values() for name in _chains(item)}
        for name in there.chains.keys() - there.frames.keys() - known:
            family, chain = name
            start, _, device = chain.partition("-of-" if family == "inet" else "-")
            if (
                device
                and start in ("from", "to", "egress", "ingress")
                and (family == "bridge" or "-of-" in chain)
            ):
                if ("filter", device) not in self._wanted:
                    found["filter", device] = "unwanted"
            elif ("group-filter", chain) not in self._wanted:
                found["group-filter", chain] = "unwanted"
        for (family, name), elements in there.sets.items():
            if family != "inet" or name in ("egress", "ingress"):
                continue
            if name == "zones":
                for key in elements:
                    if ("zone", key.strip('"')) not in self._wanted:
                        found["zone", key.strip('"')] = "unwanted"
                continue
            if ("far-set", name) not in self._wanted:
                found["far-set", name] = "unwanted"
                continue
            wanted = self._wanted["far-set", name]
            if isinstance(wanted, FarSet) and wanted.kind == "listed":
                continue
            for key in elements:
                if (name, key) not in self._users:
                    found["far-member", name, *(p.strip('"') for p in key.split(" . ")), ""] = (
                        "unwanted"
                    )
        return found

    # --- changing --------------------------------------------------------------------------------

    def apply(self, change: Change) -> dict[Key, Failure]:
        failed = self._add(change.make) if change.make else {}
        return failed | (self._remove(change.remove) if change.remove else {})

    def _add(self, items: Iterable[HostObject]) -> dict[Key, Failure]:
        items = sorted(items, key=lambda item: _ORDER.index(item.key[0]))
        self._allocator.save()
        if items[0].key[0] == "filter-base":
            # It begins anew: all that was there goes, and what is wanted comes back in the same step.
            items = sorted(self._wanted.values(), key=lambda item: _ORDER.index(item.key[0]))
            self._there = Content()
        had = {item.key: self._made.pop(item.key, None) for item in items}
        try:
            nftables.change("".join(self._text(item, had[item.key]) for item in items))
            self._made |= {item.key: item for item in items}
            return {}
        except ApplyError as error:
            if len(items) == 1:
                return {items[0].key: Failure(str(error))}
        failed: dict[Key, Failure] = {}
        for item in items:
            try:
                nftables.change(self._text(item))
                self._made[item.key] = item
            except ApplyError as error:
                failed[item.key] = Failure(str(error))
        return failed

    def _text(self, item: HostObject, had: HostObject | None = None) -> str:
        """What makes an object as wanted. `had`: it as it was made last, where that is known."""
        if isinstance(item, FarSet) and item.kind == "listed":
            return _listed_text(item, had)
        if not isinstance(item, Zone):
            return _text_of(item)
        number = str(self._allocator.number("zone", item.name))
        key = f'"{item.name}"'
        old = self._there.sets.get(_ZONES, {}).get(key)
        gone = "" if old is None else nftables.elements_text("delete", [(_ZONES, key, old)])
        return gone + nftables.elements_text("add", [(_ZONES, key, number)])

    def _remove(self, keys: Iterable[Key]) -> dict[Key, Failure]:
        keys = sorted(keys, key=lambda key: -_ORDER.index(key[0]))
        failed: dict[Key, Failure] = {}
        try:
            # As it was made: then nobody has to look at all that is there.
            nftables.change("".join(self._unmade(self._made[key]) for key in keys))
        except (ApplyError, KeyError):
            failed = self._remove_what_is_there(keys)
        for key in keys:
            if key in failed:
                continue
            self._made.pop(key, None)
            if key[0] == "zone":
                self._free(key[1])
        self._allocator.save()
        return failed

    def _unmade(self, item: HostObject) -> str:
        """What takes an object away that is there as it was made; raises KeyError where that cannot be said."""
        match item:
            case PortFilter() | GroupFilter():
                gone = nftables.elements_text("delete", _elements(item))
                return gone + "".join(nftables.deleted(*name) for name in _chains(item))
            case FarMember():
                used = self._users.get((item.name, far_element(item)))
                return "" if used else nftables.elements_text("delete", _elements(item))
            case _:
                raise KeyError(item.key)

    def _remove_what_is_there(self, keys: list[Key]) -> dict[Key, Failure]:
        there = nftables.read()
        text = {key: self._removal(key, there) for key in keys}
        try:
            nftables.change("".join(text.values()))
            return {}
        except ApplyError:
            failed: dict[Key, Failure] = {}
        for key in keys:
            try:
                nftables.change(text[key])
            except ApplyError as error:
                failed[key] = Failure(str(error))
        return failed

    def _free(self, bridge: str) -> None:
        """Its next owner inherits no connection."""
        if bridge in self._allocator.names("zone"):
            nftables.forget_connections(self._allocator.number("zone", bridge))
            self._allocator.forget("zone", bridge)

    def _removal(self, key: Key, there: Content) -> str:
        """What takes an object out, as far as it is there."""
        match key[0]:
            case "filter-base":
                return "".join(
                    f"delete table {f} {nftables.TABLE}\n" for f in {f for f, _ in there.frames}
                )
            case "far-set":
                return (
                    f"delete set inet {nftables.TABLE} {key[1]}\n"
                    if ("inet", key[1]) in there.sets
                    else ""
                )
            case "far-member":
                element = " . ".join(_quoted(part) for part in key[2:-1])
                used = self._users.get((key[1], element))
                if used or element not in there.sets.get(("inet", key[1]), ()):
                    return ""
                return nftables.elements_text("delete", [(("inet", key[1]), element, "")])
            case "group-filter":
                return _without(["inet", key[1]], there)
            case "zone":
                old = there.sets.get(_ZONES, {}).get(f'"{key[1]}"')
                return (
                    nftables.elements_text("delete", [(_ZONES, f'"{key[1]}"', old)]) if old else ""
                )
            case _:
                return _port_removal(key[1], there)

    def goes_with(self, key: Key) -> Key | None:
        return ("far-set", key[1]) if key[0] == "far-member" else None


def _quoted(part: str) -> str:
    return part if ":" in part or (part[:1].isdigit() and "." in part) else f'"{part}"'


def _without(name: Iterable[str], there: Content) -> str:
    family, chain = name
    return nftables.deleted(family, chain) if (family, chain) in there.chains else ""


def _port_removal(device: str, there: Content) -> str:
    """What takes all of a device out: first the ways to its chains."""
    chains = [("bridge", f"from-{device}"), ("bridge", f"to-{device}")]
    chains += [("inet", f"{name}-of-{device}") for name in ("egress", "ingress")]
    targets = {f"goto {chain}" for _, chain in chains}
    gone = [
        (name, key, value)
        for name, elements in there.sets.items()
        for key, value in elements.items()
        if value in targets or (name == ("bridge", "cards") and key == f'"{device}"')
    ]
    text = nftables.elements_text("delete", gone)
    return text + "".join(_without(chain, there) for chain in chains)


def _chains(item: HostObject) -> dict[Name, list[str]]:
    if isinstance(item, PortFilter):
        return chains_of(item)
    if isinstance(item, GroupFilter):
        return {("inet", item.chain): group_rules(item)}
    return {}


def _elements(item: HostObject) -> Iterator[Element]:
    if isinstance(item, PortFilter):
        for name, (key, value) in elements_of(item).items():
            yield name, key, value
    elif isinstance(item, FarMember):
        yield ("inet", item.name), far_element(item), ""


def _text_of(item: HostObject) -> str:
    """What makes an object as wanted, whether it is there or not (a zone's number is no part of the plan)."""
    match item:
        case FilterBase():
            return add_base()
        case FarSet():
            return f"add {far_set_text(item)}\n"
        case _:
            return nftables.chains_text(_chains(item)) + nftables.elements_text(
                "add", _elements(item)
            )


def _listed_text(item: FarSet, had: HostObject | None) -> str:
    """What makes a set with these elements and no others, one step for all: ranges of old and new ones may overlap."""
    name, wanted = ("inet", item.name), listed_elements(item)
    if isinstance(had, FarSet):
        old = dict.fromkeys(listed_elements(had))
        new = set(wanted)
        gone = [each for each in old if each not in new]
        come = [each for each in wanted if each not in old]
        text = nftables.elements_text("delete", ((name, each, "") for each in gone))
        return text + nftables.elements_text("add", ((name, each, "") for each in come))
    flush = f"flush set inet {nftables.TABLE} {item.name}\n"
    made = f"add {far_set_text(item)}\n{flush}"
    return made + nftables.elements_text("add", ((name, each, "") for each in wanted))


def _odd_rules(name: Name, wanted: tuple[str, ...], there: tuple[str, ...]) -> str:
    for rule in wanted:
        if rule not in there:
            return f"a rule of chain {name[1]} was gone: {told(rule)}"
    for rule in there:
        if rule not in wanted:
            return f"a rule was added to chain {name[1]}: {told(rule)}"
    return f"the rules of chain {name[1]} were in another order"
