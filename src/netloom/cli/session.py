"""A signed-in client for netloom's own commands: credentials as the openstack client finds them.

The cloud that `OS_CLOUD` names in clouds.yaml (`OS_CLIENT_CONFIG_FILE`, the current folder, ~/.config/openstack,
/etc/openstack), and `OS_*` variables, which win over it. Password authentication only.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import httpx

from netloom.model.errors import UserError

TIMEOUT_SECONDS = 60.0


class Session:
    """A token and the URL that all services of this cloud are under."""

    def __init__(self, client: httpx.Client, base_url: str) -> None:
        self._client = client
        self.base_url = base_url

    def get(self, path: str, **query: str) -> Any:
        """GET `path` of the server; returns its JSON. Raises UserError with the server's own words."""
        try:
            answer = self._client.get(self.base_url + path, params=query)
        except httpx.HTTPError as error:
            raise UserError(f"{self.base_url} does not answer: {error}") from error
        return _json(answer)


def open_session() -> Session:
    """Sign in. Raises UserError where credentials are missing or refused."""
    auth = credentials()
    missing = [name for name in ("auth_url", "username", "password") if not auth.get(name)]
    if missing:
        raise UserError(
            f"no credentials ({', '.join(missing)} missing): set OS_CLOUD and OS_CLIENT_CONFIG_FILE, or the OS_* "
            'variables (in a lab: eval "$(netloom lab env)")'
        )
    cacert: Any = auth.get("cacert") or True
    client = httpx.Client(timeout=TIMEOUT_SECONDS, verify=cacert)
    url = auth["auth_url"].rstrip("/")
    url = url if url.endswith("/v3") else url + "/v3"
    try:
        answer = client.post(url + "/auth/tokens", json={"auth": _request(auth)})
    except httpx.HTTPError as error:
        raise UserError(f"{url} does not answer: {error}") from error
    if answer.status_code == 401:
        raise UserError(
            f"{url} does not take the user {auth['username']} with this password and project"
        )
    document = _json(answer)
    client.headers["X-Auth-Token"] = answer.headers.get("x-subject-token", "")
    return Session(client, _base(document, url))


def credentials() -> dict[str, str]:
    """What the environment and clouds.yaml say, under the names of clouds.yaml's `auth`.

    As for the openstack client: the cloud that OS_CLOUD names, and single OS_* variables win over it.
    """
    names = (
        "auth_url", "username", "password", "project_name", "project_id", "user_domain_name",
        "user_domain_id", "project_domain_name", "project_domain_id", "cacert",
    )  # fmt: skip
    said = {name: os.environ[key] for name in names if (key := f"OS_{name.upper()}") in os.environ}
    wanted = os.environ.get("OS_CLOUD")
    return said if "auth_url" in said and not wanted else _cloud(wanted) | said


def _cloud(wanted: str | None) -> dict[str, str]:
    """Return what clouds.yaml says of a cloud (None: the only one); empty where there is no such file."""
    for path in _files():
        if not path.is_file():
            continue
        clouds = _load(path)
        if wanted is None and len(clouds) == 1:
            wanted = next(iter(clouds))
        if wanted in clouds:
            entry = clouds[wanted]
            return {
                **entry.get("auth", {}),
                **({"cacert": entry["cacert"]} if "cacert" in entry else {}),
            }
        raise UserError(
            f"{path} has no cloud {wanted or '(set OS_CLOUD)'}: it has {', '.join(sorted(clouds))}"
        )
    return {}


def _files() -> list[Path]:
    named = os.environ.get("OS_CLIENT_CONFIG_FILE")
    if named:
        return [Path(named)]
    homes = [Path.cwd(), Path.home() / ".config" / "openstack", Path("/etc/openstack")]
    return [home / "clouds.yaml" for home in homes]


def _load(path: Path) -> dict[str, Any]:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        raise UserError(
            f"reading {path} needs PyYAML: install it, or use the OS_* variables"
        ) from None
    try:
        document: Any = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {str(error).splitlines()[0]}") from error
    clouds = document.get("clouds") if isinstance(document, dict) else None
    if not isinstance(clouds, dict):
        raise UserError(f"{path} has no clouds")
    return clouds


def _request(auth: dict[str, str]) -> dict[str, Any]:
    """The body of a token request by password, scoped to the project where one is named."""

    def domain(kind: str) -> dict[str, str]:
        if auth.get(f"{kind}_domain_name"):
            return {"name": auth[f"{kind}_domain_name"]}
        return {"id": auth.get(f"{kind}_domain_id") or "default"}

    user = {"name": auth["username"], "password": auth["password"], "domain": domain("user")}
    body: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if auth.get("project_id"):
        body["scope"] = {"project": {"id": auth["project_id"]}}
    elif auth.get("project_name"):
        body["scope"] = {"project": {"name": auth["project_name"], "domain": domain("project")}}
    return body


def _base(document: Any, auth_url: str) -> str:
    """The server's root: where the catalog says networking is, without its prefix."""
    for service in document.get("token", {}).get("catalog", []):
        if service.get("type") == "network":
            for endpoint in service.get("endpoints", []):
                if endpoint.get("interface") == "public":
                    return endpoint["url"].rstrip("/").removesuffix("/networking")
    return auth_url.removesuffix("/v3").removesuffix("/identity")


def _json(answer: httpx.Response) -> Any:
    try:
        document: Any = answer.json()
    except ValueError:
        document = {}
    if answer.is_success:
        return document
    error = document.get("error") if isinstance(document, dict) else None
    words = error.get("message") if isinstance(error, dict) else None
    if answer.status_code == 403:
        words = f"{words or 'not allowed'} (sign in as an administrator)"
    raise UserError(words or f"{answer.request.url} answered {answer.status_code}")
