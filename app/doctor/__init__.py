"""Probes of the configured parts: what the protocols rely on, looked at before it matters.

Read-only, or in a scratch prefix that is removed. Not here: mending anything.
"""
