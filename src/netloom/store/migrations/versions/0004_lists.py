"""Lists from an index: statuses are written down, networks' owners find others' ports by a term, projects' objects
are counted, more indexes.

SQLite's planner gets figures of each new index, as 0001 explains.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

FIRST_STATUS = {"network": "ACTIVE", "port": "DOWN", "floatingip": "DOWN", "router": "ACTIVE"}
"""What the API has shown so far of objects whose status was not written down."""

OWNER_SEES = {
    "port": "port.network_id",
    "security_group_rule": "security_group_rule.security_group_id",
}
"""Kind → the role in which it names what makes an owner see it."""

INDEXED: dict[str, list[tuple[str, str, int]]] = {
    "network": [
        ("external", "router:external", 100),
        ("is_default", "is_default", 200),
        ("admin_state_up", "admin_state_up", 200),
        ("network_type", "provider:network_type", 200),
        ("physical_network", "provider:physical_network", 200),
        ("segmentation_id", "provider:segmentation_id", 2),
    ],
    "subnet": [("cidr", "cidr", 100), ("gateway_ip", "gateway_ip", 100)],
    "port": [("admin_state_up", "admin_state_up", 200)],
    "router": [("admin_state_up", "admin_state_up", 200)],
    "floatingip": [("fixed_ip_address", "fixed_ip_address", 10)],
    "security_group_rule": [
        ("remote_ip_prefix", "remote_ip_prefix", 100),
        ("protocol", "protocol", 200),
    ],
}
"""Kind → field of the struct, its name in the document, and how many objects a typical value finds."""

COLUMNS = {
    "resource_project_name": (["kind", "project_id", "name", "id"], "1000000 100000 200 3 1"),
    "resource_project_status": (["kind", "project_id", "status", "id"], "1000000 100000 200 50 1"),
    "resource_status": (["kind", "status", "id"], "1000000 100000 200 1"),
}


def upgrade() -> None:
    """Write the statuses and terms of what is there, then make the indexes."""
    connection = op.get_bind()
    connection.exec_driver_sql(
        "UPDATE resource SET status = 'N/A' WHERE kind = 'port' AND status = '' AND project_id = '' "
        "AND json_extract(doc, '$.\"device_owner\"') = 'network:floatingip'"
    )
    for kind, status in FIRST_STATUS.items():
        connection.exec_driver_sql(
            "UPDATE resource SET status = ? WHERE kind = ? AND status = ''", (status, kind)
        )
    for kind, role in OWNER_SEES.items():
        connection.exec_driver_sql(
            "INSERT OR IGNORE INTO term (kind, id, field, value) "
            "SELECT source.kind, source.id, 'seen_by', target.project_id FROM link "
            "JOIN resource AS source ON source.kind = link.source_kind AND source.id = link.source "
            "JOIN resource AS target ON target.kind = link.target_kind AND target.id = link.target "
            "WHERE link.role = ? AND source.kind = ? AND target.project_id != '' "
            "AND source.project_id != target.project_id",
            (role, kind),
        )
    op.create_table(
        "tally",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("kind", "project_id"),
        sqlite_with_rowid=False,
    )
    connection.exec_driver_sql(
        "INSERT INTO tally SELECT kind, project_id, count(*) FROM resource GROUP BY kind, project_id"
    )
    figures: dict[str, str] = {}
    for name, (columns, rows) in COLUMNS.items():
        op.create_index(name, "resource", columns)
        figures[name] = rows
    for kind, indexes in INDEXED.items():
        for field, path, rows in indexes:
            connection.exec_driver_sql(
                f"CREATE INDEX {kind}_{field} ON resource "
                f"(CASE WHEN json_valid(doc) THEN json_extract(doc, '$.\"{path}\"') END, id) WHERE kind = '{kind}'"
            )
            figures[f"{kind}_{field}"] = f"100000 {rows} 1"
    for index, rows in figures.items():
        connection.exec_driver_sql(
            "INSERT INTO sqlite_stat1 VALUES ('resource', ?, ?)", (index, rows)
        )
