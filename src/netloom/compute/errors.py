"""Errors of the networking rules, met inside a request to the compute service, in its own words."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from neutron_lib import exceptions as lib

from netloom.contract.errors import HTTPError, code_of
from netloom.model.errors import BadRequest, Conflict, Forbidden, ServiceError


class NoValidHost(Exception):
    """No host can take the instance; the text says what was missing where."""


@contextlib.contextmanager
def as_compute_errors(missing: type[ServiceError] = BadRequest) -> Generator[None]:
    """Turn errors of the networking rules into those that Nova gives.

    `missing` is what becomes of a 404: inside a body it makes the body wrong (Nova's 400).
    """
    try:
        yield
    except lib.OverQuota as error:
        raise Forbidden(f"Quota exceeded in the network service: {error}") from error
    except (lib.NeutronException, HTTPError) as error:
        kinds: dict[int, type[ServiceError]] = {403: Forbidden, 404: missing, 409: Conflict}
        code = code_of(error)
        if code == 500:
            raise
        raise kinds.get(code, BadRequest)(str(error)) from error
