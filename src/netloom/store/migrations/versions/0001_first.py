"""The first tables: resource, link, term, claim, access, change, status, host, setting."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

INDEXED: dict[str, list[str | tuple[str, str]]] = {
    "subnet": ["network_id"],
    "port": ["network_id", "device_id", "device_owner", "mac_address", ("host", "binding:host_id")],
    "router": ["host", "gw_port_id"],
    "floatingip": [
        "floating_network_id",
        "floating_ip_address",
        "floating_port_id",
        "port_id",
        "router_id",
    ],
    "security_group_rule": ["security_group_id", "remote_group_id"],
    "project": ["domain_id"],
    "user": ["domain_id"],
    "role_assignment": ["user_id", "role_id", "scope_id"],
    "keypair": ["user_id"],
    "server": ["user_id", "image_id", "host"],
}

ROWS_A_VALUE = {"network_id": 100, "device_owner": 200, "host": 200, "image_id": 100}
"""How many objects of a kind a typical value of a field finds, where that is not about ten."""


def required(name: str) -> sa.Column[str]:
    """A text that must be given."""
    return sa.Column(name, sa.Text, nullable=False)


def text(name: str) -> sa.Column[str]:
    """A text that is empty unless given."""
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    """Make everything."""
    op.create_table(
        "resource",
        required("kind"),
        required("id"),
        text("project_id"),
        text("name"),
        sa.Column("revision", sa.Integer, nullable=False, server_default="0"),
        text("status"),
        required("doc"),
        sa.PrimaryKeyConstraint("kind", "id"),
    )
    op.create_index("resource_project", "resource", ["kind", "project_id", "id"])
    op.create_index("resource_name", "resource", ["kind", "name", "id"])
    for kind, fields in INDEXED.items():
        for field in fields:
            field, path = field if isinstance(field, tuple) else (field, field)
            expression = f"json_extract(doc, '$.\"{path}\"')"
            op.get_bind().exec_driver_sql(
                f"CREATE INDEX {kind}_{field} ON resource ({expression}, id) WHERE kind = '{kind}'"
            )
    op.create_table(
        "link",
        *(required(name) for name in ("source_kind", "source", "role", "target_kind", "target")),
        sa.PrimaryKeyConstraint("source", "role", "target", "source_kind"),
        sa.ForeignKeyConstraint(["source_kind", "source"], ["resource.kind", "resource.id"]),
        sa.ForeignKeyConstraint(["target_kind", "target"], ["resource.kind", "resource.id"]),
        sqlite_with_rowid=False,
    )
    op.create_index("link_target", "link", ["target", "role", "source", "target_kind"])
    op.create_table(
        "term",
        *(required(name) for name in ("kind", "id", "field", "value")),
        sa.PrimaryKeyConstraint("id", "field", "value", "kind"),
        sa.ForeignKeyConstraint(["kind", "id"], ["resource.kind", "resource.id"]),
        sqlite_with_rowid=False,
    )
    op.create_index("term_value", "term", ["field", "value", "id"])
    op.create_table(
        "claim",
        *(required(name) for name in ("scope", "key", "owner")),
        sa.PrimaryKeyConstraint("scope", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index("claim_owner", "claim", ["owner"])
    op.create_table(
        "access",
        *(required(name) for name in ("object_id", "target", "action")),
        sa.PrimaryKeyConstraint("object_id", "target", "action"),
        sqlite_with_rowid=False,
    )
    op.create_index("access_target", "access", ["target", "action", "object_id"])
    op.create_table(
        "change",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        *(required(name) for name in ("at", "kind", "id", "op")),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        text("actor"),
        text("request_id"),
    )
    op.create_index("change_object", "change", ["id", "seq"])
    op.create_table(
        "status",
        *(required(name) for name in ("kind", "id", "host", "aspect")),
        sa.Column("seq", sa.Integer, nullable=False),
        required("state"),
        text("detail"),
        required("at"),
        sa.PrimaryKeyConstraint("id", "kind", "host", "aspect"),
        sqlite_with_rowid=False,
    )
    op.create_index("status_host", "status", ["host"])
    op.create_table(
        "host",
        sa.Column("name", sa.Text, primary_key=True),
        text("secret_hash"),
        sa.Column("facts", sa.Text),
        sa.Column("heartbeat_at", sa.Float),
        sa.Column("admin_state_up", sa.Boolean, nullable=False, server_default="1"),
        sa.Column("applied_seq", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_table("setting", sa.Column("key", sa.Text, primary_key=True), required("value"))
    tell_planner()


def tell_planner() -> None:
    """Give SQLite statistics of a middling cloud: without any it takes `kind = …` for a narrow search."""
    statistics = {
        "sqlite_autoindex_resource_1": "1000000 100000 1",
        "resource_project": "1000000 100000 200 1",
        "resource_name": "1000000 100000 5 1",
    }
    for kind, fields in INDEXED.items():
        for field in fields:
            field = field[0] if isinstance(field, tuple) else field
            statistics[f"{kind}_{field}"] = f"100000 {ROWS_A_VALUE.get(field, 10)} 1"
    connection = op.get_bind()
    connection.exec_driver_sql("ANALYZE sqlite_schema")
    for index, figures in statistics.items():
        connection.exec_driver_sql(
            "INSERT INTO sqlite_stat1 VALUES ('resource', ?, ?)", (index, figures)
        )
