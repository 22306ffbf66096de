"""What Alembic runs: the steps, on the connection and in the transaction that `migrate` gives."""

from alembic import context

from netloom.store.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite can roll DDL back: a crash half-way leaves the old database, not half of the new one.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
