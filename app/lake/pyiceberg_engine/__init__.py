"""The only door to PyIceberg: app.lake.ports.TableEngine on its catalogs and manifests.

Not here: what is erased (app.lake.tables) and what is purged (app.lake.purge_tables).
"""

from app.lake.pyiceberg_engine.engine import PyIcebergEngine

__all__ = ["PyIcebergEngine"]
