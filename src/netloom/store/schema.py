"""The tables, as the statements see them; `migrations` makes them, a test compares the two.

Text is compared byte by byte (SQLite's BINARY is the default; PostgreSQL would need collation "C").
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)

METADATA = MetaData()


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


resource = Table(
    "resource",
    METADATA,
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    _text("project_id"),
    _text("name"),
    Column("revision", Integer, nullable=False, server_default="0"),
    _text("status"),
    Column("doc", Text, nullable=False),
    PrimaryKeyConstraint("kind", "id"),
    Index("resource_project", "kind", "project_id", "id"),
    Index("resource_project_name", "kind", "project_id", "name", "id"),
    Index("resource_project_status", "kind", "project_id", "status", "id"),
    Index("resource_name", "kind", "name", "id"),
    Index("resource_status", "kind", "status", "id"),
)
"""One row an API object. `status` is the API's status, which is no part of the document."""

link = Table(
    "link",
    METADATA,
    Column("source_kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("target_kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    PrimaryKeyConstraint("source", "role", "target", "source_kind"),
    ForeignKeyConstraint(["source_kind", "source"], ["resource.kind", "resource.id"]),
    ForeignKeyConstraint(["target_kind", "target"], ["resource.kind", "resource.id"]),
    Index("link_target", "target", "role", "source", "target_kind"),
    sqlite_with_rowid=False,
)
"""Object `source` names object `target`; derived from documents as `links.LINKS` says."""

term = Table(
    "term",
    METADATA,
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("id", "field", "value", "kind"),
    ForeignKeyConstraint(["kind", "id"], ["resource.kind", "resource.id"]),
    Index("term_value", "field", "value", "id"),
    sqlite_with_rowid=False,
)
"""Values inside arrays that are searched for (a port's addresses, tags): an index over them."""

tally = Table(
    "tally",
    METADATA,
    Column("kind", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    PrimaryKeyConstraint("kind", "project_id"),
    sqlite_with_rowid=False,
)
"""How many objects of a kind a project has: quotas ask at each create, and counting would cost as much as there are."""

claim = Table(
    "claim",
    METADATA,
    Column("scope", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("owner", Text, nullable=False),
    PrimaryKeyConstraint("scope", "key"),
    Index("claim_owner", "owner"),
    sqlite_with_rowid=False,
)

access = Table(
    "access",
    METADATA,
    Column("object_id", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("action", Text, nullable=False),
    PrimaryKeyConstraint("object_id", "target", "action"),
    Index("access_target", "target", "action", "object_id"),
    sqlite_with_rowid=False,
)

change = Table(
    "change",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("op", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    _text("actor"),
    _text("request_id"),
    Index("change_object", "id", "seq"),
)

status = Table(
    "status",
    METADATA,
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("aspect", Text, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("state", Text, nullable=False),
    _text("detail"),
    Column("at", Text, nullable=False),
    PrimaryKeyConstraint("id", "kind", "host", "aspect"),
    Index("status_host", "host"),
    sqlite_with_rowid=False,
)

host = Table(
    "host",
    METADATA,
    Column("name", Text, primary_key=True),
    _text("secret_hash"),
    Column("facts", Text),
    Column("heartbeat_at", Float),
    Column("admin_state_up", Boolean, nullable=False, server_default="1"),
    Column("applied_seq", Integer, nullable=False, server_default="0"),
    Column("granted", Text, nullable=False, server_default="{}"),
    Column("wanted_seq", Integer, nullable=False, server_default="0"),
    Column("tunnel_ip", Text, index=True),
    Column("availability_zone", Text, index=True),
)
"""`granted`: a HostGrant as JSON; what is not in it has the default of its field.

`tunnel_ip` and `availability_zone` are those of `facts`. `heartbeat_at`, `applied_seq` and `wanted_seq` are of a second ago: the server has later ones in memory (`liveness.py`).
"""

setting = Table(
    "setting",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
