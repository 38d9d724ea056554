"""Run by Alembic: always on the connection that `migrate.upgrade` hands over."""

from alembic import context

from builder_framework import failpoints
from builder_framework.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot ALTER most things: Alembic copies the table instead.
    render_as_batch=True,
    transaction_per_migration=False,
    # Half-way: one revision is applied, nothing is committed.
    on_version_apply=lambda **_: failpoints.reach("T18.before"),
)
context.run_migrations()
