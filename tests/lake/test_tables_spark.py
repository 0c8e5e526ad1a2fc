"""Tables as Spark 3.5.6 with Iceberg 1.10.2 wrote them (tests/vectors/spark): erased right, or
refused by name before anything changes.
"""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.datasets import Dataset
from app.domain.errors import UnsupportedTableError
from app.domain.receipts import WorkState
from app.lake.tables import plan_table
from tests.lake.foreign import by_spark, dataset, without
from tests.lake.people_table import ONE, blotted

ERASED = {
    "deletes": dataset("lake.deletes"),
    "evolved1": dataset("lake.evolved1", owner="customer"),
    "evolved2": dataset("lake.evolved2", owner="customer"),
    "odd": dataset("lake.odd", owner="user.id", anon="ANON Id"),
    "statistics": dataset("lake.statistics"),
    "sorted": dataset("lake.sorted"),
    "void": dataset("lake.void"),
}


@pytest.mark.parametrize("name", ERASED)
def test_a_person_leaves_a_table_of_sparks_and_everybody_else_stays(
    name: str, place_s3: Any
) -> None:
    rules = ERASED[name]
    (owner,) = rules.roles.owner
    table = by_spark(place_s3, name)
    before = table.rows()
    assert table.leftovers()
    work, findings = table.gone(rules)
    assert work.state is WorkState.PURGED
    assert findings == []
    assert blotted(table.rows(), ONE) == without(before, owner=owner)
    assert table.leftovers() == []
