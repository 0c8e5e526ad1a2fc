"""The document on limits and the reports say the same."""

from __future__ import annotations

from pathlib import Path

from app.audit.report_text import LIMITS

DOCUMENT = Path(__file__).parents[2] / "docs" / "limits.md"


def test_every_limit_of_a_report_stands_in_the_document_word_for_word() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [limit for limit in LIMITS if f"- {limit}\n" not in text] == []
