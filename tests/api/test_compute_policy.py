"""The compute API is no way round the policy of the networking service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.support.compute_cloud import URL, boot, booted, network, world


def test_ports_of_others_and_addresses_on_networks_of_others(tmp_path: Path):
    with (
        world(tmp_path) as cloud,
        cloud.cloud.client() as demo,
        cloud.cloud.client("admin", "admin") as admin,
    ):
        cloud.host("node1")
        private = network(demo)

        def port(client: httpx.Client, network_id: str) -> str:
            made = client.post("/networking/v2.0/ports", json={"port": {"network_id": network_id}})
            assert made.status_code == 201, made.text
            return made.json()["port"]["id"]

        shared = network(admin, "10.7.0.0/24", shared=True)
        # Whoever owns the network sees the port, and an administrator sees every port: it is not for their servers.
        for client, foreign in ((admin, port(demo, shared)), (demo, port(admin, private))):
            refused = boot(client, cloud, networks=[{"port": foreign}])
            assert (refused.status_code, "not usable" in refused.text) == (400, True), refused.text
            assert admin.delete(f"/networking/v2.0/ports/{foreign}").status_code == 204
        # As in the Networking API, an address on another's network is for its owner to give.
        refused = boot(demo, cloud, networks=[{"uuid": shared, "fixed_ip": "10.7.0.20"}])
        assert (refused.status_code, "create_port:fixed_ips" in refused.text) == (403, True), (
            refused.text
        )
        server = booted(demo, cloud, networks=[{"uuid": shared}])
        demo.delete(f"{URL}/servers/{server['id']}")
        admin.delete(f"/networking/v2.0/networks/{shared}")


def test_what_policy_forbids_at_networking_is_not_to_be_had_here(tmp_path: Path):
    actions = (
        *("create_port", "create_floatingip", "update_floatingip", "delete_floatingip"),
        *("create_security_group", "update_security_group", "delete_security_group"),
        *("create_security_group_rule", "delete_security_group_rule"),
    )
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "".join(f'"{action}": "role:admin"\n' for action in actions)
        + '"update_port": "role:admin"\n'
    )
    with (
        world(tmp_path / "cloud", server={"policy_file": str(policy)}) as there,
        there.cloud.client() as demo,
        there.cloud.client("admin", "demo") as admin,
    ):
        there.host("node1")
        inner, outer = network(admin), network(admin, "10.9.0.0/24", **{"router:external": True})
        server = booted(admin, there, networks=[{"uuid": inner}])["id"]
        router = admin.post("/networking/v2.0/routers", json={"router": {}}).json()["router"]["id"]
        gateway = {"router": {"external_gateway_info": {"network_id": outer}}}
        assert admin.put(f"/networking/v2.0/routers/{router}", json=gateway).status_code == 200
        (subnet,) = admin.get("/networking/v2.0/subnets", params={"network_id": inner}).json()[
            "subnets"
        ]
        plug = f"/networking/v2.0/routers/{router}/add_router_interface"
        assert admin.put(plug, json={"subnet_id": subnet["id"]}).status_code == 200

        def made(path: str, **body: Any) -> dict[str, Any]:
            answer = admin.post(URL + path, json=body)
            assert answer.status_code == 200, answer.text
            return next(iter(answer.json().values()))

        joined = made("/os-security-groups", security_group={"name": "joined"})["id"]
        spare = made("/os-security-groups", security_group={"name": "spare"})["id"]
        rule = {"parent_group_id": joined, "ip_protocol": "tcp", "from_port": 1, "to_port": 2}
        old = made("/os-security-group-rules", security_group_rule=rule)["id"]
        fip = made("/os-floating-ips", pool=outer)
        group, action = {"name": "g", "description": ""}, f"/servers/{server}/action"
        vm = {
            "name": "vm",
            "imageRef": there.image,
            "flavorRef": "1",
            "networks": [{"uuid": inner}],
        }
        requests: list[tuple[str, str, dict[str, Any] | None]] = [
            ("POST", "/os-security-groups", {"security_group": group}),
            ("PUT", f"/os-security-groups/{spare}", {"security_group": group | {"name": "h"}}),
            ("POST", "/os-security-group-rules", {"security_group_rule": rule | {"to_port": 3}}),
            ("POST", action, {"addSecurityGroup": {"name": joined}}),
            ("POST", action, {"removeSecurityGroup": {"name": "default"}}),
            ("POST", "/os-floating-ips", {"pool": outer}),
            ("POST", action, {"addFloatingIp": {"address": fip["ip"]}}),
            ("POST", action, {"removeFloatingIp": {"address": fip["ip"]}}),
            ("DELETE", f"/os-floating-ips/{fip['id']}", None),
            ("DELETE", f"/os-security-group-rules/{old}", None),
            ("DELETE", f"/os-security-groups/{spare}", None),
            ("POST", "/servers", {"server": vm}),
        ]
        for method, path, body in requests:
            refused = demo.request(method, URL + path, json=body)
            assert (refused.status_code, "disallowed by policy" in refused.text) == (403, True), (
                path,
                body,
            )
        for method, path, body in requests:
            answer = admin.request(method, URL + path, json=body)
            assert answer.status_code in (200, 202), (path, body, answer.text)
