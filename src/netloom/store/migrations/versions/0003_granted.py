"""What the operator grants a host: its roles, physical networks and instance types.

Hosts that have reported keep what they reported so far; the others get a compute host's default.
"""

import json
import re

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column, and grant what each host reported."""
    op.add_column("host", sa.Column("granted", sa.Text, nullable=False, server_default="{}"))
    connection = op.get_bind()
    for name, facts in connection.execute(sa.text("SELECT name, facts FROM host")).all():
        connection.execute(
            sa.text("UPDATE host SET granted = :granted WHERE name = :name"),
            {"name": name, "granted": json.dumps(granted(facts))},
        )


def granted(facts: str | None) -> dict[str, list[str]]:
    """Return what a host with these facts needs; of facts that cannot be read, nothing."""
    try:
        said = json.loads(facts or "{}")
        return {
            "roles": [r for r in said.get("roles", ["compute"]) if r in ("network", "compute")],
            "physical_networks": sorted(
                network
                for network in said.get("bridge_mappings", {})
                if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", network)
            ),
            "instance_types": [t for t in said.get("instance_types", []) if t == "container"],
        }
    except (AttributeError, TypeError, ValueError):
        return {}
