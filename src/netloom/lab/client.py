"""A small client of the lab's own API, for what `lab up` puts into a new cloud and what `lab status` shows."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx

from netloom.model.errors import UserError


class Client:
    """One user's session: a token, and requests under the server's path prefixes."""

    def __init__(self, port: int, user: str, password: str, project: str | None = None) -> None:
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=60.0, trust_env=False
        )
        domain = {"id": "default"}
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": user, "password": password, "domain": domain}},
                },
                "scope": {"project": {"name": project or user, "domain": domain}},
            }
        }
        answer = self._http.post("/identity/v3/auth/tokens", json=body)
        _raise(answer)
        self.token: str = answer.headers["x-subject-token"]
        self._http.headers["X-Auth-Token"] = self.token

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """GET a path below the root."""
        return self._json(self._http.get(path, params=query))

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST a JSON body."""
        return self._json(self._http.post(path, json=body))

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """PUT a JSON body."""
        return self._json(self._http.put(path, json=body))

    def delete(self, path: str) -> None:
        """DELETE a path."""
        _raise(self._http.delete(path))

    def put_bytes(self, path: str, content: bytes) -> None:
        """PUT raw bytes, as an image's data."""
        headers = {"Content-Type": "application/octet-stream"}
        _raise(self._http.put(path, content=content, headers=headers))

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        _raise(answer)
        return answer.json() if answer.content else {}


def _raise(answer: httpx.Response) -> None:
    if answer.is_error:
        request = answer.request
        raise UserError(
            f"{request.method} {request.url.path} was answered {answer.status_code}: {answer.text[:300]}"
        )
