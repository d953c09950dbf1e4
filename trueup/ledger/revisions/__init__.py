"""Alembic's side of the migrations: which SQL file follows which. The SQL itself stands in ../sql/migrations."""
