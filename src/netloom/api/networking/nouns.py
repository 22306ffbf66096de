"""The table of what the Networking API serves: one row a collection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import Struct
from neutron_lib import exceptions as lib
from neutron_lib.exceptions import l3
from neutron_lib.exceptions.address_group import AddressGroupNotFound

from netloom.api.networking import filters
from netloom.api.networking.query import Computed
from netloom.contract.attributes import SINGULARS
from netloom.contract.default_rules import DefaultSecurityGroupRuleNotFound
from netloom.contract.port_forwarding import PortForwardingNotFound
from netloom.contract.qos import ALIASED, RULE_OF
from netloom.contract.qos_errors import policy_not_found, rule_not_found
from netloom.contract.rbac import RbacPolicyNotFound
from netloom.contract.security_group_errors import SecurityGroupNotFound, SecurityGroupRuleNotFound
from netloom.contract.trunk import TrunkNotFound
from netloom.model import (
    AddressGroup,
    Context,
    DefaultSecurityGroupRule,
    FloatingIP,
    Network,
    Port,
    PortForwarding,
    QosPolicy,
    RbacPolicy,
    Resource,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    Trunk,
)
from netloom.network import (
    address_groups,
    default_rules,
    floatingips,
    networks,
    port_forwardings,
    ports,
    qos_policies,
    qos_rules,
    rbac_policies,
    routers,
    security_group_rules,
    security_groups,
    subnets,
    trunks,
)
from netloom.store import Reader, Writer

Reading = Callable[[Reader, Context, Any], dict[str, Any]]
Action = Callable[[Writer, Context, Any, dict[str, Any]], Any]


class Noun(Struct, frozen=True, kw_only=True):
    """One collection of objects.

    `rules`: the module with `create`, `update`, `delete` and `show`. `as_stored`: objects are shown as their
    documents are, with `tenant_id` and the status beside (`rows`).

    `parent`: the field that names the object, of `parent_kind`, that policy may ask of: `parent_fields` is what it is
    told (`<kind>:project_id`, and `network:shared` for this caller). `hides_parent`: a create on a parent that the
    caller may not see is answered as if there were none.

    `under`: the collection that stands before this one in the path, `/{under}/{id of the parent}/{collection}/{id}`; the parent is
    then named by the path, and who may not see the parent sees nothing of it. `within`: the parent's id, in one request.

    `prefix`: what stands before all of that in the path. `by_id_only`: objects are neither listed nor made by this path.
    `not_found_within`: as `not_found`, of the parent's id and the object's. `from_parent`: attributes that are shown of an object and
    are its parent's → the field there.

    `check_bulk`: what must hold between the objects of one bulk request. `computed`: filters that are on no
    field of the struct's own. `actions`: member actions, name → what carries it out, with a document for an answer,
    or the changed object; `readings`: those that only read (GET). `lacks`, `prepare`: a list first asks whether the project lacks what it should find there, and
    makes it.
    """

    collection: str
    singular: str
    kind: type[Resource]
    rules: Any
    not_found: Callable[[str], Exception]
    bulk: bool = True
    taggable: bool = True
    as_stored: bool = False
    parent: str | None = None
    parent_kind: type[Resource] | None = None
    parent_fields: tuple[str, ...] = ()
    parent_not_found: Callable[[str], Exception] = lambda id: lib.NetworkNotFound(net_id=id)
    hides_parent: bool = False
    under: str = ""
    within: str = ""
    prefix: str = ""
    by_id_only: bool = False
    not_found_within: Callable[[str, str], Exception] | None = None
    from_parent: dict[str, str] = {}
    check_bulk: Callable[[Sequence[dict[str, Any]]], None] | None = None
    computed: dict[str, Computed] = {}
    actions: dict[str, Action] = {}
    readings: dict[str, Reading] = {}
    lacks: Callable[[Reader, str], bool] | None = None
    prepare: Callable[[Writer, Context, str], object] | None = None

    def action(self, verb: str) -> str:
        """Return what policy calls an action: `create_floatingip_port_forwarding` names the parent of the path too."""
        parent = f"{SINGULARS[self.under]}_" if self.under else ""
        return f"{verb}_{parent}{self.singular}"

    def missing(self, id: str) -> Exception:
        """Return the error for an object that is not there, or not here."""
        if self.not_found_within is not None:
            return self.not_found_within(self.within, id)
        return self.not_found(id)

    def create(self, w: Writer, ctx: Context, attrs: dict[str, Any]) -> Any:
        """Make one object."""
        return self.rules.create(w, ctx, attrs)

    def update(self, w: Writer, ctx: Context, old: Any, attrs: dict[str, Any]) -> Any:
        """Change one object."""
        return self.rules.update(w, ctx, old, attrs)

    def delete(self, w: Writer, ctx: Context, old: Any) -> None:
        """Delete one object."""
        self.rules.delete(w, ctx, old)

    def show(self, r: Reader, ctx: Context, objs: Sequence[Any]) -> list[dict[str, Any]]:
        """Return objects as the API shows them."""
        return self.rules.show(r, ctx, objs)


def _routes_of(change: Action) -> Action:
    """Return the action for a body that wraps its routes in the router."""

    def act(w: Writer, ctx: Context, router: Any, document: dict[str, Any]) -> Any:
        return change(w, ctx, router, document.get("router", {}))

    return act


def _lacks_default_group(r: Reader, project_id: str) -> bool:
    return security_groups.default_of(r, project_id) is None


def _qos() -> Iterator[Noun]:
    """Policies, their rules behind them, and the same rules without a policy in the path."""
    yield Noun(
        collection="policies",
        singular="policy",
        kind=QosPolicy,
        rules=qos_policies,
        not_found=policy_not_found,
        bulk=False,
        prefix="qos",
        computed={"shared": filters.shared("id")},
    )
    for collections, under in ((RULE_OF, "policies"), (ALIASED, "")):
        for collection, kind in collections.items():
            yield Noun(
                collection=collection,
                singular=SINGULARS[collection],
                kind=kind,
                rules=qos_rules.Rules(kind),
                not_found=lambda id: rule_not_found("", id),
                not_found_within=rule_not_found if under else None,
                taggable=False,
                prefix="qos",
                under=under,
                by_id_only=not under,
                parent="qos_policy_id",
                parent_kind=QosPolicy,
                parent_fields=("ext_parent:project_id",),
                parent_not_found=policy_not_found,
            )


NOUNS: dict[str, Noun] = {
    noun.collection: noun
    for noun in (
        Noun(
            collection="networks",
            singular="network",
            kind=Network,
            rules=networks,
            not_found=lambda id: lib.NetworkNotFound(net_id=id),
            computed={"shared": filters.shared("id")},
        ),
        Noun(
            collection="subnets",
            singular="subnet",
            kind=Subnet,
            rules=subnets,
            not_found=lambda id: lib.SubnetNotFound(subnet_id=id),
            parent="network_id",
            parent_kind=Network,
            parent_fields=("network:project_id", "network:shared"),
            computed={
                "shared": filters.shared("network_id"),
                "router:external": filters.on_external_network,
            },
        ),
        Noun(
            collection="ports",
            singular="port",
            kind=Port,
            rules=ports,
            not_found=lambda id: lib.PortNotFound(port_id=id),
            parent="network_id",
            parent_kind=Network,
            parent_fields=("network:project_id", "network:shared"),
            hides_parent=True,
            as_stored=True,
            from_parent={"qos_network_policy_id": "qos_policy_id"},
            computed={
                "fixed_ips": filters.fixed_ips,
                "security_groups": filters.named("security_group_id"),
            },
        ),
        Noun(
            collection="routers",
            singular="router",
            kind=Router,
            rules=routers,
            not_found=lambda id: l3.RouterNotFound(router_id=id),
            bulk=False,
            actions={
                "add_router_interface": routers.add_interface,
                "remove_router_interface": routers.remove_interface,
                "add_extraroutes": _routes_of(routers.add_extraroutes),
                "remove_extraroutes": _routes_of(routers.remove_extraroutes),
            },
        ),
        Noun(
            collection="floatingips",
            singular="floatingip",
            kind=FloatingIP,
            rules=floatingips,
            not_found=lambda id: l3.FloatingIPNotFound(floatingip_id=id),
            bulk=False,
        ),
        Noun(
            collection="port_forwardings",
            singular="port_forwarding",
            kind=PortForwarding,
            rules=port_forwardings,
            not_found=lambda id: PortForwardingNotFound(id=id),
            taggable=False,
            under="floatingips",
            parent="floatingip_id",
            parent_kind=FloatingIP,
            parent_fields=("ext_parent:project_id",),
            parent_not_found=lambda id: l3.FloatingIPNotFound(floatingip_id=id),
        ),
        Noun(
            collection="security_groups",
            singular="security_group",
            kind=SecurityGroup,
            rules=security_groups,
            not_found=lambda id: SecurityGroupNotFound(id=id),
            computed={"shared": filters.shared("id")},
            lacks=_lacks_default_group,
            prepare=security_groups.ensure_default,
        ),
        Noun(
            collection="address_groups",
            singular="address_group",
            kind=AddressGroup,
            rules=address_groups,
            not_found=lambda id: AddressGroupNotFound(address_group_id=id),
            taggable=False,
            actions={
                "add_addresses": address_groups.add_addresses,
                "remove_addresses": address_groups.remove_addresses,
            },
        ),
        Noun(
            collection="security_group_rules",
            singular="security_group_rule",
            kind=SecurityGroupRule,
            rules=security_group_rules,
            not_found=lambda id: SecurityGroupRuleNotFound(id=id),
            taggable=False,
            parent="security_group_id",
            parent_kind=SecurityGroup,
            parent_fields=("security_group:project_id",),
            parent_not_found=lambda id: SecurityGroupNotFound(id=id),
            check_bulk=security_group_rules.check_bulk,
            lacks=_lacks_default_group,
            prepare=security_groups.ensure_default,
        ),
        Noun(
            collection="default_security_group_rules",
            singular="default_security_group_rule",
            kind=DefaultSecurityGroupRule,
            rules=default_rules,
            not_found=lambda id: DefaultSecurityGroupRuleNotFound(id=id),
            bulk=False,
            taggable=False,
        ),
        Noun(
            collection="trunks",
            singular="trunk",
            kind=Trunk,
            rules=trunks,
            not_found=lambda id: TrunkNotFound(trunk_id=id),
            bulk=False,
            actions={
                "add_subports": trunks.add_subports,
                "remove_subports": trunks.remove_subports,
            },
            readings={"get_subports": trunks.get_subports},
        ),
        Noun(
            collection="rbac_policies",
            singular="rbac_policy",
            kind=RbacPolicy,
            rules=rbac_policies,
            not_found=lambda id: RbacPolicyNotFound(id=id),
            bulk=False,
            taggable=False,
        ),
        *_qos(),
    )
}
"""Collection (with underscores) → its row."""

CHILDREN: dict[tuple[str, str], Noun] = {
    (noun.under, noun.collection): noun for noun in NOUNS.values() if noun.under
}
"""Collection before and collection behind in a path → the row of the second."""
