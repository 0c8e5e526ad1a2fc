"""The database's history, one dated file a change. Run by `clearlake migrate`."""
