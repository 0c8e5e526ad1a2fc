"""Use cases. Each names its actor first and works in the transaction it is given, or is
load - act - record. Not here: HTTP, SQL, bytes of the lake.
"""
