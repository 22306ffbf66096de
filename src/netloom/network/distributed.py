"""Distributed routers: their interfaces are on every host of an instance, their SNAT has ports of its own.

As in Neutron a router with a gateway has one port of SNAT beside each interface, which belongs to no project.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace
from neutron_lib import exceptions as lib

from netloom.model import Context, FloatingIP, Network, Port, Router, Subnet
from netloom.model.names import OWNER_DISTRIBUTED, OWNER_SNAT
from netloom.model.placement import is_bound_itself
from netloom.network import addresses, backends, binding, entries, ipam, ports, router_checks
from netloom.network.ports import given
from netloom.store import Reader, Writer


def asked(attrs: Mapping[str, Any], otherwise: bool) -> bool:
    """Return whether a request wants a distributed router; None in it is no wish."""
    wish = attrs["distributed"] if given(attrs, "distributed") else None
    return otherwise if wish is None else bool(wish)


VIF_TYPE = "distributed"
"""Neutron's VIF type of interfaces that are bound to no host, for they are on many."""


def change(
    w: Writer, ctx: Context, router: Router, wanted: bool, owner: str, was_up: bool
) -> Router:
    """Make a router a distributed one, or a central one whose interfaces have this owner; it is to be placed anew.

    Raises BadRequest where it is up or was before this request, and where it cannot be on the hosts of its instances.
    """
    if router.admin_state_up or was_up:
        raise lib.BadRequest(
            resource="router",
            msg=(
                "Cannot change the 'distributed' attribute of active routers. Please set router "
                "admin_state_up to False prior to upgrade"
            ),
        )
    router = w.update(replace(router, distributed=wanted, replicas=()))
    for port in router_checks.interfaces_of(w, router):
        if wanted:
            check_hosts(w, port.network_id)
        w.update(replace(port, device_owner=OWNER_DISTRIBUTED if wanted else owner))
        w.set_api_status(Port, port.id, Port.FIRST_STATUS)
    follow(w, ctx, router)
    return router


def follow(w: Writer, ctx: Context, router: Router) -> None:
    """Give the router's SNAT a port beside each interface while it is distributed and has a gateway, and none else."""
    interfaces = router_checks.interfaces_of(w, router)
    vif_type = VIF_TYPE if router.distributed else binding.UNBOUND
    for port in interfaces:
        if port.vif_type != vif_type:
            w.update(replace(port, vif_type=vif_type))
    wanted: dict[str, Port] = {}
    if router.distributed and router.external_gateway_info is not None:
        wanted = {fixed.subnet_id: port for port in interfaces for fixed in port.fixed_ips}
    snat: list[Port] = []
    for port in w.list(Port, device_id=router.id):
        if port.device_owner != OWNER_SNAT:
            continue
        here = [fixed for fixed in port.fixed_ips if fixed.subnet_id in wanted]
        for fixed in here:
            del wanted[fixed.subnet_id]
        if not here:
            ports.remove(w, port)
        else:
            gone = [fixed for fixed in port.fixed_ips if fixed not in here]
            ipam.release(w, port.network_id, gone)
            snat.append(addresses.put(w, port, here) if gone else port)
    for subnet_id, beside in wanted.items():
        subnet, network = w.get(Subnet, subnet_id), w.get(Network, beside.network_id)
        if subnet is None or network is None:
            continue
        # As the interface does, one port has all prefixes of its network.
        together = next((p for p in snat if router_checks.announces(p, network.id)), None)
        if subnet.ip_version == 6 and together is not None:
            snat.remove(together)
            fixed = ipam.take_any(w, network.id, subnet, together.id)
            if fixed is None:
                raise lib.IpAddressGenerationFailure(net_id=network.id)
            snat.append(addresses.put(w, together, [*together.fixed_ips, fixed]))
            continue
        snat.append(
            ports.create_service(
                w,
                ctx,
                network,
                project_id="",
                device_id=router.id,
                device_owner=OWNER_SNAT,
                fixed_ips=[{"subnet_id": subnet_id}],
            )
        )
    entries.follow(w, w.list(FloatingIP, router_id=router.id))


def check_hosts(r: Reader, network_id: str) -> None:
    """Raise BadRequest where a port of a network is on a host that has no distributed routers."""
    bound = {p.host for p in r.list(Port, network_id=network_id) if p.host and is_bound_itself(p)}
    for host in unfit(r, bound):
        raise lib.BadRequest(
            resource="router",
            msg=(
                f"Network {network_id} has ports on host {host}, which cannot have distributed routers"
            ),
        )


def unfit(r: Reader, hosts: Iterable[str]) -> list[str]:
    """Return those of some hosts that cannot have distributed routers, by name."""
    named = set(hosts)
    rows = r.hosts(named) if named else {}
    return sorted(
        name
        for name, row in rows.items()
        if row.facts is not None and not backends.of(row.facts).distributed
    )
