"""Which object names which, and what happens to the first when the second goes: the one table.

The store derives rows of `link` from an object's fields when it is written. A role is written
`<kind>.<field>`. The target must be there: the foreign key refuses anything else. Fields that may name
something outside of Netloom (`device_id` of a port, `image_id` of a server whose image is gone) are
therefore no links; `fields.INDEXED` finds objects by them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from netloom.model import QOS_RULES, Resource

Rule = Literal["refuse", "cascade", "clear"]


class Link(NamedTuple):
    """Objects of the kind before the dot in `role` name one of kind `target` by `field`.

    `field` may lead through structs and lists (`fixed_ips.subnet_id`). `when_target_goes`: `refuse` the
    deletion, `cascade` it to the source, or `clear` the fields `also_cleared` and `field` of the source.
    `only`: the link is there only where this field has this value. `owner_sees`: the project that owns the target
    sees the source, whoever owns that (the store derives a term `seen_by`; what owns the target never changes).
    """

    role: str
    field: str
    target: str
    when_target_goes: Rule
    also_cleared: tuple[str, ...] = ()
    only: tuple[str, str] | None = None
    owner_sees: bool = False

    @property
    def source(self) -> str:
        """Kind of the objects that name."""
        return self.role.partition(".")[0]

    @property
    def cleared(self) -> dict[str, None]:
        """What the source's fields become when its target goes, for the rule `clear`."""
        return dict.fromkeys((self.field, *self.also_cleared))


LINKS: tuple[Link, ...] = (
    Link("subnet.network_id", "network_id", "network", "cascade"),
    Link("port.network_id", "network_id", "network", "refuse", owner_sees=True),
    Link("port.subnet_id", "fixed_ips.subnet_id", "subnet", "refuse"),
    Link("port.security_group_id", "security_groups", "security_group", "refuse"),
    Link("router.gateway_network_id", "external_gateway_info.network_id", "network", "refuse"),
    Link("router.gw_port_id", "gw_port_id", "port", "refuse"),
    Link("floatingip.floating_network_id", "floating_network_id", "network", "refuse"),
    Link("floatingip.floating_port_id", "floating_port_id", "port", "refuse"),
    Link("floatingip.port_id", "port_id", "port", "clear", ("fixed_ip_address", "router_id")),
    Link("floatingip.router_id", "router_id", "router", "refuse"),
    Link("port_forwarding.floatingip_id", "floatingip_id", "floatingip", "refuse"),
    Link("port_forwarding.internal_port_id", "internal_port_id", "port", "refuse"),
    Link("port_forwarding.router_id", "router_id", "router", "refuse"),
    Link(
        "security_group_rule.security_group_id",
        "security_group_id",
        "security_group",
        "cascade",
        owner_sees=True,
    ),
    Link("security_group_rule.remote_group_id", "remote_group_id", "security_group", "cascade"),
    Link(
        "security_group_rule.remote_address_group_id",
        "remote_address_group_id",
        "address_group",
        "refuse",
    ),
    Link(
        "rbac_policy.object_id",
        "object_id",
        "network",
        "cascade",
        only=("object_type", "network"),
    ),
    Link(
        "rbac_policy.qos_policy_id",
        "object_id",
        "qos_policy",
        "cascade",
        only=("object_type", "qos_policy"),
    ),
    *(
        Link(f"rbac_policy.{kind}_id", "object_id", kind, "cascade", only=("object_type", kind))
        for kind in ("security_group", "address_group")
    ),
    Link("network.qos_policy_id", "qos_policy_id", "qos_policy", "refuse"),
    Link("port.qos_policy_id", "qos_policy_id", "qos_policy", "refuse"),
    Link("floatingip.qos_policy_id", "qos_policy_id", "qos_policy", "refuse"),
    Link(
        "router.gateway_qos_policy_id",
        "external_gateway_info.qos_policy_id",
        "qos_policy",
        "refuse",
    ),
    *(
        Link(f"{kind.KIND}.qos_policy_id", "qos_policy_id", "qos_policy", "cascade")
        for kind in QOS_RULES
    ),
    Link("trunk.port_id", "port_id", "port", "refuse"),
    Link("trunk.subport_id", "sub_ports.port_id", "port", "refuse"),
    Link("project.domain_id", "domain_id", "domain", "refuse"),
    Link("user.domain_id", "domain_id", "domain", "refuse"),
    Link("role_assignment.user_id", "user_id", "user", "cascade"),
    Link("role_assignment.role_id", "role_id", "role", "cascade"),
    Link(
        "role_assignment.project_id",
        "scope_id",
        "project",
        "cascade",
        only=("scope_kind", "project"),
    ),
    Link(
        "role_assignment.domain_id", "scope_id", "domain", "cascade", only=("scope_kind", "domain")
    ),
    Link("keypair.user_id", "user_id", "user", "cascade"),
)

ROLES: dict[str, Link] = {link.role: link for link in LINKS}

FROM: dict[str, tuple[Link, ...]] = {
    kind: tuple(link for link in LINKS if link.source == kind)
    for kind in {link.source for link in LINKS}
}
"""Kind of the source → its links."""


def is_seen_by_owners(kind: type[Resource]) -> bool:
    """Tell whether objects of the kind are seen by those who own what they are on."""
    return any(link.owner_sees for link in FROM.get(kind.KIND, ()))


def derive(obj: Resource) -> Iterator[tuple[str, str, str]]:
    """Yield (role, target kind, target) of all that an object names, each once."""
    for link in FROM.get(obj.KIND, ()):
        if link.only and getattr(obj, link.only[0]) != link.only[1]:
            continue
        for target in dict.fromkeys(_named(obj, link.field)):
            yield link.role, link.target, target


def _named(value: Any, path: str) -> Iterator[str]:
    field, _, rest = path.partition(".")
    found = getattr(value, field)
    for item in found if isinstance(found, tuple) else (found,):
        if rest and item is not None:
            yield from _named(item, rest)
        elif item:
            yield item
