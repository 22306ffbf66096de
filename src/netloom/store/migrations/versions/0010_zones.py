"""Of each host: its availability zone, so that the zones of a cloud are read without what each host can do."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column, with what hosts have reported."""
    op.add_column("host", sa.Column("availability_zone", sa.Text))
    op.create_index("ix_host_availability_zone", "host", ["availability_zone"])
    connection = op.get_bind()
    for name, facts in connection.execute(sa.text("SELECT name, facts FROM host")).all():
        connection.execute(
            sa.text("UPDATE host SET availability_zone = :zone WHERE name = :name"),
            {"name": name, "zone": zone(facts)},
        )


def zone(facts: str | None) -> str | None:
    """Return the zone in these facts, which have the usual one where they name none; of unreadable facts, none."""
    try:
        found = json.loads(facts or "null").get("availability_zone", "nova")
    except (AttributeError, ValueError):
        return None
    return found if isinstance(found, str) else None
