"""The times of tests.workers.entry, for tests that must not import it: it reads its environment."""

LEASE = 2.0
RECONCILE = 0.5
RESUMED = LEASE + RECONCILE + 6
"""Seconds from a death to the next attempt, at most, on a busy machine with two cores."""
