"""Hundreds of requests by six identities: Netloom answers as Neutron does, save for what is listed."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from differential import asking as ask
from differential import querying
from differential.compare import Pairs, changed_unseen, differences
from differential.known_differences import explained, without_dhcp
from differential.operations import COLLECTIONS, UNKNOWN, Request, Twin, World
from differential.sides import Answer, Identity, Side, netloom, neutron
from differential.stories import STORIES

pytestmark = pytest.mark.slow

WANTED = 500
"""Requests that must have been compared in the end."""

EXAMPLES = int(os.environ.get("NETLOOM_ORACLE_EXAMPLES", "25"))
RANDOM = "NETLOOM_ORACLE_RANDOM" in os.environ
"""Explore: other requests at each run. Without it the same requests each time, so that a run can be trusted."""


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    try:
        with (
            neutron(tmp_path_factory.mktemp("neutron")) as theirs,
            netloom(tmp_path_factory.mktemp("netloom")) as ours,
        ):
            yield theirs, ours
    except LookupError as missing:
        pytest.skip(str(missing))


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


class Comparison(RuleBasedStateMachine):
    """Each rule draws one request, asks both sides and compares."""

    theirs: Side
    ours: Side
    asked: ClassVar[int] = 0
    different: ClassVar[set[str]] = set()
    """What was asked, ids aside."""
    found: ClassVar[list[str]] = []

    def __init__(self) -> None:
        super().__init__()
        self.world = World(identities())
        self.pairs = Pairs()
        self.log: list[str] = []
        self.parted = False

    def ask(self, request: Request) -> tuple[Answer, Answer]:
        answers = []
        for number, side in enumerate((self.theirs, self.ours)):
            answers.append(side.ask(request.who, request.method, *request.on(number)))
        self.count(request)
        return answers[0], answers[1]

    def count(self, request: Request) -> None:
        type(self).asked += 1
        self.different.add(querying.ID.sub("·", str(request)))

    def compare(self, request: Request) -> tuple[Answer, Answer] | None:
        """Ask, compare, note. Once the worlds have parted the rest of the example would say nothing."""
        if self.parted:
            return None
        theirs, ours = self.ask(request)
        self.log.append(f"{request} -> {theirs.status}")
        self.judge(request, theirs, ours)
        if (theirs.status < 300) != (ours.status < 300):
            self.parted = True
        elif request.makes and theirs.status == 201:
            self.remember(request.makes, theirs, ours)
        elif request.removes and theirs.status == 204:
            self.forget()
        elif theirs.status == 200:
            for one, other in zip(_every(theirs), _every(ours), strict=False):
                unseen = changed_unseen(self.world.note(one, other), other)
                for line in unseen:
                    self.report(f"{request}\n{line}")
        return theirs, ours

    def report(self, text: str) -> None:
        self.found.append(text)
        if RANDOM:
            # An explorer reads along: a long run says what it met at once.
            print("\n" + text, flush=True)

    def judge(self, request: Request, theirs: Answer, ours: Answer) -> None:
        """Note what differs and is not listed."""
        lines = differences(theirs, without_dhcp(ours), self.pairs)
        wrong = [line for line in lines if not explained(request, theirs, line)]
        if ours.status >= 500:
            wrong.append(f"{ours.status} is never an answer")
        if wrong:
            self.report("\n".join([str(request), *wrong, "  after: " + " ; ".join(self.log[-5:-1])]))

    def remember(self, kind: str, theirs: Answer, ours: Answer) -> None:
        for one, other in zip(_objects(kind, theirs), _objects(kind, ours), strict=True):
            self.world.twins.append(Twin(kind, (one["id"], other["id"])))
            self.world.note(one, other)

    def forget(self) -> None:
        """Drop twins that are gone on both sides; a deletion may take others along."""
        admin = self.world.identities[0]
        there: set[str] = set()
        for collection in COLLECTIONS.values():
            body = self.theirs.ask(admin, "GET", f"{collection}?fields=id", None, {}).body
            there |= {item["id"] for item in next(iter(body.values()))}
        self.world.twins = [twin for twin in self.world.twins if twin.ids[0] in there]

    @initialize()
    def furnish(self) -> None:
        """Begin with a little of everything: a network with a subnet, an external one, a router, a port."""
        admin, member, _, other, service, _ = self.world.identities
        # Now, while it succeeds: Neutron keeps the default group that a request made which then failed.
        self.compare(Request(service, "GET", ("security-groups",)))
        inside = self.make(member, "network", {"name": "inside"})
        subnet = {"ip_version": 4, "cidr": "10.0.0.0/24"}
        pool = [{"start": "10.0.0.64", "end": "10.0.0.99"}]
        self.make(member, "subnet", subnet | {"network_id": inside, "allocation_pools": pool})
        outside = self.make(admin, "network", {"name": "outside", "router:external": True})
        public = {"network_id": outside, "cidr": "172.24.4.0/24", "enable_dhcp": False}
        pool = [{"start": "172.24.4.64", "end": "172.24.4.254"}]
        self.make(admin, "subnet", subnet | public | {"allocation_pools": pool})
        self.make(member, "router", {"external_gateway_info": {"network_id": outside}})
        self.make(member, "security_group", {"name": "web"})
        self.make(other, "network", {"name": "theirs"})
        self.make(member, "port", {"network_id": inside})

    def make(self, who: Identity, kind: str, attributes: dict[str, Any]) -> Twin:
        self.compare(Request(who, "POST", (COLLECTIONS[kind],), {kind: attributes}, makes=kind))
        return self.world.of(kind)[-1] if self.world.of(kind) else Twin(kind, (UNKNOWN, UNKNOWN))

    @rule(data=st.data())
    def networks(self, data: st.DataObject) -> None:
        self.compare(
            _one_of(
                data,
                ask.create_network,
                ask.create_network,
                ask.create_external,
                ask.update_network,
                ask.share,
            )(self.world, data.draw)
        )

    @rule(data=st.data())
    def subnets(self, data: st.DataObject) -> None:
        self.compare(
            _one_of(data, ask.create_subnet, ask.create_subnet, ask.update_subnet)(self.world, data.draw)
        )

    @rule(data=st.data())
    def ports(self, data: st.DataObject) -> None:
        self.compare(_one_of(data, ask.create_port, ask.create_port, ask.update_port)(self.world, data.draw))

    @rule(data=st.data())
    def routers(self, data: st.DataObject) -> None:
        self.compare(
            _one_of(
                data,
                ask.create_router,
                ask.update_router,
                ask.set_gateway,
                ask.router_action,
                ask.router_action,
            )(self.world, data.draw)
        )

    @rule(data=st.data())
    def floatingips(self, data: st.DataObject) -> None:
        self.compare(_one_of(data, ask.create_floatingip, ask.update_floatingip)(self.world, data.draw))

    @rule(data=st.data())
    def groups(self, data: st.DataObject) -> None:
        self.compare(
            _one_of(data, ask.create_group, ask.update_group, ask.create_rule, ask.create_rule)(
                self.world, data.draw
            )
        )

    @rule(data=st.data())
    def reading(self, data: st.DataObject) -> None:
        self.compare(_one_of(data, ask.show, ask.listing, ask.quotas)(self.world, data.draw))

    @rule(data=st.data())
    def querying(self, data: st.DataObject) -> None:
        self.compare(
            _one_of(data, querying.filtering, querying.addresses, querying.fields)(self.world, data.draw)
        )

    @rule(data=st.data())
    def paging(self, data: st.DataObject) -> None:
        """Read a list page by page to its end, on each side by its own links."""
        if self.parted:
            return
        first = querying.pages(self.world, data.draw)
        theirs, ours = (querying.walk(side, first, n) for n, side in enumerate((self.theirs, self.ours)))
        self.count(first)
        self.judge(first, theirs, ours)

    @rule(data=st.data())
    def story(self, data: st.DataObject) -> None:
        """Several requests that belong together."""
        told = data.draw(st.sampled_from(STORIES))(self.world, data.draw)
        made: Twin | None = None
        while not self.parted:
            try:
                request = told.send(made)
            except StopIteration:
                return
            known = len(self.world.twins)
            self.compare(request)
            made = self.world.twins[-1] if request.makes and len(self.world.twins) > known else None

    @rule(data=st.data())
    def others(self, data: st.DataObject) -> None:
        self.compare(
            _one_of(
                data,
                ask.remove,
                ask.remove,
                ask.tags,
                ask.malformed,
                ask.spoken,
                ask.operating,
                ask.odd,
            )(self.world, data.draw)
        )

    def teardown(self) -> None:
        """Leave nothing that the next example could meet: it has other projects, but the same wires."""
        admin = self.world.identities[0]
        for side in (self.theirs, self.ours):
            clear(side, admin)
        if RANDOM:
            print(f"{self.asked} requests so far, {len(self.different)} different", flush=True)


def _one_of(data: st.DataObject, *choices: ask.Sort) -> ask.Sort:
    return data.draw(st.sampled_from(choices))


def _every(answer: Answer) -> list[Any]:
    """Return the one object that an answer holds, if it is one: lists have their objects in another order."""
    if not isinstance(answer.body, dict) or len(answer.body) != 1:
        return []
    return [value for value in answer.body.values() if isinstance(value, dict)]


def _objects(kind: str, answer: Answer) -> list[dict[str, str]]:
    return answer.body[kind + "s"] if kind + "s" in answer.body else [answer.body[kind]]


def clear(side: Side, admin: Identity) -> None:
    """Delete everything, in the order that references allow."""

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


def _sorts(found: list[str]) -> list[str]:
    """Return one of each sort of difference, the shortest, with how often it was met."""
    sorts: dict[str, list[str]] = {}
    for text in found:
        request, line = text.split("\n")[:2]
        kind = re.sub(r"/.*|\?.*", "", request.split(" ")[2])
        sorts.setdefault(
            re.sub(r"[0-9a-f-]{6,}|\d+", "·", f"{request.split(' ')[1]} {kind} {line[:120]}"), []
        ).append(text)
    return [f"{len(texts)} times: {min(texts, key=len)}" for texts in sorts.values()]


def test_the_same_requests_get_the_same_answers(sides: tuple[Side, Side], tmp_path: Path) -> None:
    class Here(Comparison):
        theirs, ours = sides
        different: ClassVar[set[str]] = set()
        found: ClassVar[list[str]] = []

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=60 if RANDOM else 30,
            deadline=None,
            derandomize=not RANDOM,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{Here.asked} requests, {len(Here.different)} of them different, {len(Here.found)} differences")
    assert not Here.found, f"{len(Here.found)} differences:\n" + "\n\n".join(_sorts(Here.found)[:60])
    assert Here.asked >= WANTED
