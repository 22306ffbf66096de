"""A cloud of two hosts with an administrator and a plain user, one for all tests of a file."""

from __future__ import annotations

import httpx
import pytest

from tests.support.compute_cloud import ComputeCloud, network, world


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory):
    with world(
        tmp_path_factory.mktemp("compute"), compute={"quotas": {"instances": 100, "cores": 200}}
    ) as there:
        there.host("node1", {"extnet": "br-extnet"})
        there.host("node2")
        yield there


@pytest.fixture(scope="module")
def demo(cloud: ComputeCloud):
    with cloud.cloud.client() as client:
        yield client


@pytest.fixture(scope="module")
def admin(cloud: ComputeCloud):
    with cloud.cloud.client("admin", "admin") as client:
        yield client


@pytest.fixture(scope="module")
def private(demo: httpx.Client) -> str:
    return network(demo)
