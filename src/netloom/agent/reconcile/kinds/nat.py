"""NAT and ingress filter of this host's routers: one table a namespace, so its objects succeed or fail together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from netloom.agent.reconcile.diff import Change, Mark
from netloom.agent.reconcile.kind import Failure, Kind, Look, NotReady
from netloom.agent.reconcile.kinds.inside import seen, tables
from netloom.dataplane.linux import nat, netns, nft
from netloom.dataplane.mark import broken, digest, fingerprint
from netloom.dataplane.process import ApplyError
from netloom.model.hoststate import AttachedNetwork, FloatingNat, Key, SourceNat
from netloom.model.origin import Origin
from netloom.render.nft import chains_of, check_nat
from netloom.render.values import Unwritable

Nat = FloatingNat | SourceNat
Part = Nat | AttachedNetwork


class Nats(Kind):
    """Floating IPs and the catch-all translation of routers, and the networks that they keep apart.

    A change that an agent did not live to finish is an object too, which nobody wants: so it is finished when addresses
    that go are gone.
    """

    name = "nat"
    sorts = ("floating-nat", "source-nat", "attached-network", "unfinished-nat")
    after = ("namespace",)
    inside = True

    def __init__(self) -> None:
        self._expected = nft.Expected()
        self._expected6 = nft.Expected()
        self._wanted: dict[str, dict[Key, Part]] = defaultdict(dict)
        self._there: dict[str, dict[Key, Nat]] = defaultdict(dict)
        self._identities: dict[str, int] = {}  # namespace → which one its table is in

    def mark(self, item: Part) -> Mark:
        try:
            check_nat(item)
        except Unwritable as error:
            raise NotReady(str(error), "error") from error
        self._wanted[item.namespace][item.key] = item
        return _mark(item)

    def forget(self, key: Key) -> None:
        self._wanted[key[1]].pop(key, None)

    def read(self, look: Look) -> dict[Key, Mark]:
        there = seen(look)
        texts = {
            name: nat.wanted(*_parts(self._wanted[name].values()))
            for name in there
            if self._wanted[name]
        }
        expected = self._expected.tables(texts, forget=look.only is None)
        found: dict[Key, Mark] = {}
        for name in there:
            self._there.pop(name, None)
            table = tables(look, name).get(nat.TABLE)
            if table is not None:
                self._identities[name] = netns.identity(name)
                found |= self._compared(name, table, expected.get(name))
        self._compare6(look, there, found)
        return found

    def _compare6(self, look: Look, there: Iterable[str], found: dict[Key, Mark]) -> None:
        """Say of the networks of a namespace whose table of IPv6 is not as wanted that they are broken."""
        networks = {
            name: [n for n in self._wanted[name].values() if isinstance(n, AttachedNetwork)]
            for name in there
        }
        texts = {name: text for name, some in networks.items() if (text := nat.wanted6(some))}
        expected = self._expected6.tables(texts, forget=look.only is None)
        for name, some in networks.items():
            table = tables(look, name).get(nat.TABLE6, nft.Table())
            wrong = nft.differences(expected.get(name, nft.Table()), table)
            for item in some if wrong else ():
                if found.get(item.key) == _mark(item):
                    found[item.key] = broken(nft.in_short(wrong))

    def _compared(
        self, namespace: str, table: nft.Table, expected: nft.Table | None
    ) -> dict[Key, Mark]:
        """What a table translates, each with its mark; what is wrong with the rest of it is said of one of them."""
        said = nat.translations(table)
        items: list[Nat] = [
            FloatingNat(
                namespace=namespace,
                device=said.device,
                external=external,
                internal=internal,
                ports=tuple(
                    sorted(
                        said.ports.get(external, ()),
                        key=lambda port: (port.protocol, port.external),
                    )
                ),
                origin=_origin(why),
            )
            for external, (internal, why) in said.floating.items()
        ]
        items += [
            SourceNat(namespace=namespace, device=device, address=address, origin=_origin(why))
            for device, (address, why) in said.source.items()
        ]
        self._there[namespace] = {item.key: item for item in items}
        wanted = self._wanted[namespace]
        found = {item.key: _mark(item) for item in items}
        for id in nat.networks(table):
            # Which version of it the differences below say.
            key = ("attached-network", namespace, id)
            known = key in wanted and expected is not None
            found[key] = _mark(wanted[key]) if known else broken("it cannot be compared")
        if said.unfinished:
            found["unfinished-nat", namespace] = broken("an agent was interrupted")
            table = nat.without_mark(table)
        wrong = nft.differences(expected, table) if expected is not None else []
        if not wrong:
            return found
        for key, item in wanted.items():
            about = [each for each in wrong if _is_about(item, each)]
            wrong = [each for each in wrong if each not in about]
            if about and found.get(key) == _mark(item):
                found[key] = broken(nft.in_short(about))
        whole = [key for key in wanted if found.get(key) == _mark(wanted[key])]
        if wrong and whole:
            # Of the rest of the table one of them must say it: the router's own address, or else the last floating IP.
            found[max(whole)] = broken(nft.in_short(wrong))
        return found

    def apply(self, change: Change) -> dict[Key, Failure]:
        come: dict[str, list[Part]] = defaultdict(list)
        gone: dict[str, list[Key]] = defaultdict(list)
        for item in change.make:
            if isinstance(item, FloatingNat | SourceNat | AttachedNetwork):
                come[item.namespace].append(item)
        for key in change.remove:
            gone[key[1]].append(key)
        failed: dict[Key, Failure] = {}
        for name in sorted({*come, *gone}):
            try:
                self._replace(name, come[name], gone[name])
            except (ApplyError, OSError) as error:
                keys = [*(item.key for item in come[name]), *gone[name]]
                failed |= dict.fromkeys(keys, Failure(str(error)))
        return failed

    def _replace(self, namespace: str, come: list[Part], gone: list[Key]) -> None:
        identity = netns.identity(namespace)
        before = self._there[namespace] if self._identities.get(namespace) == identity else {}
        now = {key: item for key, item in before.items() if key not in gone}
        now |= {item.key: item for item in come if not isinstance(item, AttachedNetwork)}
        if ("unfinished-nat", namespace) in gone:
            nat.finish(namespace)
            gone.remove(("unfinished-nat", namespace))
        if not come and not gone:
            return
        # The filter is always the whole one: not even while one of its networks waits for its turn is there less.
        wanted = self._wanted[namespace].values()
        networks = [item for item in wanted if isinstance(item, AttachedNetwork)]
        if now or networks:
            nat.apply(namespace, *_parts((*now.values(), *networks)))
        else:
            nat.remove(namespace)
        self._there[namespace], self._identities[namespace] = now, identity

    def outlives(self, key: Key) -> Iterable[Key]:
        item = self._there[key[1]].get(key)
        if not isinstance(item, FloatingNat):
            return ()
        return [("device", key[1], item.device), ("keepalived", key[1])]

    def goes_with(self, key: Key) -> Key | None:
        return ("namespace", key[1])


def _mark(item: Part) -> Mark:
    if isinstance(item, AttachedNetwork):
        return fingerprint(item)
    if isinstance(item, FloatingNat):
        return digest(f"{item.external} {item.internal} {item.ports} {_comment(item)}")
    return digest(f"{item.device} {item.address} {_comment(item)}")


def _is_about(item: Part, difference: nft.Difference) -> bool:
    match item:
        case FloatingNat():
            own = (item.external,)
        case SourceNat():
            own = (item.address,)
        case AttachedNetwork():
            own = chains_of(item.network_id)
    return not difference.names.isdisjoint((*own, _comment(item)))


def _origin(comment: str) -> tuple[Origin, ...]:
    # A comment of somebody else's is no origin: the rule differs from ours by it.
    return (Origin.parse(comment),) if "/" in comment else ()


def _comment(item: Part) -> str:
    return str(item.origin[0]) if item.origin else ""


def _parts(
    items: Iterable[Part],
) -> tuple[list[FloatingNat], list[SourceNat], list[AttachedNetwork]]:
    whole = list(items)
    return (
        [item for item in whole if isinstance(item, FloatingNat)],
        [item for item in whole if isinstance(item, SourceNat)],
        [item for item in whole if isinstance(item, AttachedNetwork)],
    )
