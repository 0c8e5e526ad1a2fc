"""What every TableEngine must do, where Iceberg's own library in Spark's driver commits."""

from __future__ import annotations

from tests.contracts.test_table_engine import (  # noqa: F401  the same tests, on another place
    test_a_file_that_is_gone_is_missing,
    test_a_new_file_is_there_only_once_it_is_closed_whole,
    test_a_replaced_file_is_never_replaced_again,
    test_a_table_is_made_once_and_its_head_tells_all,
    test_a_version_1_table_is_replaced_too,
    test_after_a_flush_no_live_manifest_names_what_left,
    test_appends_and_replacements_side_by_side_lose_nothing,
    test_every_table_is_listed_in_nested_namespaces_too,
    test_exactly_the_named_snapshots_expire_and_no_file_goes,
    test_many_files_are_replaced_in_one_marked_snapshot,
    test_overwrite_wants_the_head_that_was_read,
    test_restore_puts_files_back_in_one_snapshot,
    test_rows_come_back_as_flat_columns_and_null_lists_stay_null,
    test_the_metadata_log_forgets_files_that_list_an_expired_snapshot,
)
