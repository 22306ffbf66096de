"""Both sides asked the same, in a world that begins with a little of everything."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.differential import anything, around, asking, pick, querying, transport
from tests.differential.compare import Pairs, changed_unseen, differences
from tests.differential.known_differences import Known, explanation, without_dhcp
from tests.differential.novelty import Novelty
from tests.differential.operations import COLLECTIONS, PATHS, UNKNOWN, Request, Twin, Twins
from tests.differential.sides import Answer, Identity, Side
from tests.differential.stories import STORIES

CANDIDATES = 12
"""Requests that are drawn for each that is asked: the newest of them."""

OFTEN: list[asking.Sort] = [
    asking.create_network,
    asking.create_external,
    asking.update_network,
    asking.share,
    asking.create_subnet,
    asking.create_subnet,
    asking.update_subnet,
    asking.create_port,
    asking.create_port,
    asking.update_port,
    asking.create_router,
    asking.update_router,
    asking.set_gateway,
    asking.router_action,
    asking.router_action,
    asking.create_floatingip,
    asking.update_floatingip,
    asking.create_group,
    asking.update_group,
    asking.create_rule,
    asking.create_policy,
    asking.update_policy,
    asking.remove,
    asking.remove,
]
"""What makes and changes the world."""

ELSE: list[asking.Sort] = [
    asking.show,
    asking.listing,
    around.quotas,
    around.tags,
    around.malformed,
    around.spoken,
    around.operating,
    around.odd,
    querying.filtering,
    querying.addresses,
    querying.fields,
    anything.create,
    anything.create,
    anything.change,
    anything.change,
    anything.create_many,
    anything.act,
    anything.tag,
    anything.quota,
    anything.query,
    transport.raw,
    transport.transport,
    transport.extensions,
]


@dataclass
class Found:
    """A difference that is not listed. `lines`: what differs; `asked`: all requests up to this one."""

    request: Request
    lines: list[str]
    asked: list[Asked]

    def __str__(self) -> str:
        before = " ; ".join(str(each.request) for each in self.asked[-5:-1])
        return "\n".join(
            [
                str(self.request)[:700],
                *(line[:700] for line in self.lines),
                "  after: " + before[:700],
            ]
        )


@dataclass
class Asked:
    """A request, and the twins that it made."""

    request: Request
    made: list[Twin] = field(default_factory=list)


def identities() -> list[Identity]:
    project, other = uuid.uuid4().hex, uuid.uuid4().hex
    return [
        Identity("admin", project, "admin,member,reader"),
        Identity("member", project, "member,reader"),
        Identity("reader", project, "reader"),
        Identity("other", other, "member,reader"),
        Identity("service", uuid.uuid4().hex, "service"),
        Identity("manager", project, "manager,member,reader"),
    ]


class Comparison:
    """One world on both sides, and what was found different in it."""

    def __init__(self, sides: tuple[Side, Side], who: list[Identity] | None = None) -> None:
        self.theirs, self.ours = sides
        self.world = Twins(who or identities())
        self.pairs = Pairs()
        self.asked: list[Asked] = []
        self.found: list[Found] = []
        self.known: list[Known] = []
        """What was met of the list of known differences."""
        self.parted = False
        """The worlds are not the same any more: the rest would say nothing."""

    def compare(self, request: Request) -> None:
        """Ask, compare, note."""
        if self.parted:
            return
        theirs, ours = (
            side.ask(request.who, request.method, *request.on(number))
            for number, side in enumerate((self.theirs, self.ours))
        )
        self.asked.append(Asked(request))
        self.judge(request, theirs, ours)
        if (theirs.status < 300) != (ours.status < 300):
            self.parted = not self._even(request, theirs, ours)
        elif theirs.status == 409 and request.method == "DELETE" and request.path[0] == "networks":
            # Before it finds that an external network cannot go, Neutron takes away its free floating IPs.
            gone = request.path[2] if len(request.path) > 2 else None
            self.parted = isinstance(gone, Twin) and gone.fact("router:external") is not False
        elif request.makes and theirs.status == 201:
            self._remember(request.makes, theirs, ours)
        elif request.removes and theirs.status == 204:
            self._forget()
        elif theirs.status == 200:
            for one, other in zip(_every(theirs), _every(ours), strict=False):
                unseen = changed_unseen(self.world.note(one, other), other)
                if unseen:
                    self._report(request, unseen)

    def _even(self, request: Request, theirs: Answer, ours: Answer) -> bool:
        """Take back what one side alone made; tell whether the worlds are the same then."""
        if request.method not in ("POST", "PUT", "DELETE"):
            return True
        side, answer = (self.theirs, theirs) if theirs.status < 300 else (self.ours, ours)
        if not request.makes or answer.status != 201:
            return False
        gone = [
            side.ask(
                self.world.identities[0],
                "DELETE",
                f"{request.on(0 if side is self.theirs else 1)[0]}/{made['id']}",
                None,
                {},
            )
            for made in _objects(request.makes, answer)
        ]
        return all(each.status == 204 for each in gone)

    def judge(self, request: Request, theirs: Answer, ours: Answer) -> None:
        """Note what differs and is not listed."""
        wrong: list[str] = []
        for line in differences(theirs, without_dhcp(ours), self.pairs):
            # Neutron's own failures are not to be copied; what we answer instead is looked at in tests/api.
            known = explanation(request, line) if theirs.status < 500 else None
            if known:
                self.known.append(known)
            elif theirs.status < 500:
                wrong.append(line)
        if ours.status >= 500:
            wrong.append(f"{ours.status} is never an answer")
        if wrong:
            self._report(request, wrong)

    def _report(self, request: Request, lines: list[str]) -> None:
        self.found.append(Found(request, lines, list(self.asked)))

    def _remember(self, kind: str, theirs: Answer, ours: Answer) -> None:
        for one, other in zip(_objects(kind, theirs), _objects(kind, ours), strict=True):
            twin = Twin(kind, (one["id"], other["id"]))
            self.world.twins.append(twin)
            self.asked[-1].made.append(twin)
            self.world.note(one, other)

    def _forget(self) -> None:
        """Drop twins that are gone; a deletion may take others along. Asked of the side that is quicker."""
        admin = self.world.identities[0]
        there: set[str] = set()
        for collection in PATHS.values():
            body = self.ours.ask(admin, "GET", f"{collection}?fields=id", None, {}).body
            there |= {item["id"] for item in next(iter(body.values()))}
        self.world.twins = [twin for twin in self.world.twins if twin.ids[1] in there]

    def furnish(self) -> None:
        """Begin with a little of everything: a network with a subnet, an external one, a router, a port."""
        admin, member, _, other, service, _ = self.world.identities
        # Now, while it succeeds: Neutron keeps the default group that a request made which then failed.
        self.compare(Request(service, "GET", ("security-groups",)))
        inside = self._make(member, "network", {"name": "inside"})
        subnet = {"ip_version": 4, "cidr": "10.0.0.0/24"}
        pool = [{"start": "10.0.0.64", "end": "10.0.0.99"}]
        self._make(member, "subnet", subnet | {"network_id": inside, "allocation_pools": pool})
        outside = self._make(admin, "network", {"name": "outside", "router:external": True})
        public = {"network_id": outside, "cidr": "172.24.4.0/24", "enable_dhcp": False}
        pool = [{"start": "172.24.4.64", "end": "172.24.4.254"}]
        self._make(admin, "subnet", subnet | public | {"allocation_pools": pool})
        self._make(member, "router", {"external_gateway_info": {"network_id": outside}})
        self._make(member, "security_group", {"name": "web"})
        self._make(other, "network", {"name": "theirs"})
        self._make(member, "port", {"network_id": inside})

    def _make(self, who: Identity, kind: str, attributes: dict[str, Any]) -> Twin:
        self.compare(Request(who, "POST", (COLLECTIONS[kind],), {kind: attributes}, makes=kind))
        return self.world.of(kind)[-1] if self.world.of(kind) else Twin(kind, (UNKNOWN, UNKNOWN))

    def explore(self, seed: str, steps: int, novelty: Novelty) -> None:
        """Ask so many times, whatever is newest; the same seed and past draw the same requests."""
        chance = Random(seed)
        draw = pick.drawer(chance)
        for _ in range(steps):
            if self.parted:
                return
            step = chance.random()
            if step < 0.06:
                self._page(draw, novelty)
            elif step < 0.12:
                self._tell(draw, novelty)
            else:
                sorts = OFTEN if step < 0.5 else ELSE
                drawn = [chance.choice(sorts)(self.world, draw) for _ in range(CANDIDATES)]
                self._ask(novelty.newest(drawn, self.world), novelty)

    def _ask(self, request: Request, novelty: Novelty) -> None:
        novelty.note(request, self.world)
        self.compare(request)

    def _page(self, draw: pick.Draw, novelty: Novelty) -> None:
        """Read a list page by page to its end, on each side by its own links."""
        drawn = [querying.pages(self.world, draw) for _ in range(CANDIDATES)]
        first = novelty.newest(drawn, self.world)
        novelty.note(first, self.world)
        theirs, ours = (
            querying.walk(side, first, n) for n, side in enumerate((self.theirs, self.ours))
        )
        self.asked.append(Asked(first))
        self.judge(first, theirs, ours)

    def _tell(self, draw: pick.Draw, novelty: Novelty) -> None:
        """Ask several requests that belong together."""
        story = draw(pick.sampled_from(STORIES))(self.world, draw)
        made: Twin | None = None
        while not self.parted:
            try:
                request = story.send(made)
            except StopIteration:
                return
            self._ask(request, novelty)
            made = self.asked[-1].made[-1] if self.asked[-1].made else None


def _every(answer: Answer) -> list[Any]:
    """Return the one object that an answer holds, if it is one: lists have their objects in another order."""
    if not isinstance(answer.body, dict) or len(answer.body) != 1:
        return []
    return [value for value in answer.body.values() if isinstance(value, dict)]


def _objects(kind: str, answer: Answer) -> list[dict[str, str]]:
    return answer.body[kind + "s"] if kind + "s" in answer.body else [answer.body[kind]]


def clear(side: Side, admin: Identity) -> None:
    """Delete everything, in the order that references allow: the next world has the same wires."""

    def every(collection: str) -> list[dict[str, str]]:
        body = side.ask(admin, "GET", collection, None, {}).body
        return next(iter(body.values()))

    for floatingip in every("floatingips"):
        side.ask(admin, "DELETE", f"floatingips/{floatingip['id']}", None, {})
    for router in every("routers"):
        path = f"routers/{router['id']}"
        side.ask(admin, "PUT", path, {"router": {"routes": [], "external_gateway_info": {}}}, {})
        for port in every(f"ports?device_id={router['id']}"):
            side.ask(admin, "PUT", f"{path}/remove_router_interface", {"port_id": port["id"]}, {})
        side.ask(admin, "DELETE", path, None, {})
    for collection in ("ports", "networks", "security-groups"):
        for item in every(collection):
            if collection == "ports" and item["device_owner"] in ("network:router_interface",):
                side.ask(admin, "PUT", f"ports/{item['id']}", {"port": {"device_owner": ""}}, {})
            side.ask(admin, "DELETE", f"{collection}/{item['id']}", None, {})
    for policy in every("qos/policies"):
        side.ask(admin, "DELETE", f"qos/policies/{policy['id']}", None, {})
    for quota in every("quotas"):
        side.ask(admin, "DELETE", f"quotas/{quota['project_id']}", None, {})


def shortened(sides: tuple[Side, Side], found: Found, attempts: int = 30) -> list[Request]:
    """Return the fewest of the requests before a difference that still bring it about, with its own at the end.

    Empty where it does not come again, not even with all of them. What a removed request would have made is then
    an id that nobody has.
    """

    def again(steps: list[Asked]) -> bool:
        for each in found.asked:
            for twin in each.made:
                twin.ids = (UNKNOWN, UNKNOWN)
        comparison = Comparison(sides)
        for each in steps:
            comparison.compare(each.request)
            if comparison.parted:
                break
            for old, new in zip(each.made, comparison.asked[-1].made, strict=False):
                old.ids = new.ids
        for side in sides:
            clear(side, comparison.world.identities[0])
        return any(one.request is found.request for one in comparison.found)

    steps = found.asked
    if not again(steps):
        return []
    size = len(steps) // 2
    while size and attempts > 0:
        for at in range(len(steps) - 1 - size, -1, -size):
            fewer = steps[:at] + steps[at + size :]
            attempts -= 1
            if attempts > 0 and again(fewer):
                steps = fewer
        size //= 2
    return [each.request for each in steps]
