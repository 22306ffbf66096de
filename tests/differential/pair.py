"""Netloom and a real Neutron side by side: the same request to both, the answers compared.

Objects are known by a name of the test's own; each side has its own id for it. What may differ by nature (ids,
times, random MACs and addresses, VNIs) is masked; what differs on purpose is in DIFFERENCES, with the reason.
"""

from __future__ import annotations

import json
import re
from typing import Any

import httpx

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MASKED = {
    "created_at": "by nature",
    "updated_at": "by nature",
    "mac_address": "random",
    "provider:segmentation_id": "from a pool",
    "revision_number": "Netloom counts every change once; Neutron does not count some and counts others twice",
}

ABSENT = {
    "qos_policy_id": "extension qos is not there",
    "qos_network_policy_id": "extension qos is not there",
    "dns_domain": "extension dns-integration is not there",
    "dns_name": "extension dns-integration is not there",
    "dns_assignment": "extension dns-integration is not there",
    "l2_adjacency": "extension l2_adjacency is not there",
    "ipv4_address_scope": "extension address-scope is not there",
    "ipv6_address_scope": "extension address-scope is not there",
    "service_types": "extension subnet-service-types is not there",
    "segment_id": "extension segment is not there",
    "propagate_uplink_status": "extension uplink-status-propagation is not there",
    "resource_request": "extension port-resource-request is not there",
    "ip_allocation": "extension ip_allocation is not there",
    "device_profile": "extension port-device-profile is not there",
    "numa_affinity_policy": "extension port-numa-affinity-policy is not there",
    "hints": "extension port-hints is not there",
    "trusted": "extension port-trusted-vif is not there",
    "trunk_details": "extension trunk-details is not there",
    "data_plane_status": "extension data-plane-status is not there",
    "hardware_offload_type": "extension port-hardware-offload-type is not there",
    "flavor_id": "extension l3-flavors is not there",
    "enable_default_route_ecmp": "extension enable-default-route-ecmp is not there",
    "enable_default_route_bfd": "extension enable-default-route-bfd is not there",
    "conntrack_helpers": "extension expose-l3-conntrack-helper is not there",
    "ha_vr_id": "internal to Neutron",
    "gw_port_id": "internal to Neutron",
    "enable_snat": "internal to Neutron",
    "enable_ndp_proxy": "extension l3-ext-ndp-proxy is not there",
    "port_forwardings": "extension expose-port-forwarding-in-fip is not there",
    "qos_policy": "extension qos-fip is not there",
    "standard_attr_id": "internal to Neutron",
    "availability_zones": "those of the hosts that run Netloom; the reference has no running agents",
    "remote_address_group_id": "extension security-groups-remote-address-group is not there",
    "belongs_to_default_sg": "Neutron answers null in some shapes of the same object",
    "is_default": "Neutron shows it only of external networks, and of new ones",
    "subnetpool": "quota of what is not there",
    "rbac_policy": "quota of what is not there",
    "trunk": "quota of what is not there",
}
"""Attribute → why only one side has it."""


class Side:
    """One of the two servers."""

    def __init__(self, client: httpx.Client, prefix: str) -> None:
        self.client, self.prefix = client, prefix
        self.ids: dict[str, str] = {}

    def send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> httpx.Response:
        content = None if body is None else self.fill(json.dumps(body))
        return self.client.request(
            method,
            self.prefix + self.fill(path),
            content=content,
            headers=headers | {"content-type": "application/json"},
        )

    def fill(self, text: str) -> str:
        """Put this side's ids in place of `<name>`."""
        return re.sub(r"<(\w+)>", lambda found: self.ids.get(found[1], found[1]), text)


class Pair:
    """Both servers; `differences` collects what should not differ."""

    def __init__(self, ours: Side, theirs: Side) -> None:
        self.ours, self.theirs = ours, theirs
        self.differences: list[str] = []
        self.requests = 0

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        name: str = "",
        roles: str = "admin,member,reader",
        project: str = "1" * 32,
        **headers: str,
    ) -> tuple[int, int]:
        """Send to both and compare; `name`: what a created object is called from now on."""
        self.requests += 1
        headers = {"X-Roles": roles, "X-Project-Id": project} | headers
        answers = [side.send(method, path, body, headers) for side in (self.ours, self.theirs)]
        docs = [_document(answer) for answer in answers]
        if name and all(answer.status_code < 300 for answer in answers):
            for side, doc in zip((self.ours, self.theirs), docs, strict=True):
                side.ids[name] = next(iter(doc.values()))["id"]
        shown = [
            (answer.status_code, normal(doc, side))
            for answer, doc, side in zip(answers, docs, (self.ours, self.theirs), strict=True)
        ]
        if shown[1][0] == 500:
            # Never copied; but we must have an answer of our own.
            assert shown[0][0] < 500, f"{method} {path} {body}: {shown[0]}"
        elif shown[0] != shown[1]:
            self.differences.append(
                f"{method} {path} {json.dumps(body)} as {roles} of {project[:1]}\n"
                f"  ours   {_short(shown[0], shown[1])}\n  theirs {_short(shown[1], shown[0])}"
            )
        return answers[0].status_code, answers[1].status_code


def _order(value: Any) -> str:
    """Return what lists are sorted by: ids of unnamed objects differ, so everything else first."""
    if isinstance(value, dict):
        value = {key: inner for key, inner in value.items() if key not in ("shared", "description")}
    return json.dumps(value, sort_keys=True).replace("<?>", "")


def _document(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return answer.text[:20]


def _short(one: tuple[int, Any], other: tuple[int, Any]) -> str:
    """Return what differs of an answer, as far as it is the same in shape."""

    def reduce(a: Any, b: Any) -> Any:
        if isinstance(a, dict) and isinstance(b, dict):
            return {k: reduce(v, b.get(k, "<absent>")) for k, v in a.items() if v != b.get(k, "<absent>")}
        if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            return [reduce(x, y) for x, y in zip(a, b, strict=True) if x != y]
        return a

    return f"{one[0]} {json.dumps(reduce(one[1], other[1]))[:700]}"


def normal(value: Any, side: Side) -> Any:
    """Return a body without what may differ."""
    known = {id: name for name, id in side.ids.items()}

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: "*" if key in MASKED and inner is not None else walk(inner)
                for key, inner in value.items()
                if key not in ABSENT and not (key == "shared" and "security_group_rules" in value)
            }
        if isinstance(value, list):
            return sorted((walk(inner) for inner in value), key=lambda inner: _order(inner))
        if isinstance(value, str):
            if value == "":
                return None
            text = UUID.sub(lambda found: f"<{known.get(found[0], '?')}>", value)
            return re.sub(r"http://[^/]*(/networking)?/v2.0", "URL", text)
        return value

    return walk(value)
