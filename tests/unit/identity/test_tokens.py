import base64
import json
import stat
from pathlib import Path

import jwt
import pytest

from netloom.identity import assignments, projects, roles, users
from netloom.identity import tokens as tokens_module
from netloom.identity.tokens import load_key
from netloom.model.cloud import Project, Role, User
from netloom.model.errors import Unauthorized, UserError


def named(store, kind, name):
    with store.reader() as reader:
        return reader.list(kind, name=name)[0]


def issue(store, tokens, user="demo", project="demo"):
    scope = named(store, Project, project)
    with store.reader() as reader:
        era = tokens_module.era_of(reader)
    token, _ = tokens.issue(named(store, User, user), "project", scope.id, ("password",), era=era)
    return token


def verify(store, tokens, token):
    with store.reader() as reader:
        return tokens.verify(reader, token)


def refused(store, tokens, token):
    with pytest.raises(Unauthorized):
        verify(store, tokens, token)


def test_a_token_says_who_and_with_which_roles(store, tokens):
    caller = verify(store, tokens, issue(store, tokens))
    assert (caller.user_name, caller.project_name, caller.domain_id) == ("demo", "demo", "default")
    assert caller.roles == {"member", "reader"}
    assert verify(store, tokens, issue(store, tokens, "admin")).roles == {
        "admin",
        "member",
        "reader",
    }


def test_no_token_without_a_role_there(store, tokens):
    refused(store, tokens, issue(store, tokens, "demo", "admin"))


def test_tokens_end_in_time(store, tokens, clock):
    token = issue(store, tokens)
    verify(store, tokens, token)
    clock.now += 3599
    verify(store, tokens, token)
    clock.now += 1
    refused(store, tokens, token)


def test_forged_tokens_are_refused(store, tokens):
    token = issue(store, tokens)
    head, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["sub"] = named(store, User, "admin").id
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    refused(store, tokens, f"{head}.{changed}.{signature}")
    refused(
        store, tokens, jwt.encode(claims, b"another key, also of 32 bytes size", algorithm="HS256")
    )
    refused(store, tokens, jwt.encode(claims, None, algorithm="none"))
    refused(store, tokens, "x")
    refused(store, tokens, "")


def test_a_new_password_ends_tokens(store, tokens):
    token = issue(store, tokens)
    verify(store, tokens, token)
    with store.writer() as w:
        users.update(w, named(store, User, "demo").id, {"password_hash": "other"})
    refused(store, tokens, token)


def test_taking_a_role_away_ends_tokens_and_granting_shows_in_them(store, tokens):
    admin_token, token = issue(store, tokens, "admin"), issue(store, tokens)
    user, demo = named(store, User, "demo"), named(store, Project, "demo")
    verify(store, tokens, token)
    role = named(store, Role, "service")
    with store.writer() as w:
        assignments.grant(w, user.id, role.id, "project", demo.id)
    assert "service" in verify(store, tokens, token).roles
    with store.writer() as w:
        assignments.revoke(w, user.id, role.id, "project", demo.id)
    refused(store, tokens, token)
    assert "admin" in verify(store, tokens, admin_token).roles, "others' tokens stay"


def revoke(store, tokens, token):
    with store.writer() as w:
        tokens_module.revoke(w, tokens.bearer(w, token).claims)


def next_era(store, tokens):
    with store.writer() as w:
        tokens.next_era(w)


def test_one_token_can_be_revoked(store, tokens):
    one, other = issue(store, tokens), issue(store, tokens)
    verify(store, tokens, one)
    revoke(store, tokens, one)
    refused(store, tokens, one)
    verify(store, tokens, other)


@pytest.mark.parametrize("eras", range(5))
def test_a_revoked_token_stays_revoked_whatever_the_clock_does(
    store, tokens, clock, eras, tmp_path
):
    for _ in range(2):
        next_era(store, tokens)
    token = issue(store, tokens)
    begun = clock.now
    revoke(store, tokens, token)
    for seconds in (0, 3600, 86_400, 10 * 365 * 86_400, -3600, -86_400, 1, 0):
        clock.now = begun + seconds
        refused(store, tokens, token)
        # As the keeper does it, however often; and by a server that has just started.
    for _ in range(eras):
        next_era(store, tokens)
        for seconds in (0, 86_400, -86_400, 0):
            clock.now = begun + seconds
            refused(store, tokens, token)
            fresh = tokens_module.Tokens(load_key(tmp_path / "state" / "token.key"), 3600, clock)
            refused(store, fresh, token)


