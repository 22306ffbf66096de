"""HA routers: the network between their replicas, their numbers there, and a port of it on each host that has a replica.

As in Neutron each project with HA routers has one HA network, which belongs to no project, so that members do not see it.
It comes with the project's first HA router and goes with the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from msgspec.structs import replace
from neutron_lib import constants
from neutron_lib import exceptions as lib

from netloom.model import AllocationPool, Context, Network, Port, Replica, Router, Subnet
from netloom.model.names import (
    INTERFACE_OWNERS,
    OWNER_DISTRIBUTED,
    OWNER_HA_INTERFACE,
    OWNER_HA_REPLICATED,
    OWNER_ROUTER_INTERFACE,
)
from netloom.network import ports, segments
from netloom.store import Reader, Writer

CIDR = constants.L3_HA_NET_CIDR
POOL = AllocationPool("169.254.192.1", "169.254.255.254")
"""What HA networks' ports have their addresses from: the upper quarter of the link-local addresses."""

VRIDS = ((1, 254),)
"""Numbers that VRRP has for the routers of one network."""

HIGHEST_PRIORITY = 100

_SCOPE = "ha-network"
"""Claims of the HA networks: project → network."""


def owner_of_interfaces(router: Router) -> str:
    """Return the `device_owner` of a router's interfaces."""
    if router.distributed:
        return OWNER_DISTRIBUTED
    return OWNER_HA_REPLICATED if router.ha else OWNER_ROUTER_INTERFACE


def network_of(r: Reader, router: Router) -> Network | None:
    """Return the HA network of a router's project, if there is one."""
    return r.get(Network, r.claim_owner(_SCOPE, router.project_id) or "")


def join(w: Writer, ctx: Context, router: Router) -> Router:
    """Give an HA router its number in the HA network of its project, which is made if need be.

    Where all numbers are taken the router gets none, and no host; its status says so.
    """
    network = network_of(w, router) or _make_network(w, ctx, router.project_id)
    try:
        vrid = segments.first_free(w, f"vrid:{network.id}", VRIDS, router.id)
    except lib.NoNetworkAvailable:
        vrid = 0
    return w.update(replace(router, vrid=vrid))


def leave(w: Writer, router: Router) -> Router:
    """Take an HA router's ports and number away; the HA network goes with the last of its routers."""
    for port in ports_of(w, router):
        ports.remove(w, port)
    network = network_of(w, router)
    if network is not None:
        if router.vrid:
            w.release(f"vrid:{network.id}", str(router.vrid))
        if not w.claims(f"vrid:{network.id}"):
            for port in w.list(Port, network_id=network.id):
                ports.remove(w, port)
            w.delete(Network, network.id)
    return w.update(replace(router, vrid=0, replicas=()))


def change(w: Writer, ctx: Context, router: Router, ha: bool) -> Router:
    """Make a router an HA router, or an ordinary one again; it has no hosts then, until it is placed anew.

    Raises BadRequest where it is up.
    """
    if router.admin_state_up:
        raise lib.BadRequest(
            resource="router",
            msg=(
                "Cannot change HA attribute of active routers. Please set router admin_state_up to False "
                "prior to upgrade"
            ),
        )
    if ha:
        router = join(w, ctx, w.update(replace(router, ha=True, replicas=())))
    else:
        router = leave(w, w.update(replace(router, ha=False)))
    owner = owner_of_interfaces(router)
    for port in w.list(Port, device_id=router.id):
        if port.device_owner in INTERFACE_OWNERS:
            w.update(replace(port, device_owner=owner))
    return router


def ports_of(r: Reader, router: Router) -> list[Port]:
    """Return the ports by which a router's replicas hear one another."""
    found = r.list(Port, device_id=router.id)
    return [port for port in found if port.device_owner == OWNER_HA_INTERFACE]


def forget(w: Writer, router: Router, host: str) -> None:
    """Remove the port by which a replica on this host was heard."""
    for port in ports_of(w, router):
        if port.host == host:
            ports.remove(w, port)


def ranked(router: Router, kept: Sequence[Replica], fresh: Sequence[str]) -> tuple[Replica, ...]:
    """Return replicas on further hosts beside those that stay as they are.

    Of hosts that are chosen together, another one is first from router to router: so each is active for some.
    """
    turn = router.vrid % len(fresh) if fresh else 0
    lowest = min((each.priority for each in kept), default=HIGHEST_PRIORITY + 1)
    ordered = (*fresh[turn:], *fresh[:turn])
    added = [Replica(host, max(1, lowest - 1 - n)) for n, host in enumerate(ordered)]
    return (*kept, *added)


def follow(w: Writer, ctx: Context, router: Router, network: Network) -> None:
    """Give each replica its port of the HA network, and take away those of hosts that have none any more."""
    hosts = {replica.host for replica in router.replicas}
    for port in ports_of(w, router):
        if port.host in hosts:
            hosts.discard(port.host)
        else:
            ports.remove(w, port)
    for host in sorted(hosts):
        ports.create_service(
            w,
            ctx,
            network,
            project_id="",
            device_id=router.id,
            device_owner=OWNER_HA_INTERFACE,
            fixed_ips=None,
            name=constants.HA_PORT_NAME % router.project_id,
            host=host,
        )


def _make_network(w: Writer, ctx: Context, project_id: str) -> Network:
    id = str(uuid4())
    settings = ctx.settings
    attrs: dict[str, str] = {}
    if settings.l3_ha_network_type:
        attrs[segments.TYPE] = settings.l3_ha_network_type
    if settings.l3_ha_network_physical_name:
        attrs[segments.PHYSICAL] = settings.l3_ha_network_physical_name
    segment = segments.choose(w, settings, id, attrs)
    network = w.insert(
        Network(
            id=id,
            project_id="",
            name=constants.HA_NETWORK_NAME % project_id,
            revision_number=1,
            key=segments.take_key(w, id),
            mtu=segments.largest_mtu(settings, segment.type),
            network_type=segment.type,
            physical_network=segment.physical_network,
            segmentation_id=segment.id,
        )
    )
    w.claim(_SCOPE, project_id, id)
    w.insert(
        Subnet(
            id=str(uuid4()),
            project_id="",
            name=constants.HA_SUBNET_NAME % project_id,
            revision_number=1,
            network_id=id,
            cidr=CIDR,
            enable_dhcp=False,
            allocation_pools=(POOL,),
        )
    )
    return network
