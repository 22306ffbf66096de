"""Each grant on a network is an RBAC policy, which the API shows: those that are there get one, of the owner's project."""

import json
import uuid

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

INDEXED = ("object_id", "target_tenant")


def upgrade() -> None:
    """Write the policies with their links, count them, and make the indexes."""
    connection = op.get_bind()
    grants = connection.execute(
        sa.text(
            "SELECT access.object_id, access.target, access.action, resource.project_id FROM access "
            "JOIN resource ON resource.kind = 'network' AND resource.id = access.object_id "
            "ORDER BY access.object_id, access.target, access.action"
        )
    ).all()
    for object_id, target, action, project_id in grants:
        id = str(uuid.uuid4())
        doc = {
            "id": id,
            "project_id": project_id,
            "revision_number": 1,
            "object_type": "network",
            "object_id": object_id,
            "action": action,
            "target_tenant": target,
        }
        connection.execute(
            sa.text(
                "INSERT INTO resource (kind, id, project_id, revision, doc) "
                "VALUES ('rbac_policy', :id, :project_id, 1, :doc)"
            ),
            {"id": id, "project_id": project_id, "doc": json.dumps(doc)},
        )
        connection.execute(
            sa.text(
                "INSERT INTO link (source_kind, source, role, target_kind, target) "
                "VALUES ('rbac_policy', :id, 'rbac_policy.object_id', 'network', :network)"
            ),
            {"id": id, "network": object_id},
        )
    connection.exec_driver_sql(
        "INSERT INTO tally SELECT kind, project_id, count(*) FROM resource "
        "WHERE kind = 'rbac_policy' GROUP BY kind, project_id"
    )
    for field in INDEXED:
        connection.exec_driver_sql(
            f"CREATE INDEX rbac_policy_{field} ON resource "
            f"(CASE WHEN json_valid(doc) THEN json_extract(doc, '$.\"{field}\"') END, id) WHERE kind = 'rbac_policy'"
        )
        connection.exec_driver_sql(
            "INSERT INTO sqlite_stat1 VALUES ('resource', ?, '100000 10 1')",
            (f"rbac_policy_{field}",),
        )
