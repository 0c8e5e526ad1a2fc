"""Canonical JSON, signatures, keys, reports: what is written down, and how to check it."""
