"""What requests cost with many ports, the store alone: two clouds beside each other, asked the same by turns.

Everything between HTTP and the disk is measured: rules, policy, visibility, SQLite. A cost that depends on what is
returned alone is the same in both.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from urllib.parse import parse_qsl
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from netloom.api.networking import collections, query
from netloom.api.networking.nouns import NOUNS
from netloom.api.networking.policy import policy_of
from netloom.model import (
    AllocationPool,
    Caller,
    Context,
    FixedIP,
    Network,
    NetworkSettings,
    Port,
    Quota,
    Resource,
    SecurityGroup,
    Subnet,
)
from netloom.model.context import NETWORK_QUOTAS
from netloom.network import ipam, macs, ports
from netloom.store import Store
from netloom.store.inserting import insert_all

BEGIN, END = "<!-- netloom bench store: begin -->", "<!-- netloom bench store: end -->"

FEW, MANY = 1_000, 100_000
"""Ports of the two clouds."""

ON_A_NETWORK = 100
PROJECTS = 10
RARE = 10
"""How many ports have the tag and the status that the bench looks for."""

_AT = "2026-01-01T00:00:00Z"
_BATCH = 10_000


class Cloud(Struct):
    """One database under measurement. `known`: ports in order of their ids, for what is asked for by value."""

    store: Store
    known: list[Port]
    networks: list[str]


class Line(Struct, frozen=True):
    """Milliseconds of one sort of request in the small and in the large cloud."""

    name: str
    few: float
    many: float


def measure(few: int, many: int, samples: int, say: Callable[[str], None]) -> list[Line]:
    """Return what each request costs in a cloud of `few` and in one of `many` ports: CPU, medians in milliseconds."""
    with cloud(few) as small:
        begun = time.perf_counter()
        with cloud(many) as large:
            say(f"  {many} ports loaded in {time.perf_counter() - begun:.0f} s")
            lines: list[Line] = []
            for name, who, work in _works():
                seconds = _by_turns((small, large), who, work, samples)
                lines.append(Line(name, *(statistics.median(each) * 1000 for each in seconds)))
                say(f"  {lines[-1].name}: {lines[-1].few:.2f} → {lines[-1].many:.2f} ms")
            return lines


Work = Callable[[Cloud, Context, int], None]


def _by_turns(clouds: Sequence[Cloud], ctx: Context, work: Work, samples: int) -> list[list[float]]:
    """Do the work in each cloud by turns: what else the machine does then falls on both alike."""
    seconds: list[list[float]] = [[] for _ in clouds]
    for number in range(-3, samples):  # the first few make statements and fill caches
        for cloud, taken in zip(clouds, seconds, strict=True):
            begun = time.thread_time()
            work(cloud, ctx, number)
            if number >= 0:
                taken.append(time.thread_time() - begun)
    return seconds


def caller(*roles: str) -> Context:
    """A member of the first project, or who has these roles beside."""
    who = Caller(user_id="u", project_id=project(0), roles=frozenset({"member", "reader", *roles}))
    return Context(caller=who, settings=NetworkSettings())


def project(number: int) -> str:
    """Id of a project; they take turns in owning networks."""
    return f"{number % PROJECTS:032x}"


QUERIES: tuple[tuple[str, Callable[[Port], str]], ...] = (
    ("by device", lambda port: f"device_id={port.device_id}"),
    ("by name", lambda port: f"name={port.name}"),
    ("by address", lambda port: f"fixed_ips=ip_address%3D{port.fixed_ips[0].ip_address}"),
    ("by MAC", lambda port: f"mac_address={port.mac_address}"),
    ("by network", lambda port: f"network_id={port.network_id}"),
    ("limit=20", lambda port: "limit=20"),
    ("a page in the middle", lambda port: f"limit=20&marker={port.id}"),
    ("the page before", lambda port: f"limit=20&page_reverse=True&marker={port.id}"),
    ("sorted page", lambda port: "limit=20&sort_key=name&sort_dir=asc"),
    (
        "sorted page in the middle",
        lambda port: f"limit=20&sort_key=name&sort_dir=asc&marker={port.id}",
    ),
    ("sorted page, descending", lambda port: "limit=20&sort_key=name&sort_dir=desc"),
    ("sorted by MAC", lambda port: "limit=20&sort_key=mac_address&sort_dir=desc"),
    ("by status", lambda port: "status=ERROR"),
    ("by frequent status, limit=20", lambda port: "status=DOWN&limit=20"),
    ("by tag", lambda port: "tags=rare"),
    ("by frequent tag, limit=20", lambda port: "tags=frequent&limit=20"),
)


def _works() -> Generator[tuple[str, Context, Work]]:
    member = caller()
    for who, ctx in (("administrator", caller("admin")), ("member", member)):
        yield f"show, {who}", ctx, show
        for name, text in QUERIES:
            yield f"list {name}, {who}", ctx, asking(text)
    yield "create, member", member, create


def show(cloud: Cloud, ctx: Context, number: int) -> None:
    """Show one port, as the API does."""
    noun = NOUNS["ports"]
    with cloud.store.reader() as r:
        obj = collections.found(r, ctx, noun, _own(cloud, number).id)
        collections.present(policy_of(""), r, ctx, noun, [obj], only_allowed=True)


def asking(text: Callable[[Port], str]) -> Work:
    """Make the work of a list."""

    def work(cloud: Cloud, ctx: Context, number: int) -> None:
        asked = query.parse("ports", parse_qsl(text(_own(cloud, number))))
        with cloud.store.reader() as r:
            collections.listed(policy_of(""), r, ctx, NOUNS["ports"], asked)

    return work


def create(cloud: Cloud, ctx: Context, number: int) -> None:
    """Make a port, durably."""
    attrs = {"network_id": cloud.networks[0], "project_id": project(0), "name": "new"}
    with cloud.store.writer() as w:
        ports.create(w, ctx, attrs)


def _own(cloud: Cloud, number: int) -> Port:
    """Return a port that the first project owns, some other one each time."""
    return cloud.known[(number * 37) % len(cloud.known)]


@contextmanager
def cloud(count: int) -> Generator[Cloud]:
    """Make a database with so many ports; it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="netloom-bench-") as folder:
        store = Store.open(f"sqlite:///{folder}/netloom.db")
        store.upgrade()
        try:
            yield _filled(store, count)
        finally:
            store.close()


