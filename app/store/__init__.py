"""Postgres: what the service knows. The only room with SQLAlchemy; every function takes a
transaction, none commits. Personal values come in sealed or as keyed digests, never plain.
"""