def test_revocations_are_forgotten_when_no_token_of_their_era_holds(store, tokens):
    next_era(store, tokens)
    revoke(store, tokens, issue(store, tokens))
    for kept in (1, 1, 0):
        with store.reader() as reader:
            assert len(reader.claims(tokens_module.REVOKED)) == kept
        next_era(store, tokens)


def test_a_token_holds_in_its_era_and_the_next(store, tokens):
    token = issue(store, tokens)
    next_era(store, tokens)
    verify(store, tokens, token)
    next_era(store, tokens)
    refused(store, tokens, token)
    verify(store, tokens, issue(store, tokens))


def test_an_era_lasts_as_long_as_a_token_can_be_of_use(store, clock, tmp_path):
    passed = type(clock)()
    tokens = tokens_module.Tokens(b"k" * 32, 3600, clock, passed)
    clock.now += 10 * 365 * 86_400
    assert not tokens.era_is_over(), "the clock was set, no time has passed"
    passed.now += 3600 + tokens_module.ALLOW_EXPIRED_SECONDS
    assert not tokens.era_is_over()
    passed.now += tokens_module.SKEW_SECONDS + 1
    assert tokens.era_is_over()
    next_era(store, tokens)
    assert not tokens.era_is_over()


def test_tokens_from_the_future_are_refused(store, tokens, clock):
    token = issue(store, tokens)
    verify(store, tokens, token)
    clock.now -= tokens_module.SKEW_SECONDS
    verify(store, tokens, token)
    clock.now -= 1
    refused(store, tokens, token)


def test_an_expired_token_is_taken_for_a_while_where_that_is_allowed(store, tokens, clock):
    token = issue(store, tokens)
    revoked = issue(store, tokens)
    revoke(store, tokens, revoked)
    clock.now += 3600
    refused(store, tokens, token)
    with store.reader() as reader:
        assert tokens.verify(reader, token, allow_expired=True).user_name == "demo"
        with pytest.raises(Unauthorized):
            tokens.verify(reader, revoked, allow_expired=True)
    clock.now += tokens_module.ALLOW_EXPIRED_SECONDS
    with store.reader() as reader, pytest.raises(Unauthorized):
        tokens.verify(reader, token, allow_expired=True)


@pytest.mark.parametrize(
    "what", ["disable user", "delete user", "disable project", "disable domain"]
)
def test_what_is_disabled_or_gone_ends_tokens(store, tokens, what):
    token = issue(store, tokens)
    verify(store, tokens, token)
    user, demo = named(store, User, "demo"), named(store, Project, "demo")
    with store.writer() as w:
        if what == "disable user":
            users.update(w, user.id, {"enabled": False})
        elif what == "delete user":
            users.delete(w, user.id)
        elif what == "disable project":
            projects.update(w, demo.id, {"enabled": False})
        else:
            projects.update_domain(w, "default", {"enabled": False})
    refused(store, tokens, token)


def test_deleting_a_role_or_project_ends_the_tokens_that_stood_on_it(store, tokens):
    token = issue(store, tokens)
    verify(store, tokens, token)
    with store.writer() as w:
        roles.delete(w, named(store, Role, "member").id)
    refused(store, tokens, token)
    token = issue(store, tokens, "admin", "demo")
    verify(store, tokens, token)
    with store.writer() as w:
        projects.delete(w, named(store, Project, "demo").id)
    refused(store, tokens, token)


def test_a_token_from_a_token_never_outlives_it(store, tokens, clock):
    user, demo = named(store, User, "demo"), named(store, Project, "demo")
    first, claims = tokens.issue(user, "project", demo.id, ("password",))
    clock.now += 1000
    _, later = tokens.issue(user, "project", demo.id, ("token",), claims)
    assert later.expires_at == claims.expires_at
    assert later.audit_ids[1] == claims.audit_ids[0]
    assert first


def test_the_key_is_made_once_and_only_for_us(tmp_path: Path):
    path = tmp_path / "state" / "token.key"
    key = load_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(path) == key
    assert [child.name for child in path.parent.iterdir()] == ["token.key"]
    path.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        load_key(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(UserError, match="not a token key"):
        load_key(path)


def test_checking_a_known_token_is_one_read(store, tokens):
    token = issue(store, tokens)
    with store.reader() as reader:
        tokens.verify(reader, token)
        asked: list[str] = []
        get = reader.get
        reader.get = lambda *what: asked.append(what[1]) or get(*what)
        tokens.verify(reader, token)
    assert len(asked) == 1
