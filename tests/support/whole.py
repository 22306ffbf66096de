"""What must fit together in a store, whatever was asked of it and wherever the server was killed."""

from __future__ import annotations

from netloom.model import FloatingIP, Network, Port, Router
from netloom.network import ipam, macs
from netloom.store import Reader


def check_world(r: Reader) -> None:
    """What must hold after every request."""
    for network in r.list(Network):
        mine = r.list(Port, network_id=network.id)
        held = {fixed.ip_address: port.id for port in mine for fixed in port.fixed_ips}
        assert r.claims(ipam.scope(network.id)) == held
        assert r.claims(macs.scope(network.id)) == {port.mac_address: port.id for port in mine}
        assert sum(len(port.fixed_ips) for port in mine) == len(held)
    for router in r.list(Router):
        gateway = router.external_gateway_info
        assert (gateway is None) == (router.gw_port_id is None)
        if gateway is not None:
            port = r.get(Port, router.gw_port_id or "")
            assert port is not None and port.fixed_ips == gateway.external_fixed_ips
            assert port.network_id == gateway.network_id
    for fip in r.list(FloatingIP):
        own = r.get(Port, fip.floating_port_id)
        assert own is not None and fip.floating_ip_address in {f.ip_address for f in own.fixed_ips}
        assert (fip.port_id is None) == (fip.fixed_ip_address is None) == (fip.router_id is None)
        if fip.port_id is not None:
            port = r.get(Port, fip.port_id)
            assert port is not None and fip.fixed_ip_address in {
                f.ip_address for f in port.fixed_ips
            }
            assert r.get(Router, fip.router_id or "") is not None
    for port in r.list(Port):
        assert port.port_security_enabled or not (
            port.security_groups or port.allowed_address_pairs
        )
