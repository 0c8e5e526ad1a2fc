"""The lake's objects in a folder (file://): no locks, and versions that we keep ourselves."""

from app.lake.local.loader import LocalLoader
from app.lake.local.purger import LocalPurger
from app.lake.local.store import LocalStore

__all__ = ["LocalLoader", "LocalPurger", "LocalStore"]
