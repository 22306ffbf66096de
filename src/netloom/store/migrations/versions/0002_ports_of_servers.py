"""Servers are found by the ports that compute gave them: a row of `term` for each."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Write the terms of the servers that are there."""
    op.get_bind().exec_driver_sql(
        "INSERT OR IGNORE INTO term (kind, id, field, value) "
        "SELECT 'server', server.id, 'port_id', port.value "
        "FROM resource AS server, json_each(server.doc, '$.port_ids') AS port "
        "WHERE server.kind = 'server'"
    )
