"""What each stage of a run does, over any journal: the acts, the plan, the search, the reports.

It knows the lake and the audit room; no database, no broker, no HTTP, and not the order of stages.
"""
