"""Tokens: signed, short-lived, and ended by the user's epoch.

A token is a JWT (HS256) that says who, where (project, domain, system or nowhere), until when and with which
epoch. What it gives (names, roles) is not in it: that is read when it is used, so a role that was granted
after it was made counts. One indexed read of the user at each use decides whether it still holds; the rest is
kept as long as the user's revision stands still.

A revoked token is noted in the store. The clock never decides when that note may go: a clock can be set. The
server counts eras instead, each as long as a token can be of use, by the time that really passes while the server
runs. A token says in which era it was made and holds in this era and the next; then its note may go.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import jwt
from msgspec import Struct, structs

from netloom.identity import assignments
from netloom.model import Caller
from netloom.model.cloud import Domain, Project, Role, User
from netloom.model.errors import Unauthorized, UserError
from netloom.store import Reader, Store, Writer

REVOKED = "revoked-token"
"""Claim scope of tokens that were ended one by one; keys are `<expiry>:<audit id>:<era>`."""

ERA = "token-era"
"""Claim scope of the one claim whose owner is the number of the present era."""

ALLOW_EXPIRED_SECONDS = 172_800
"""How long after its end a user's token still counts beside a service's (Keystone's `allow_expired_window`)."""

SKEW_SECONDS = 30
"""How far ahead of the clock a token may have been made: a clock is disciplined in small steps."""

_KEY_BYTES = 32
_CACHE = 4096

NEW_SECONDS = 0.02
"""For how long what was read of a token's user counts as read now. A change of this process ends that at once; one of
another process, which no command makes today, is seen so much later."""


class Claims(Struct, frozen=True, kw_only=True):
    """What a token says. `scope_kind`: project, domain, system or "" (unscoped). Times are Unix seconds."""

    user_id: str
    scope_kind: str
    scope_id: str
    epoch: int
    issued_at: int
    expires_at: int
    audit_ids: tuple[str, ...]
    methods: tuple[str, ...]
    era: int = 0
    """0 also for tokens of versions that counted no eras."""

    @property
    def revocation(self) -> str:
        """Key under which the token is noted when it is revoked."""
        key = f"{self.expires_at}:{self.audit_ids[0]}"
        return f"{key}:{self.era}" if self.era else key


class Bearer(Struct, frozen=True, kw_only=True):
    """All that a valid token stands for. `project` or `domain` is its scope."""

    claims: Claims
    user: User
    user_domain: Domain
    project: Project | None = None
    domain: Domain | None = None
    project_domain: Domain | None = None
    roles: tuple[Role, ...] = ()

    def caller(self) -> Caller:
        """The bearer as policy and rules see it."""
        where = self.project_domain or self.domain
        return Caller(
            user_id=self.user.id,
            user_name=self.user.name,
            project_id=self.project.id if self.project else "",
            project_name=self.project.name if self.project else "",
            domain_id=where.id if where else "",
            roles=frozenset(role.name for role in self.roles),
        )


def load_key(path: Path) -> bytes:
    """Return the signing key, made at the first start with mode 0600. Raises UserError."""
    try:
        if not path.exists():
            _make_key(path)
        mode, text = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise UserError(f"the token key {path} cannot be read or made: {error.strerror}") from error
    if mode & 0o077:
        raise UserError(f"{path} can be read by others: chmod 600 {path}")
    try:
        key = base64.b64decode(text, validate=False)
    except ValueError:
        key = b""
    if len(key) < _KEY_BYTES:
        raise UserError(f"{path} is not a token key: remove it, a new one is made (all tokens end)")
    return key


def _make_key(path: Path) -> None:
    """Make the key, written aside and linked into place: a server killed here leaves no empty key behind, and of
    two that start at once one key wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(aside)
    finally:
        aside.unlink(missing_ok=True)


class Tokens:
    """Makes tokens and says who bears one. Any thread may use it."""

    def __init__(
        self,
        key: bytes,
        seconds: int,
        clock: Callable[[], float] = time.time,
        passed: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` may be set; `passed` only ever goes forward."""
        self._key = key
        self._seconds = seconds
        self._clock = clock
        self._passed = passed
        self._era_begun = passed()
        self._seen: dict[str, tuple[int, Bearer, Caller]] = {}
        self._new: dict[str, tuple[float, int, int, Caller]] = {}

    @classmethod
    def open(cls, state_dir: Path, seconds: int) -> Tokens:
        """Use the key in `state_dir`; tokens live for `seconds`."""
        return cls(load_key(Path(state_dir) / "token.key"), seconds)

    def issue(
        self,
        user: User,
        scope_kind: str,
        scope_id: str,
        methods: tuple[str, ...],
        parent: Claims | None = None,
        *,
        era: int = 0,
    ) -> tuple[str, Claims]:
        """Return a new token and what it says. One made from another (`parent`) never outlives it.

        `era`: the present one (`era_of`).
        """
        now = int(self._clock())
        claims = Claims(
            user_id=user.id,
            scope_kind=scope_kind,
            scope_id=scope_id,
            epoch=user.epoch,
            issued_at=now,
            expires_at=min(
                now + self._seconds, parent.expires_at if parent else now + self._seconds
            ),
            audit_ids=(secrets.token_urlsafe(16), *((parent.audit_ids[-1],) if parent else ())),
            methods=tuple(dict.fromkeys((*methods, *(parent.methods if parent else ())))),
            era=parent.era if parent else era,
        )
        payload = {
            "sub": claims.user_id,
            "kind": scope_kind,
            "scope": scope_id,
            "epoch": claims.epoch,
            "iat": claims.issued_at,
            "exp": claims.expires_at,
            "audit": claims.audit_ids,
            "methods": claims.methods,
            "era": claims.era,
        }
        return jwt.encode(payload, self._key, algorithm="HS256"), claims

    def caller(self, store: Store, token: str) -> Caller:
        """As `verify`, on a snapshot of its own; where users stand as they did a moment ago, without one."""
        users = store.newest(User.KIND)
        known = self._new.get(token)
        if known is not None:
            until, as_of, ends, caller = known
            if as_of == users and self._passed() < until and self._clock() < ends:
                return caller
        until = self._passed() + NEW_SECONDS
        with store.reader() as reader:
            _, bearer, caller = self._known(reader, token, allow_expired=False)
        if len(self._new) >= _CACHE:
            self._new.clear()
        self._new[token] = (until, users, bearer.claims.expires_at, caller)
        return caller

    def verify(self, reader: Reader, token: str, allow_expired: bool = False) -> Caller:
        """Return who bears the token; raises Unauthorized where it does not hold (any more).

        `allow_expired`: a token that only its age has ended is taken for ALLOW_EXPIRED_SECONDS more.
        """
        return self._known(reader, token, allow_expired)[2]

    def bearer(self, reader: Reader, token: str, allow_expired: bool = False) -> Bearer:
        """Return all that the token stands for; raises Unauthorized where it does not hold."""
        return self._known(reader, token, allow_expired)[1]

    def _known(self, reader: Reader, token: str, allow_expired: bool) -> tuple[int, Bearer, Caller]:
        known = self._seen.get(token)
        claims = known[1].claims if known else self._read(token)
        user = reader.get(User, claims.user_id)
        if user is None or user.epoch != claims.epoch or not user.enabled:
            raise Unauthorized
        self._check_time(reader, claims, allow_expired)
        if known and known[0] == user.revision_number:
            return known
        if reader.claim_owner(REVOKED, claims.revocation) is not None:
            raise Unauthorized
        bearer = describe(reader, claims, user)
        if len(self._seen) >= _CACHE:
            self._seen.clear()
        self._seen[token] = known = (user.revision_number, bearer, bearer.caller())
        return known

    def _check_time(self, reader: Reader, claims: Claims, allow_expired: bool) -> None:
        """Raise Unauthorized for a token that has ended, is of the future, or of an era too long ago."""
        now = self._clock()
        ends = claims.expires_at + (ALLOW_EXPIRED_SECONDS if allow_expired else 0)
        if ends <= now or claims.issued_at > now + SKEW_SECONDS:
            raise Unauthorized
        if claims.era < era_of(reader) - 1:
            raise Unauthorized

    def era_is_over(self) -> bool:
        """Tell whether the present era has lasted as long as a token can be of use."""
        lasted = self._passed() - self._era_begun
        return lasted > self._seconds + ALLOW_EXPIRED_SECONDS + SKEW_SECONDS

    def next_era(self, w: Writer) -> None:
        """Begin the next era; revoked tokens of eras whose tokens hold no more are forgotten."""
        era = era_of(w) + 1
        w.release(ERA, "now")
        w.claim(ERA, "now", str(era))
        for key in w.claims(REVOKED):
            _, _, rest = key.partition(":")
            made = rest.partition(":")[2]
            if int(made or 0) < era - 1:
                w.release(REVOKED, key)
        self._era_begun = self._passed()

    def _read(self, token: str) -> Claims:
        try:
            payload = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                options={"verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            raise Unauthorized from None
        return Claims(
            user_id=payload["sub"],
            scope_kind=payload["kind"],
            scope_id=payload["scope"],
            epoch=payload["epoch"],
            issued_at=payload["iat"],
            expires_at=payload["exp"],
            audit_ids=tuple(payload["audit"]),
            methods=tuple(payload["methods"]),
            era=payload.get("era", 0),
        )


def describe(reader: Reader, claims: Claims, user: User) -> Bearer:
    """Read what the claims give now; raises Unauthorized where the scope is gone, disabled or without a role."""
    user_domain = reader.get(Domain, user.domain_id)
    if user_domain is None or not user_domain.enabled:
        raise Unauthorized
    bearer = Bearer(claims=claims, user=user, user_domain=user_domain)
    if not claims.scope_kind:
        return bearer
    roles = tuple(assignments.roles_on(reader, user.id, claims.scope_kind, claims.scope_id))
    if not roles:
        raise Unauthorized
    if claims.scope_kind == "project":
        project = reader.get(Project, claims.scope_id)
        domain = reader.get(Domain, project.domain_id) if project else None
        if project is None or domain is None or not (project.enabled and domain.enabled):
            raise Unauthorized
        return structs.replace(bearer, project=project, project_domain=domain, roles=roles)
    if claims.scope_kind == "domain":
        domain = reader.get(Domain, claims.scope_id)
        if domain is None or not domain.enabled:
            raise Unauthorized
        return structs.replace(bearer, domain=domain, roles=roles)
    return structs.replace(bearer, roles=roles)


def revoke(w: Writer, claims: Claims) -> None:
    """End this one token."""
    if w.claim_owner(REVOKED, claims.revocation) is None:
        w.claim(REVOKED, claims.revocation, claims.user_id)
        # Cached bearers are checked against the user's revision.
        w.bump(User.KIND, claims.user_id)


def era_of(reader: Reader) -> int:
    """Return the number of the present era; 0 in a new cloud."""
    return int(reader.claim_owner(ERA, "now") or 0)


def timestamp(seconds: float) -> str:
    """Write a Unix time as Keystone does."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