def _filled(store: Store, count: int) -> Cloud:
    chance = random.Random(count)
    networks, first = _networks(count)
    with store.transaction() as session:
        insert_all(session, first, (), 1)
    seq = len(first) + 1
    known: list[Port] = []
    rare = set(chance.sample(range(count), RARE))
    for start in range(0, count, _BATCH):
        batch: list[Port] = []
        claims: list[tuple[str, str, str]] = []
        for number in range(start, min(start + _BATCH, count)):
            port = _port(chance, networks[number // ON_A_NETWORK], number, number in rare)
            batch.append(port)
            scopes = (
                (ipam.scope(port.network_id), port.fixed_ips[0].ip_address),
                (
                    macs.scope(port.network_id),
                    port.mac_address,
                ),
            )
            claims += [(scope, key, port.id) for scope, key in scopes]
        with store.transaction() as session:
            insert_all(session, batch, claims, seq)
        seq += len(batch)
        known += [port for port in batch if port.project_id == project(0)]
    with store.writer() as w:
        for port in w.list(Port, tag="rare"):
            w.set_api_status(Port, port.id, "ERROR")
    chance.shuffle(known)
    return Cloud(store, known, [network.id for network in networks])


def _networks(count: int) -> tuple[list[Network], list[Resource]]:
    """Return the networks of a cloud, and all objects but ports."""
    groups = [
        SecurityGroup(
            id=_id(3, number), project_id=project(number), name="default", is_default=True
        )
        for number in range(PROJECTS)
    ]
    networks = [
        Network(id=_id(1, number), project_id=project(number), key=number + 1, created_at=_AT)
        for number in range(-(-count // ON_A_NETWORK))
    ]
    subnets = [_subnet(network, number) for number, network in enumerate(networks)]
    limits = dict.fromkeys(NETWORK_QUOTAS, 2 * count)
    quota = Quota(id=project(0), project_id=project(0), limits=limits)
    return networks, [*groups, *networks, *subnets, quota]


def _subnet(network: Network, number: int) -> Subnet:
    """Return the only subnet of a network: of its own /20 each, so that an address is on one port alone."""
    base = f"{10 + number // 4096}.{number // 16 % 256}"
    low = number % 16 * 16
    pools = (AllocationPool(f"{base}.{low}.1", f"{base}.{low + 15}.254"),)
    cidr = f"{base}.{low}.0/20"
    subnet = Subnet(id=_id(2, number), network_id=network.id, cidr=cidr, created_at=_AT)
    return replace(subnet, project_id=network.project_id, allocation_pools=pools)


def _port(chance: random.Random, network: Network, number: int, rare: bool) -> Port:
    """Return a port; every tenth belongs to another project than its network."""
    at = number // ON_A_NETWORK
    owner = project(at + 1) if number % 10 == 9 else network.project_id
    address = f"{10 + at // 4096}.{at // 16 % 256}.{at % 16 * 16 + 1}.{number % ON_A_NETWORK}"
    return Port(
        id=str(_uuid(chance)),
        project_id=owner,
        name=f"port-{chance.getrandbits(40):x}",
        revision_number=1,
        created_at=_AT,
        updated_at=_AT,
        tags=("frequent", "rare") if rare else ("frequent",),
        network_id=network.id,
        mac_address=":".join(("fa", "16", *(f"{byte:02x}" for byte in number.to_bytes(4, "big")))),
        fixed_ips=(FixedIP(_id(2, at), address),),
        device_id=str(_uuid(chance)),
        device_owner="compute:nova",
        security_groups=(_id(3, at % PROJECTS),),
    )


def _id(sort: int, number: int) -> str:
    return f"{sort:08x}-0000-4000-8000-{number:012x}"


def _uuid(chance: random.Random) -> UUID:
    return UUID(int=chance.getrandbits(128), version=4)


def table(lines: Sequence[Line], few: int, many: int) -> str:
    """Write the figures as a Markdown table."""
    rows = [
        f"| {line.name} | {line.few:.2f} ms | {line.many:.2f} ms | {line.many / line.few:.1f}× |"
        for line in lines
    ]
    head = f"| request, in the store alone (CPU) | {few:,} ports | {many:,} ports | ratio |"
    return "\n".join([head, "|---|---|---|---|", *rows])
