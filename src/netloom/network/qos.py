"""Which QoS policy is put on what: found, checked and exchanged by the rules of ports, networks, floating IPs and gateways."""

from __future__ import annotations

from collections.abc import Iterable

from netloom.contract import qos_errors
from netloom.model import Context, Network, Port, QosPolicy
from netloom.network import access, backends
from netloom.store import Reader

COMPUTE = "compute:"


def find(r: Reader, ctx: Context, id: str) -> QosPolicy:
    """Return a policy that the caller sees, or raise QosPolicyNotFound."""
    found = access.find(r, ctx, QosPolicy, id)
    if found is None:
        raise qos_errors.policy_not_found(id)
    return found


def exchange(r: Reader, ctx: Context, old: str | None, new: str | None) -> str | None:
    """Return the policy's id that an object has from now on, in the place of another.

    Who does not see the policy that it has may not take it off: PolicyRemoveAuthorizationError.
    """
    if old == new:
        return old
    if old and access.find(r, ctx, QosPolicy, old) is None:
        raise qos_errors.NotYours(policy_id=old)
    return find(r, ctx, new).id if new else None


def check_port(policy: QosPolicy | None, port: Port) -> None:
    """Raise QosRuleNotSupported where the port's host, or its sort of card, cannot do what a rule says."""
    for rule in policy.rules if policy is not None else ():
        if not backends.can_do(rule.type, port.vif_type, port.vnic_type):
            raise qos_errors.NotSupportedByPort(rule_type=rule.type, port_id=port.id)


def default_of(r: Reader, project_id: str) -> str | None:
    """Return the policy that new networks of a project get."""
    found = r.list(QosPolicy, project_id=project_id, is_default=True) if project_id else []
    return found[0].id if found else None


def ports_with(r: Reader, policy_id: str) -> Iterable[Port]:
    """Return the ports that a policy is for: those that have it, and those of its networks that have none of their own."""
    yield from r.list(Port, qos_policy_id=policy_id)
    networks = [network.id for network in r.list(Network, qos_policy_id=policy_id)]
    for port in r.list(Port, network_id=networks) if networks else ():
        if port.qos_policy_id is None:
            yield port
