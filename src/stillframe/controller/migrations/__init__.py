"""Alembic's scripts; Database.upgrade runs them."""
