"""The rules that new security groups begin with are objects, which administrators change: those that groups had so far."""

import json
import uuid

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

RULES = (
    ("egress", "IPv4", None, True),
    ("egress", "IPv6", None, True),
    ("ingress", "IPv4", "PARENT", False),
    ("ingress", "IPv6", "PARENT", False),
)
"""Direction, ethertype, remote group, and whether groups begin with it that are no default ones."""


def upgrade() -> None:
    """Write the rules, and count them."""
    connection = op.get_bind()
    for direction, ethertype, remote, everywhere in RULES:
        id = str(uuid.uuid4())
        doc = {
            "id": id,
            "direction": direction,
            "ethertype": ethertype,
            "remote_group_id": remote,
            "used_in_default_sg": True,
            "used_in_non_default_sg": everywhere,
        }
        connection.execute(
            sa.text(
                "INSERT INTO resource (kind, id, project_id, revision, doc) "
                "VALUES ('default_security_group_rule', :id, '', 0, :doc)"
            ),
            {"id": id, "doc": json.dumps(doc)},
        )
    connection.exec_driver_sql(
        "INSERT INTO tally SELECT kind, project_id, count(*) FROM resource "
        "WHERE kind = 'default_security_group_rule' GROUP BY kind, project_id"
    )
