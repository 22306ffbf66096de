"""From an authentication request to a token: who says to be whom, and for which project or domain.

In three steps, so that the slow one (the password) is done in a pool without any lock:
`identify` reads the user, the caller checks the password, `scoped` finds the scope.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from netloom.identity import assignments
from netloom.identity.tokens import Bearer, Claims, Tokens, era_of
from netloom.model.cloud import Domain, Project, User
from netloom.model.errors import BadRequest, Unauthorized
from netloom.store import Reader


class DomainRef(Struct, frozen=True, forbid_unknown_fields=True):
    """A domain by id or by name."""

    id: str | None = None
    name: str | None = None


class UserRef(Struct, frozen=True, forbid_unknown_fields=True):
    """A user by id, or by name and domain, and the password."""

    password: str
    id: str | None = None
    name: str | None = None
    domain: DomainRef | None = None


class PasswordMethod(Struct, frozen=True, forbid_unknown_fields=True):
    """Method `password`."""

    user: UserRef


class TokenMethod(Struct, frozen=True, forbid_unknown_fields=True):
    """Method `token`."""

    id: str


class IdentityPart(Struct, frozen=True):
    """Which methods, and what each needs. Other methods' members are not looked at."""

    methods: tuple[str, ...]
    password: PasswordMethod | None = None
    token: TokenMethod | None = None


class ProjectRef(Struct, frozen=True, forbid_unknown_fields=True):
    """A project by id, or by name and domain."""

    id: str | None = None
    name: str | None = None
    domain: DomainRef | None = None


class SystemRef(Struct, frozen=True, forbid_unknown_fields=True):
    """The system as a whole."""

    all: bool


class ScopePart(Struct, frozen=True, forbid_unknown_fields=True):
    """One of project, domain and system."""

    project: ProjectRef | None = None
    domain: DomainRef | None = None
    system: SystemRef | None = None


class Auth(Struct, frozen=True):
    """The member `auth` of the body of POST /v3/auth/tokens."""

    identity: IdentityPart
    scope: ScopePart | Literal["unscoped"] | None = None


class AuthRequest(Struct, frozen=True):
    """The body of POST /v3/auth/tokens."""

    auth: Auth


class Identified(Struct, frozen=True, kw_only=True):
    """Who the request says it is. `password`: still to be checked against `user`. `bearer`: of a token sent."""

    user: User | None
    password: str | None = None
    bearer: Bearer | None = None


def find_domain(reader: Reader, ref: DomainRef | None) -> Domain | None:
    """Return the domain; a reference that says nothing is a bad request."""
    if ref is None or not (ref.id or ref.name):
        raise BadRequest("Expecting to find domain in user or project: give its id or name.")
    if ref.id:
        return reader.get(Domain, ref.id)
    return next(iter(reader.list(Domain, name=ref.name or "")), None)


def identify(reader: Reader, tokens: Tokens, part: IdentityPart) -> Identified:
    """Read the user that the request names; a user that does not exist is None, not an error yet."""
    if not part.methods or not set(part.methods) <= {"password", "token"}:
        raise Unauthorized("Attempted to authenticate with an unsupported method.")
    by_password: Identified | None = None
    if "password" in part.methods:
        if part.password is None:
            raise BadRequest("Expecting to find password in identity. The request is malformed.")
        by_password = Identified(
            user=_find_user(reader, part.password.user), password=part.password.user.password
        )
    if "token" not in part.methods:
        if by_password is None:
            raise Unauthorized
        return by_password
    if part.token is None:
        raise BadRequest("Expecting to find token in identity. The request is malformed.")
    bearer = tokens.bearer(reader, part.token.id)
    if by_password is None:
        return Identified(user=bearer.user, bearer=bearer)
    if by_password.user is None or by_password.user.id != bearer.user.id:
        raise Unauthorized
    return Identified(user=by_password.user, password=by_password.password, bearer=bearer)


def key_of(user: User | None, ref: UserRef) -> str:
    """Return who is tried, for the brake: the user, however it was named, or the name that nobody has."""
    if user is not None:
        return user.id
    domain = ref.domain or DomainRef()
    return f"?{ref.id or ''}/{domain.id or domain.name or ''}/{ref.name or ''}"


def _find_user(reader: Reader, ref: UserRef) -> User | None:
    if ref.id:
        user = reader.get(User, ref.id)
    elif ref.name:
        domain = find_domain(reader, ref.domain)
        named = reader.list(User, name=ref.name) if domain else []
        user = next((user for user in named if domain and user.domain_id == domain.id), None)
    else:
        raise BadRequest("Expecting to find id or name in user. The request is malformed.")
    if user is None or not user.enabled:
        return None
    domain = reader.get(Domain, user.domain_id)
    return user if domain and domain.enabled else None


def _find_project(reader: Reader, ref: ProjectRef) -> Project | None:
    if ref.id:
        return reader.get(Project, ref.id)
    if not ref.name:
        raise BadRequest("Expecting to find id or name in project. The request is malformed.")
    domain = find_domain(reader, ref.domain)
    named = reader.list(Project, name=ref.name) if domain else []
    return next((project for project in named if domain and project.domain_id == domain.id), None)


def find_scope(reader: Reader, user: User, scope: ScopePart | str | None) -> tuple[str, str]:
    """Return kind and id of the scope asked for; without one, the user's default project where he has a role.

    Raises Unauthorized where there is no such scope: whether it exists is not for strangers.
    """
    if isinstance(scope, str):
        return "", ""
    if scope is None:
        project = reader.get(Project, user.default_project_id) if user.default_project_id else None
        if (
            project
            and project.enabled
            and assignments.assigned(reader, user.id, "project", project.id)
        ):
            return "project", project.id
        return "", ""
    given = [part for part in (scope.project, scope.domain, scope.system) if part is not None]
    if len(given) != 1:
        raise BadRequest("A scope is exactly one of project, domain and system.")
    if scope.project is not None:
        project = _find_project(reader, scope.project)
        if project is None:
            raise Unauthorized
        return "project", project.id
    if scope.domain is not None:
        domain = find_domain(reader, scope.domain)
        if domain is None:
            raise Unauthorized
        return "domain", domain.id
    return "system", assignments.SYSTEM


def new_token(
    reader: Reader, tokens: Tokens, identified: Identified, scope: ScopePart | str | None
) -> tuple[str, Bearer]:
    """Return a token for the identified user (its password was checked) and what it stands for."""
    if identified.user is None:
        raise Unauthorized
    # Read again: the password took a while to check, and the user may have been changed meanwhile.
    user = reader.get(User, identified.user.id)
    if user is None or not user.enabled or user.password_hash != identified.user.password_hash:
        raise Unauthorized
    kind, ident = find_scope(reader, user, scope)
    methods = ("password",) if identified.password is not None else ()
    if identified.bearer is not None:
        methods = (*methods, "token")
    parent: Claims | None = identified.bearer.claims if identified.bearer else None
    token, _ = tokens.issue(user, kind, ident, methods, parent, era=era_of(reader))
    return token, tokens.bearer(reader, token)
