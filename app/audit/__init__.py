"""Canonical JSON, signatures, keys and reports: what is written down, and how anyone can check it."""
