from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from onerec.data.source import read as read_module
from onerec.data.source.read import records
from onerec.data.source.validate import row_from
from onerec.errors import DataError
from tests.data.flaky import RESET, flaky_filesystem, hurried, url
from tests.data.rows import sample_rows, write_rows
from tests.data.source.test_read import contents

FAR_APART = 12
"""Reads, more than a row group takes."""
MANY_PAGES = {"data_page_size": 500, "write_batch_size": 10, "use_dictionary": False, "compression": "none"}


@pytest.fixture
def small_buffers(monkeypatch):
    """Reads of a few pages, so that a row group takes many."""
    monkeypatch.setattr(read_module, "REMOTE_BUFFER_BYTES", 1000)


def test_a_connection_that_breaks_at_any_read_loses_and_repeats_no_row(tmp_path, small_buffers):
    written = sample_rows(300)
    path = write_rows(tmp_path / "a.parquet", written, row_group_size=150, **MANY_PAGES)
    with flaky_filesystem() as flaky:
        list(records(url(path)))
        reads = flaky.asked.count("read")
        for broken in range(reads):
            left = [broken]

            def fail(position, left=left):
                left[0] -= 1
                if left[0] == -1:
                    raise RESET

            flaky.before_read = fail
            read = list(records(url(path), most_rows=20, patience=hurried()))
            assert left[0] < -1, "the fault was met, and reading went on"
            assert [record.row for record in read] == list(range(300))
            assert contents(map(row_from, read)) == contents(written)
    assert reads > 20


def test_a_connection_that_breaks_often_is_read_to_the_end_while_it_gets_further(tmp_path, small_buffers):
    path = write_rows(tmp_path / "a.parquet", sample_rows(3000), row_group_size=100, **MANY_PAGES)
    slept = []
    with flaky_filesystem() as flaky:

        def fail(position):
            if flaky.asked.count("read") % FAR_APART == 0:
                raise RESET

        flaky.before_read = fail
        read = list(records(url(path), most_rows=10, patience=hurried(slept)))
    assert [record.row for record in read] == list(range(3000))
    assert len(slept) > 5, "more often than it is tried without getting further"


def test_a_connection_that_breaks_again_and_again_is_told_after_five_tries(tmp_path):
    path = write_rows(tmp_path / "a.parquet", sample_rows(600), row_group_size=200)
    first = pq.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    slept = []
    with flaky_filesystem() as flaky:

        def fail(position):
            if position == first:
                raise RESET

        flaky.before_read = fail
        read = records(url(path), patience=hurried(slept))
        assert [next(read).row for _ in range(200)] == list(range(200))
        with pytest.raises(DataError, match=r"a\.parquet, row group 1: .*NETWORK_CONNECTION"):
            next(read)
    assert slept == [2.0, 4.0, 8.0, 16.0]


def test_a_file_replaced_between_two_tries_is_told(tmp_path):
    path = write_rows(tmp_path / "a.parquet", sample_rows(600), row_group_size=200)
    with flaky_filesystem() as flaky:
        read = records(url(path), patience=hurried())
        next(read)

        def replace(position):
            flaky.before_read = lambda position: None
            write_rows(path, sample_rows(400))
            raise RESET

        flaky.before_read = replace
        with pytest.raises(DataError, match=r"a\.parquet: was replaced while it was read; start again"):
            list(read)
