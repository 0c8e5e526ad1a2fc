"""A run in one process without a server: from identifiers to a signed report, with a journal file.

It knows the lake and the audit room; no database server, no broker, no HTTP, no settings.
"""
