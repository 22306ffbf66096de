"""Indexes of fields inside the document pass over a document that is no JSON: a damaged row fails no write."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make each such index again in the guarded words; the planner's figures of an index go with it."""
    connection = op.get_bind()
    made = connection.exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql LIKE '%(json_extract(doc, %'"
    ).all()
    for name, statement in made:
        figures = connection.exec_driver_sql(
            "SELECT stat FROM sqlite_stat1 WHERE idx = ?", (name,)
        ).all()
        head, rest = statement.split("(json_extract", 1)
        path, rest = rest.split("), id)", 1)
        connection.exec_driver_sql(f"DROP INDEX {name}")
        connection.exec_driver_sql(
            f"{head}(CASE WHEN json_valid(doc) THEN json_extract{path}) END, id){rest}"
        )
        connection.exec_driver_sql("DELETE FROM sqlite_stat1 WHERE idx = ?", (name,))
        for (stat,) in figures:
            connection.exec_driver_sql(
                "INSERT INTO sqlite_stat1 VALUES ('resource', ?, ?)", (name, stat)
            )
