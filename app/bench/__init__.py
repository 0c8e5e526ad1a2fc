"""What the erasers cost on a lake, dry: against only reading it, and against decoding and encoding.

Nothing is written into the lake. Not here: the goals and their rows (bench/, beside the package).
"""
