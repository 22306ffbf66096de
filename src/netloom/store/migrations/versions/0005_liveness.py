"""Of each host: the newest change that concerns it, for other processes that tell who is behind; its end of tunnels."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns. The server fills `wanted_seq` as soon as a host streams."""
    op.add_column("host", sa.Column("wanted_seq", sa.Integer, nullable=False, server_default="0"))
    op.add_column("host", sa.Column("tunnel_ip", sa.Text))
    op.create_index("ix_host_tunnel_ip", "host", ["tunnel_ip"])
    connection = op.get_bind()
    for name, facts in connection.execute(sa.text("SELECT name, facts FROM host")).all():
        connection.execute(
            sa.text("UPDATE host SET tunnel_ip = :tunnel_ip WHERE name = :name"),
            {"name": name, "tunnel_ip": tunnel_ip(facts)},
        )


def tunnel_ip(facts: str | None) -> str | None:
    """Return the address in these facts; of facts that cannot be read, none."""
    try:
        found = json.loads(facts or "{}").get("tunnel_ip")
    except (AttributeError, ValueError):
        return None
    return found if isinstance(found, str) else None
