"""A router has replicas in place of one host, and is found by each host that carries one: a row of `term` for each."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make each router's host its one replica; a router without one is found by the empty name."""
    connection = op.get_bind()
    connection.exec_driver_sql("DROP INDEX router_host")
    connection.exec_driver_sql("DELETE FROM sqlite_stat1 WHERE idx = 'router_host'")
    routers = "FROM resource WHERE kind = 'router' AND json_valid(doc)"
    connection.exec_driver_sql(
        "INSERT OR IGNORE INTO term (kind, id, field, value) "
        f"SELECT kind, id, 'host', coalesce(json_extract(doc, '$.host'), '') {routers}"
    )
    replicas = (
        "CASE WHEN coalesce(json_extract(doc, '$.host'), '') = '' THEN json_array() "
        "ELSE json_array(json_object('host', json_extract(doc, '$.host'), 'priority', 50)) END"
    )
    connection.exec_driver_sql(
        f"UPDATE resource SET doc = json_remove(json_set(doc, '$.replicas', {replicas}), '$.host') "
        "WHERE kind = 'router' AND json_valid(doc)"
    )
