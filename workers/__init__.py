"""Worker processes: woken by a step's id, they do what the ledger says. Not here: what steps do."""
