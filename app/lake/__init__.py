"""Everything that touches bytes in the lake. A library: no database, no broker, no HTTP, no
settings.
"""
