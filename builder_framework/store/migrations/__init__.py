"""Alembic's scripts: one file per step of the schema, never changed once released."""
