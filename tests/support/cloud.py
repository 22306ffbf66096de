"""A whole server in the test's own process: real SQLite, real tokens, the real ASGI application."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn
from starlette.types import ASGIApp

from netloom.api.services import Services
from netloom.identity.bootstrap import bootstrap, first_users
from netloom.identity.tokens import Tokens
from netloom.model import Away
from netloom.model.server_settings import Settings
from netloom.server.app import compose
from netloom.server.patience import PatientProtocol
from netloom.server.process import all_routes
from netloom.store import Store
from tests.support import client_forks

ADMIN, DEMO = "admin-password", "demo-password"


class Cloud:
    """A running server; `url` is where it listens on loopback. Use `running`."""

    def __init__(self, services: Services, app: ASGIApp, url: str, folder: Path) -> None:
        self.services, self.app, self.url, self.folder = services, app, url, folder
        self.http = httpx.Client(base_url=url, timeout=30)

    @property
    def store(self) -> Store:
        return self.services.store

    def token(self, user: str = "demo", password: str = "", project: str | None = "demo") -> str:
        """A token by password; without a project it is unscoped."""
        answer = self.authenticate(user, password or {"admin": ADMIN, "demo": DEMO}[user], project)
        assert answer.status_code == 201, answer.text
        return answer.headers["x-subject-token"]

    def authenticate(self, user: str, password: str, project: str | None) -> httpx.Response:
        domain = {"id": "default"}
        identity = {
            "methods": ["password"],
            "password": {"user": {"name": user, "domain": domain, "password": password}},
        }
        body: dict[str, Any] = {"auth": {"identity": identity}}
        if project:
            body["auth"]["scope"] = {"project": {"name": project, "domain": domain}}
        return self.http.post("/identity/v3/auth/tokens", json=body)

    def client(self, user: str = "demo", project: str = "demo", password: str = "") -> httpx.Client:
        """An HTTP client that sends the user's token."""
        token = self.token(user, password, project)
        return httpx.Client(base_url=self.url, headers={"x-auth-token": token}, timeout=30)

    def openstack(
        self,
        *arguments: str,
        user: str = "admin",
        project: str = "admin",
        password: str = "",
        ok: bool = True,
    ) -> str:
        """Run the unmodified `openstack` client; its output, or its errors where `ok` is False."""
        done = client_forks.run(
            arguments,
            self.folder,
            {
                "PATH": "/usr/bin:/bin",
                "HOME": str(self.folder),
                "OS_AUTH_URL": f"{self.url}/identity",
                "OS_USERNAME": user,
                "OS_PASSWORD": password or {"admin": ADMIN, "demo": DEMO}[user],
                "OS_PROJECT_NAME": project,
                "OS_USER_DOMAIN_NAME": "Default",
                "OS_PROJECT_DOMAIN_NAME": "Default",
                "OS_IDENTITY_API_VERSION": "3",
                "OS_REGION_NAME": "RegionOne",
            },
        )
        assert (done.returncode == 0) == ok, done.stdout + done.stderr
        return done.stdout if ok else done.stdout + done.stderr

    def openstack_json(self, *arguments: str, **who: Any) -> Any:
        """`openstack … -f json`, decoded."""
        return json.loads(self.openstack(*arguments, "-f", "json", **who))


@contextlib.contextmanager
def running(folder: Path, **sections: dict[str, Any]) -> Iterator[Cloud]:
    """Serve on a free loopback port; `sections` are those of the server's settings file."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = {"listen": f"127.0.0.1:{port}", "state_dir": str(folder / "state"), "readers": 2}
        sections["server"] = server | sections.get("server", {})
        settings = msgspec.convert(sections, Settings)
        (folder / "state").mkdir(parents=True)
        store = Store.open(settings.server.database_url)
        store.upgrade()
        bootstrap(store, first_users(ADMIN, DEMO))
        tokens = Tokens.open(folder / "state", settings.identity.token_seconds)
        services = Services.start(store, settings, tokens, Away())
        app = compose(services, all_routes())
        listener.listen(64)
        process = uvicorn.Server(
            uvicorn.Config(
                app,
                http=PatientProtocol,
                proxy_headers=False,
                log_config=None,
                lifespan="off",
                access_log=False,
            )
        )
        thread = threading.Thread(target=process.run, args=([listener],), daemon=True)
        thread.start()
        cloud = Cloud(services, app, settings.server.url, folder)
        try:
            while not process.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield cloud
        finally:
            cloud.http.close()
            process.should_exit = True
            thread.join(15)
            services.stop()
            store.close()
