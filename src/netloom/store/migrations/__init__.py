"""Alembic: the environment, and in `versions` one step a file."""
