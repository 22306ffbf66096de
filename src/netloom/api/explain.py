"""`GET /explain/v1`: why a packet does or does not arrive, for administrators.

Query: `source`, `destination` (an instance, a port, an address or `outside`), `protocol` (icmp), `port`, `size` (of the
IP packet, in bytes, not to be fragmented).
200 with an Explanation whatever the verdict; 400 for words that mean nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from netloom.api.http import caller_of, context_of, error_body, respond, run_in_thread, services_of
from netloom.api.service import must_be_admin
from netloom.api.services import Services
from netloom.explain.answer.explain import Explanation, explain
from netloom.explain.cloud import Cloud, Health
from netloom.explain.walk.reach import Later
from netloom.model import Context, Flavor, Router, Server
from netloom.model.errors import BadRequest, Forbidden, UserError
from netloom.network import liveness, neutron_agents, segments
from netloom.scope.inventory import TABLE_OF_KIND
from netloom.store import Reader, StatusRow

PATH = "/explain/v1"


def routes() -> list[BaseRoute]:
    """Return the one route."""
    return [Route(PATH, _explain, methods=["GET"])]


async def _explain(request: Request) -> Response:
    query = request.query_params
    try:
        # Another project's names and addresses are on the way of a packet: not everybody may see them.
        must_be_admin(caller_of(request), "explain")
        source, destination = query.get("source", ""), query.get("destination", "")
        if not source or not destination:
            raise UserError("explain needs a source and a destination")
        port = query.get("port")
        if port is not None and not (port.isdecimal() and len(port) <= 5):
            raise UserError(f"{port} is no port: 1 to 65535")

        size = query.get("size", "0")
        if not (size.isdecimal() and len(size) <= 5):
            raise UserError(f"{size} is no size of a packet: 28 to 65535 bytes")

        def work() -> Explanation:
            protocol, number = query.get("protocol", "icmp"), int(port) if port else None
            services, context = services_of(request), context_of(request)
            with services.store.reader() as reader:
                cloud = the_cloud(services, context, reader)
                return explain(cloud, source, destination, protocol, number, int(size))

        return respond(200, await run_in_thread(request, work))
    except UserError as error:
        return respond(400, error_body(400, BadRequest.title, str(error)))
    except Forbidden as error:
        return respond(403, error_body(403, Forbidden.title, str(error)))


class _Reports:
    """What hosts report, read from the database when it is asked for."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def of(self, ids: Collection[str]) -> Sequence[StatusRow]:
        return self._reader.status_rows(ids)

    def by(self, host: str) -> Sequence[StatusRow]:
        return self._reader.status_rows(host=host)

    def state(self, server: str) -> str:
        return self._reader.api_status(Server, [server]).get(server, "")


def the_cloud(services: Services, context: Context, reader: Reader) -> Cloud:
    """Everything as of now: objects, and what is read of hosts and their reports when it is asked for."""
    moment = services.scope.moment()
    objects = {kind: moment.tables[table] for kind, table in TABLE_OF_KIND.items()}
    objects[Router.KIND] = neutron_agents.active_first(reader, moment.tables["routers"])

    def health(name: str) -> Health:
        row = reader.host(name)
        if row is None:
            raise KeyError(name)
        return Health(
            alive=liveness.alive(row, context),
            applied_seq=row.applied_seq,
            wanted_seq=moment.wanted.get(name, 0),
            plan_version=row.facts.plan_version if row.facts else "",
            away=services.presence.is_away(name),
            enabled=row.admin_state_up,
            agent=neutron_agents.agent_id(name, "L3 agent"),
        )

    types = {network.network_type for network in moment.tables["networks"].values()}
    return Cloud(
        objects=objects | {Flavor.KIND: {each.id: each for each in reader.list(Flavor)}},
        facts=moment.facts,
        reports=_Reports(reader),
        health=Later(moment.facts, health),
        largest_mtu={each: segments.largest_mtu(context.settings, each) for each in types},
    )
