"""Writing: one transaction, under the one lock."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from netloom.model import KINDS, HostFacts, HostGrant, Resource, Status
from netloom.store import changing, fields, links
from netloom.store.codec import decode, encode, public
from netloom.store.credentials import REVISION
from netloom.store.errors import Claimed, Exists, InUse, MissingTarget, NotFound
from netloom.store.inserting import (
    COUNT_IN,
    INSERT,
    INSERT_CHANGE,
    INSERT_CLAIM,
    INSERT_LINK,
    INSERT_TERM,
    OWNER,
    seen_by,
)
from netloom.store.liveness import WANTED_AS_OF, Unwritten, heartbeats
from netloom.store.reader import Kind, Reader, kind_name
from netloom.store.session import Session

T = TypeVar("T", bound=Resource)


def now() -> str:
    """Return this moment as every timestamp is written: UTC, second resolution, final Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Writer(Reader):
    """One transaction. It sees its own writes; nobody else does before it is committed.

    Made by `Store.writer()`. Every method that changes an API object adds one row to the feed.
    """

    def __init__(self, session: Session, actor: str = "", request_id: str = ""):
        super().__init__(session)
        self._actor, self._request_id = actor, request_id
        if session.seq is None:
            session.seq = self.seq()

    @property
    def last_seq(self) -> int:
        """Seq of the newest change, this transaction's included."""
        return self._session.seq or 0

    def insert(self, obj: T, status: str | None = None) -> T:
        """Store a new object; returns it with its timestamps. `status`: the API's, where it is not its kind's first.

        Raises Exists, or MissingTarget where it names an object that is not there.
        """
        at = now()
        obj = msgspec.structs.replace(obj, created_at=at, updated_at=at)
        doc = encode(obj)
        named = list(links.derive(obj))
        owners = self._owners(obj, named)
        if status is None:
            status = obj.FIRST_STATUS
        row = {
            "kind": obj.KIND,
            "id": obj.id,
            "project_id": obj.project_id,
            "name": obj.name,
            "revision": obj.revision_number,
            "status": status,
            "doc": doc,
        }
        if self._session.run(INSERT, row) == 0:
            raise Exists(obj.KIND, obj.id)
        self._remember(obj, doc, status)
        self._count_in(obj, 1)
        self._add_links(obj, named)
        self._add_terms(obj, [*fields.terms(obj), *seen_by(obj, owners)])
        self._log(obj.KIND, obj.id, "insert", None, public(obj, doc))
        return obj

    def update(self, obj: T) -> T:
        """Replace the object of the same kind and id; returns it with its new revision and time.

        Where nothing differs (but revision and times) nothing is written and the old one is returned.
        Raises NotFound, or MissingTarget.
        """
        old = self.get(type(obj), obj.id)
        if old is None:
            raise NotFound(obj.KIND, obj.id)
        same = msgspec.structs.replace(
            obj,
            revision_number=old.revision_number,
            created_at=old.created_at,
            updated_at=old.updated_at,
        )
        return old if same == old else self._replace(old, same)

    def bump(self, kind: Kind, id: str) -> None:
        """Raise the object's revision because a child of it changed; no effect where it is not there."""
        old = self.get(KINDS[kind_name(kind)], id)
        if old is not None:
            self._replace(old, old)

    def _replace(self, old: T, new: T) -> T:
        new = msgspec.structs.replace(
            new, revision_number=old.revision_number + 1, updated_at=now()
        )
        doc = encode(new)
        had, has = dict.fromkeys(links.derive(old)), dict.fromkeys(links.derive(new))
        added = [link for link in has if link not in had]
        self._owners(new, added)
        self._session.run(
            changing.UPDATE,
            {
                "k": new.KIND,
                "i": new.id,
                "project_id": new.project_id,
                "name": new.name,
                "revision": new.revision_number,
                "doc": doc,
            },
        )
        known = self._session.memory.objects.pop((new.KIND, new.id), None)
        if known is not None:
            self._remember(new, doc, known[1])
        if old.project_id != new.project_id:
            self._count_in(old, -1)
            self._count_in(new, 1)
        gone = [link for link in had if link not in has]
        if gone:
            self._session.run_all(
                changing.REMOVE_LINK,
                [{"k": new.KIND, "i": new.id, "r": role, "t": target} for role, _, target in gone],
            )
        self._add_links(new, added)
        had_terms, has_terms = dict.fromkeys(fields.terms(old)), dict.fromkeys(fields.terms(new))
        gone_terms = [term for term in had_terms if term not in has_terms]
        if gone_terms:
            self._session.run_all(
                changing.REMOVE_TERM,
                [{"k": new.KIND, "i": new.id, "f": f, "v": v} for f, v in gone_terms],
            )
        added_terms = [term for term in has_terms if term not in had_terms]
        self._add_terms(new, added_terms)
        self._see_anew(old, new, {role for role, _, _ in (*added, *gone)})
        self._log(new.KIND, new.id, "update", public(old, encode(old)), public(new, doc))
        return new

    def delete(self, kind: type[Resource], id: str) -> None:
        """Delete an object with its claims, access, status and what cascades from it (`links.LINKS`).

        Raises NotFound; InUse where another names it in a role that refuses.
        """
        old = self.get(kind, id)
        if old is None:
            raise NotFound(kind.KIND, id)
        users: dict[str, list[tuple[str, str]]] = {}
        for role, source_kind, source in self._session.rows(
            changing.ONTO, {"k": kind.KIND, "i": id}
        ):
            users.setdefault(role, []).append((source_kind, source))
        for role, sources in users.items():
            if links.ROLES[role].when_target_goes == "refuse":
                raise InUse(kind.KIND, id, role, sources)
        if users:
            # What cascades may be in use itself: then all of it stays.
            with self._session.savepoint():
                for role, sources in users.items():
                    self._target_goes(links.ROLES[role], [source for _, source in sources])
        here = {"k": kind.KIND, "i": id}
        for statement in (changing.DELETE_LINKS, *changing.DELETE_SIDE):
            self._session.run(statement, here)
        for statement in (changing.DELETE_ACCESS, changing.DELETE_CLAIMS):
            self._session.run(statement, {"i": id})
        self._session.run(changing.DELETE, here)
        self._session.memory.objects[kind.KIND, id] = None
        self._session.memory.accessible.clear()
        self._count_in(old, -1)
        self._log(kind.KIND, id, "delete", public(old, encode(old)), None)

    def _target_goes(self, link: links.Link, sources: list[str]) -> None:
        kind = KINDS[link.source]
        for source in sources:
            # A source may be gone already: a rule can name the same group as its own and as remote.
            obj = self.get(kind, source)
            if obj is None:
                continue
            if link.when_target_goes == "cascade":
                self.delete(kind, source)
            else:
                self._replace(obj, msgspec.structs.replace(obj, **link.cleared))

    def claim(self, scope: str, key: str, owner: str) -> None:
        """Take `key` of `scope`; raises Claimed where anyone, `owner` included, has it."""
        values = {"scope": scope, "key": key, "owner": owner}
        if self._session.run(INSERT_CLAIM, values) == 0:
            raise Claimed(scope, key, self.claim_owner(scope, key) or "")

    def release(self, scope: str, key: str) -> None:
        """Give a claim back; no effect where there is none."""
        self._session.run(changing.RELEASE, {"s": scope, "c": key})

    def release_all(self, owner: str) -> None:
        """Give back all that `owner` claimed."""
        self._session.run(changing.DELETE_CLAIMS, {"i": owner})

    def grant(self, object_id: str, target: str, action: str) -> None:
        """Let `target` (a project's id or `*`) `action` the object."""
        self._session.run(
            changing.GRANT, {"object_id": object_id, "target": target, "action": action}
        )
        self._session.memory.accessible.clear()

    def revoke(self, object_id: str, target: str, action: str) -> None:
        """Take a grant back; no effect where there is none."""
        self._session.run(changing.REVOKE, {"o": object_id, "t": target, "a": action})
        self._session.memory.accessible.clear()

    def set_api_status(self, kind: Kind, id: str, status: str) -> None:
        """Set the API's status of an object: no revision, no change row."""
        self._session.run(changing.SET_STATUS, {"k": kind_name(kind), "i": id, "s": status})
        objects, key = self._session.memory.objects, (kind_name(kind), id)
        if (known := objects.get(key)) is not None:
            objects[key] = (known[0], status)

    def drop_rows(self, host: str, rows: Iterable[tuple[str, str, str]]) -> None:
        """Forget what a host reported, of these (kind, id, aspect)."""
        gone = [{"k": kind, "i": id, "h": host, "a": aspect} for kind, id, aspect in rows]
        if gone:
            self._session.run_all(changing.DROP_STATUS, gone)

    def put_status(self, host: str, rows: Sequence[Status], at: str = "") -> None:
        """Note what a host reports, `at` (default: now); reports on objects that are gone are dropped."""
        self.drop_rows(host, ((r.kind, r.id, r.aspect) for r in rows if r.state == "gone"))
        rows = [row for row in rows if row.state != "gone"]
        if not rows:
            return
        ids = encode(list({row.id for row in rows}))
        there = set(self._session.rows(changing.ALL_THERE, {"ids": ids}))
        at = at or now()
        values = [
            {**msgspec.to_builtins(row), "host": host, "at": at}
            for row in rows
            if (row.kind, row.id) in there or row.kind == "host"
        ]
        if values:
            self._session.run_all(changing.PUT_STATUS, values)

    def drop_status(self, host: str, id: str | None = None) -> None:
        """Forget what a host reported, of one object or of all."""
        if id is None:
            self._session.run(changing.DROP_STATUSES, {"h": host})
        else:
            self._session.run(changing.DROP_STATUS_OF, {"h": host, "i": id})

    def put_host(
        self,
        name: str,
        *,
        secret_hash: str | None = None,
        facts: HostFacts | None = None,
        admin_state_up: bool | None = None,
        granted: HostGrant | None = None,
    ) -> None:
        """Register a host or change what is given. A change of facts or of its admin state enters the feed."""
        old = self.host(name)
        new_facts = facts if facts is not None else old and old.facts
        up = admin_state_up if admin_state_up is not None else (old.admin_state_up if old else True)
        secret = secret_hash if secret_hash is not None else (old.secret_hash if old else "")
        self._session.run(
            changing.PUT_HOST,
            {
                "name": name,
                "secret_hash": secret,
                "facts": None if new_facts is None else encode(new_facts),
                "tunnel_ip": None if new_facts is None else new_facts.tunnel_ip,
                "availability_zone": None if new_facts is None else new_facts.availability_zone,
                "admin_state_up": up,
                "granted": encode(granted or (old.granted if old else HostGrant())),
            },
        )
        before = None if old is None else {"facts": old.facts, "admin_state_up": old.admin_state_up}
        after = {"facts": new_facts, "admin_state_up": up}
        if before != after:
            text = None if before is None else encode(before)
            self._log("host", name, "insert" if before is None else "update", text, encode(after))
        if old is None or old.secret_hash != secret:
            self._credentials_changed()

    def delete_host(self, name: str) -> None:
        """Forget a host, its credential and what it reported. Raises NotFound."""
        old = self.host(name)
        if old is None:
            raise NotFound("host", name)
        self.drop_status(name)
        self._session.run(changing.DELETE_HOST, {"n": name})
        self._credentials_changed()
        self._log(
            "host",
            name,
            "delete",
            encode({"facts": old.facts, "admin_state_up": old.admin_state_up}),
            None,
        )

    def heartbeat(self, name: str, at: float, applied_seq: int) -> None:
        """Note that a host lives (`at`: seconds since 1970) and how far it is; not in the feed.

        For a transaction that writes for the host anyway: else `Liveness.heard` costs no commit.
        """
        self._session.run(changing.HEARTBEAT, {"n": name, "at": at, "seq": applied_seq})

    def write_liveness(self, unwritten: Unwritten) -> None:
        """Write what hosts said (`Liveness.take`), of all of them in two statements; not in the feed."""
        if unwritten.heard:
            self._session.run_all(changing.HEARTBEAT_OF_MEMORY, heartbeats(unwritten))
        if unwritten.wanted:
            seqs = unwritten.wanted.items()
            self._session.run_all(changing.WANTED, [{"n": host, "seq": seq} for host, seq in seqs])
        if unwritten.seq:
            self.set_setting(WANTED_AS_OF, str(unwritten.seq))

    def move_heartbeats(self, by: float, now: float, near: float) -> None:
        """The clock was set by `by` seconds: move all heartbeats along but those within `near` of `now`."""
        self._session.run(changing.MOVE_HEARTBEATS, {"now": now, "near": near, "moved_by": by})
        self._session.liveness.moved(by, now, near)

    def _credentials_changed(self) -> None:
        """Have the server read the credentials again (`Credentials`); the command may be another process."""
        self.set_setting(REVISION, str(int(self.setting(REVISION) or 0) + 1))

    def set_setting(self, key: str, value: str) -> None:
        """Keep a setting in the database; not in the feed."""
        self._session.run(changing.SET_SETTING, {"key": key, "value": value})

    def prune_changes(self, keep: int) -> int:
        """Drop all but the newest `keep` changes (at least one stays); returns how many went."""
        limit = self.seq() - max(keep, 1)
        return self._session.run(changing.PRUNE, {"limit": limit})

    def _owners(self, obj: Resource, found: list[tuple[str, str, str]]) -> dict[str, str]:
        """Return, by role, the project that owns what the object names; raises MissingTarget.

        It is asked before anything is written; the foreign key would refuse as well, but could not say which.
        """
        owners: dict[str, str] = {}
        for role, kind, target in found:
            known = self._session.memory.objects.get((kind, target))
            if known is not None:
                owner = known[0].project_id
            else:
                owner = self._session.value(OWNER, {"k": kind, "i": target})
            if owner is None:
                raise MissingTarget(role, obj.id, kind, target)
            owners[role] = owner
        return owners

    def _see_anew(self, old: Resource, new: Resource, changed: set[str]) -> None:
        """Bring the terms `seen_by` up to date where the object is on something else, or another project's, now."""
        deciding = {link.role for link in links.FROM.get(new.KIND, ()) if link.owner_sees}
        if deciding and (old.project_id != new.project_id or not deciding.isdisjoint(changed)):
            of = [link for link in links.derive(new) if link[0] in deciding]
            self._session.run(
                changing.REMOVE_TERMS, {"k": new.KIND, "i": new.id, "f": fields.SEEN_BY}
            )
            self._add_terms(new, seen_by(new, self._owners(new, of)))

    def _count_in(self, obj: Resource, number: int) -> None:
        values = {"kind": obj.KIND, "project_id": obj.project_id, "number": number}
        self._session.run(COUNT_IN, values)
        tallies, key = self._session.memory.tallies, (obj.KIND, obj.project_id)
        if key in tallies:
            tallies[key] += number

    def _remember(self, obj: Resource, doc: str, status: str) -> None:
        # As it would be read: a rule may have put a list where the struct has a tuple.
        self._session.memory.objects[obj.KIND, obj.id] = (decode(type(obj), doc), status)

    def _add_links(self, obj: Resource, found: list[tuple[str, str, str]]) -> None:
        if not found:
            return
        self._session.run_all(
            INSERT_LINK,
            [
                {
                    "source_kind": obj.KIND,
                    "source": obj.id,
                    "role": role,
                    "target_kind": kind,
                    "target": target,
                }
                for role, kind, target in found
            ],
        )

    def _add_terms(self, obj: Resource, found: list[tuple[str, str]]) -> None:
        if found:
            self._session.run_all(
                INSERT_TERM,
                [{"kind": obj.KIND, "id": obj.id, "field": f, "value": v} for f, v in found],
            )

    def _log(self, kind: str, id: str, op: str, before: str | None, after: str | None) -> None:
        self._session.seq = self.last_seq + 1
        self._session.changed.add((kind, op))
        values: dict[str, Any] = {
            "seq": self._session.seq,
            "at": now(),
            "kind": kind,
            "id": id,
            "op": op,
            "before": before,
            "after": after,
            "actor": self._actor,
            "request_id": self._request_id,
        }
        self._session.run(INSERT_CHANGE, values)
