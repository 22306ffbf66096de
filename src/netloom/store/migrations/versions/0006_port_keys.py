"""Ports have a number under which hosts know them: those that are there get theirs, in the order of their ids."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Claim a number for each port, and write it into its document."""
    connection = op.get_bind()
    ports = connection.execute(sa.text("SELECT id FROM resource WHERE kind = 'port' ORDER BY id"))
    numbers = [{"id": id, "number": n} for n, id in enumerate(ports.scalars().all(), start=1)]
    if not numbers:
        return
    connection.execute(
        sa.text("INSERT INTO claim (scope, key, owner) VALUES ('port-key', :number, :id)"),
        [{**each, "number": str(each["number"])} for each in numbers],
    )
    connection.execute(
        sa.text(
            "UPDATE resource SET doc = json_set(doc, '$.key', :number)"
            " WHERE kind = 'port' AND id = :id"
        ),
        numbers,
    )
