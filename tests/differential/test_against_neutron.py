"""Hundreds of requests by four identities: Netloom answers as Neutron does, save for what is listed."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from differential import asking as ask
from differential.compare import Pairs, differences
from differential.known_differences import explained
from differential.operations import COLLECTIONS, UNKNOWN, Request, Twin, World
from differential.sides import Answer, Identity, Side, netloom, neutron

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
    ]


class Comparison(RuleBasedStateMachine):
    """Each rule draws one request, asks both sides and compares."""

    theirs: Side
    ours: Side
    asked: ClassVar[int] = 0
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
            path, body = request.on(number)
            answers.append(side.ask(request.who, request.method, path, body, request.headers))
        type(self).asked += 1
        return answers[0], answers[1]

    def compare(self, request: Request) -> None:
        """Ask, compare, note. Once the worlds have parted the rest of the example would say nothing."""
        if self.parted:
            return
        theirs, ours = self.ask(request)
        self.log.append(f"{request} -> {theirs.status}")
        wrong = [
            line for line in differences(theirs, ours, self.pairs) if not explained(request, theirs, line)
        ]
        if ours.status >= 500:
            wrong.append(f"{ours.status} is never an answer")
        if wrong:
            self.found.append("\n".join([str(request), *wrong, "  after: " + " ; ".join(self.log[-5:-1])]))
        if (theirs.status < 300) != (ours.status < 300):
            self.parted = True
        elif request.makes and theirs.status == 201:
            self.remember(request.makes, theirs, ours)
        elif request.removes and theirs.status == 204:
            self.forget()

    def remember(self, kind: str, theirs: Answer, ours: Answer) -> None:
        for one, other in zip(_objects(kind, theirs), _objects(kind, ours), strict=True):
            self.world.twins.append(Twin(kind, (one["id"], other["id"])))

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
        admin, member, _, other = self.world.identities
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
            _one_of(data, ask.create_network, ask.create_network, ask.create_external, ask.update_network)(
                self.world, data.draw
            )
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
            _one_of(data, ask.create_router, ask.update_router, ask.router_action, ask.router_action)(
                self.world, data.draw
            )
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
        self.compare(_one_of(data, ask.show, ask.listing, ask.listing, ask.quotas)(self.world, data.draw))

    @rule(data=st.data())
    def others(self, data: st.DataObject) -> None:
        self.compare(
            _one_of(data, ask.remove, ask.remove, ask.tags, ask.malformed, ask.odd)(self.world, data.draw)
        )

    def teardown(self) -> None:
        """Leave nothing that the next example could meet: it has other projects, but the same wires."""
        admin = self.world.identities[0]
        for side in (self.theirs, self.ours):
            clear(side, admin)


def _one_of(data: st.DataObject, *choices: ask.Sort) -> ask.Sort:
    return data.draw(st.sampled_from(choices))


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


def test_the_same_requests_get_the_same_answers(sides: tuple[Side, Side], tmp_path: Path) -> None:
    class Here(Comparison):
        theirs, ours = sides
        found: ClassVar[list[str]] = []

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            derandomize=not RANDOM,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert not Here.found, f"{len(Here.found)} differences:\n" + "\n\n".join(Here.found[:30])
    assert Here.asked >= WANTED
