"""The real application over a real database; who asks is said by the trusted headers."""

from __future__ import annotations

import asyncio

import httpx

from netloom.api.networking import routes
from netloom.contract.attributes import SINGULARS
from netloom.model import NetworkSettings
from netloom.server.app import compose

ONE = "1" * 32
TWO = "2" * 32


class Client:
    """Requests of one identity; answers are httpx responses."""

    def __init__(self, app, roles="member,reader", project=ONE):
        self.app = app
        self.headers = {"X-Roles": roles, "X-Project-Id": project}

    def __call__(self, method, path, body=None, **headers):
        async def send():
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://cloud:9696"
            ) as client:
                content = (
                    {"content": body}
                    if isinstance(body, bytes)
                    else {"json": body}
                    if body is not None
                    else {}
                )
                return await client.request(
                    method, "/networking/v2.0" + path, headers=self.headers | headers, **content
                )

        return asyncio.run(send())

    def make(self, singular, **attrs):
        collection = next(many for many, one in SINGULARS.items() if one == singular)
        prefix = "qos/" if singular == "policy" else ""
        answer = self("POST", f"/{prefix}{collection.replace('_', '-')}", {singular: attrs})
        assert answer.status_code == 201, answer.text
        return answer.json()[singular]

    def list(self, path):
        answer = self("GET", path)
        assert answer.status_code == 200, answer.text
        return next(iter(answer.json().values()))


class Cloud:
    """The application, and clients for it."""

    def __init__(self, services):
        self.services = services
        self.store = services.store
        self.app = compose(services, routes.routes())
        self.admin = Client(self.app, "admin,member,reader")
        self.member = Client(self.app)
        self.reader = Client(self.app, "reader")
        self.other = Client(self.app, project=TWO)

    def client(self, roles, project=ONE):
        return Client(self.app, roles, project)


NETWORK = NetworkSettings(
    vni_ranges=((1, 1000),),
    vlan_ranges={"physnet1": ((100, 110),), "physnet2": ()},
    flat_networks=("extnet", "physnet1", "public"),
)


def error_of(answer):
    """Status, type and message of an error."""
    error = answer.json()["NeutronError"]
    return answer.status_code, error["type"], error["message"]
