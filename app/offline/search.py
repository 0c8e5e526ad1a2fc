"""The verifier over a whole lake: after a run (`look_again`) and on its own (`search_lake`).

Gathers what the verifier needs; what it finds and how is app.lake.verify.
"""

from __future__ import annotations
