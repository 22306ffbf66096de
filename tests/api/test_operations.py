"""Quotas, agents and availability zones over HTTP: items 165 to 168 and 172 of the behaviours."""

import time

from netloom.model import HostFacts
from tests.support.networking import ONE, TWO, error_of


def host(cloud, name, *roles, age=0):
    with cloud.store.writer() as w:
        w.put_host(
            name, secret_hash="", facts=HostFacts(host=name, tunnel_ip="192.0.2.1", roles=roles)
        )
        w.heartbeat(name, time.time() - age, 0)


def test_165_to_168_quotas(cloud):
    path = f"/quotas/{ONE}"
    shown = cloud.member("GET", path).json()["quota"]
    assert (shown["network"], shown["port"], shown["router_route"]) == (100, 500, 30)
    assert error_of(cloud.member("PUT", path, {"quota": {"port": 1}}))[:2] == (
        403,
        "PolicyNotAuthorized",
    )
    assert error_of(cloud.member("GET", f"/quotas/{TWO}"))[:2] == (403, "PolicyNotAuthorized")
    for wrong in ({"network": -2}, {"foo": 1}, {"network": "x"}):
        assert cloud.admin("PUT", path, {"quota": wrong}).status_code == 400
    for body in (None, {}, {"quota": []}, {"quota": 1}, []):
        assert cloud.admin("PUT", path, body).status_code == 400
    cloud.member.make("network")
    assert error_of(cloud.admin("PUT", path, {"quota": {"network": 0}})) == (
        400,
        "HTTPBadRequest",
        "Quota limit 0 for network must be greater than or equal to already used 1",
    )
    forced = cloud.admin("PUT", path, {"quota": {"network": 0, "force": True}})
    assert forced.json()["quota"]["network"] == 0
    answer = cloud.member("POST", "/networks", {"network": {}})
    assert error_of(answer) == (409, "OverQuota", "Quota exceeded for resources: ['network'].")
    details = cloud.admin("GET", f"{path}/details.json").json()["quota"]
    assert details["network"] == {"limit": 0, "used": 1, "reserved": 0}
    assert [quota["network"] for quota in cloud.admin("GET", "/quotas").json()["quotas"]] == [0]
    assert cloud.admin("DELETE", path).status_code == 204
    assert error_of(cloud.admin("DELETE", path))[:2] == (404, "TenantQuotaNotFound")
    assert cloud.member("GET", f"{path}/default").json()["quota"]["network"] == 100
    for method in ("PUT", "DELETE", "GET"):
        assert error_of(cloud.admin(method, f"{path}/moon"))[:2] == (404, "HTTPNotFound")
    assert error_of(cloud.admin("DELETE", f"{path}/details"))[:2] == (404, "HTTPNotFound")


def test_172_agents(cloud):
    host(cloud, "net1", "network")
    host(cloud, "c1", "compute", age=1000)
    assert cloud.member.list("/agents") == []
    found = cloud.admin.list("/agents")
    assert {(agent["host"], agent["alive"]) for agent in found} == {("net1", True), ("c1", False)}
    assert len(found) == 7
    routing = cloud.admin.list("/agents?agent_type=L3%20agent")
    assert [agent["host"] for agent in routing] == ["net1"]
    path = f"/agents/{routing[0]['id']}"
    assert cloud.member("GET", path).status_code == 404
    off = cloud.admin("PUT", path, {"agent": {"admin_state_up": False}}).json()["agent"]
    assert off["admin_state_up"] is False
    assert error_of(cloud.admin("PUT", path, {"agent": {"host": "x"}}))[:2] == (
        400,
        "HTTPBadRequest",
    )
    assert cloud.admin("DELETE", path).status_code == 400
    dead = next(agent for agent in found if agent["host"] == "c1")
    assert cloud.admin("DELETE", f"/agents/{dead['id']}").status_code == 204
    assert error_of(cloud.admin("GET", f"/agents/{dead['id']}"))[:2] == (404, "AgentNotFound")
    answer = cloud.admin("POST", "/agents", {"agent": {}})
    assert error_of(answer)[:2] == (400, "BadRequest")


def test_availability_zones(cloud):
    host(cloud, "net1", "network")
    zones = cloud.member.list("/availability_zones")
    assert sorted((zone["name"], zone["resource"], zone["state"]) for zone in zones) == [
        ("nova", "network", "available"),
        ("nova", "router", "available"),
    ]
    answer = cloud.member("POST", "/routers", {"router": {"availability_zone_hints": ["east"]}})
    assert error_of(answer)[:2] == (404, "AvailabilityZoneNotFound")
