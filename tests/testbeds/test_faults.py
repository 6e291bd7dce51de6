"""Faults of real servers: what passes is tried again, what stays is told at once."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from pyarrow import fs

from onerec.data.source.read import records
from onerec.data.source.retry import Patience
from onerec.data.source.sources import find_files
from onerec.errors import DataError
from tests.data.flaky import hurried
from tests.data.rows import sample_rows, write_rows
from tests.testbeds.conftest import S3_PORT, s3_url, soon
from tests.testbeds.proxy import SLOW_DOWN

pytestmark = pytest.mark.integration

UNJITTERED = Patience(share=lambda: 1.0)


def mending(proxy, slept):
    """Patience that mends the proxy in its first pause, when the S3 client's own tries have all failed."""

    def pause(seconds):
        slept.append(seconds)
        proxy.mend()

    return Patience(sleep=pause, share=lambda: 1.0)


@pytest.fixture
def large(tmp_path):
    """A file of twenty row groups and about ten megabytes, and its row numbers."""
    rows = [
        {"uuid": row.uuid, "source": "s", "segments": f'["{"x" * 900} {n}"]'}
        for n, row in enumerate(sample_rows(10_000))
    ]
    return write_rows(
        tmp_path / "large.parquet", rows, row_group_size=500, compression="none", use_dictionary=False
    )


def test_a_wrong_secret_is_told_without_another_try(s3, tmp_path, capsys):
    s3.put(write_rows(tmp_path / "a.parquet", sample_rows(1)), "a.parquet")
    for name in ("a.parquet", "*.parquet", ""):
        slept = []
        with pytest.raises(DataError, match=r"ACCESS_DENIED|SIGNATURE_DOES_NOT_MATCH") as told:
            find_files([s3_url(s3.root, name, port=S3_PORT, secret="wrong")], patience=hurried(slept))
        assert str(told.value).endswith("; check its access")
        assert "wrong" not in str(told.value)
        assert slept == []
    assert capsys.readouterr().err == ""


def test_a_missing_bucket_is_told_without_another_try(s3):
    slept = []
    with pytest.raises(DataError, match=r"^s3://nobody/x"):
        find_files([s3_url("nobody", "x/*.parquet", port=S3_PORT)], patience=hurried(slept))
    assert slept == []


@pytest.mark.parametrize("answer", [None, SLOW_DOWN], ids=["reset", "slow down"])
def test_listing_goes_on_after_the_s3_client_gave_up(s3, s3_proxy, tmp_path, answer, capsys):
    s3.put(write_rows(tmp_path / "a.parquet", sample_rows(5)), "a.parquet")
    s3_proxy.break_all(answer)
    slept = []
    [file] = find_files([s3_url(s3.root, "*.parquet", port=s3_proxy.port)], patience=mending(s3_proxy, slept))
    assert file.size == (tmp_path / "a.parquet").stat().st_size
    assert slept == [2.0]
    assert "; try 2 of 5 in 2.0 s\n" in capsys.readouterr().err


def test_reading_goes_on_in_the_middle_after_the_s3_client_gave_up(s3, s3_proxy, large):
    s3.put(large, "large.parquet")
    slept = []
    read = records(s3_url(s3.root, "large.parquet", port=s3_proxy.port), patience=mending(s3_proxy, slept))
    found = [next(read).values["uuid"] for _ in range(1700)]
    s3_proxy.break_all()
    found += [record.values["uuid"] for record in read]
    assert found == [row.uuid for row in sample_rows(10_000)]
    assert slept == [2.0]


def test_one_client_serves_all_files(s3, s3_proxy, tmp_path):
    path = write_rows(tmp_path / "a.parquet", sample_rows(1))
    for number in range(150):
        s3.put(path, f"many/{number}.parquet")
    assert len(find_files([s3_url(s3.root, "many", port=s3_proxy.port)])) == 150
    assert s3_proxy.connections <= 32


def test_a_gateway_that_is_killed_and_comes_back_loses_no_row(s3, large):
    read = records(s3.put(large, "large.parquet"), patience=UNJITTERED)
    found = [next(read).values["uuid"] for _ in range(1700)]
    s3.fail()
    back = soon(s3.recover, 1.0)
    found += [record.values["uuid"] for record in read]
    back.join()
    assert found == [row.uuid for row in sample_rows(10_000)]


def test_a_name_node_that_is_killed_is_waited_for_and_not_taken_for_an_empty_folder(hdfs, tmp_path, capfd):
    url = hdfs.put(write_rows(tmp_path / "a.parquet", sample_rows(5)), "day/a.parquet")
    whole = find_files([url])
    hdfs.fail()
    for source in (url, hdfs.url("day"), hdfs.url("day/*.parquet")):
        slept = []
        with pytest.raises(DataError, match=r"Unknown error 255"):
            find_files([source], patience=hurried(slept))
        assert slept == [2.0, 4.0, 8.0, 16.0]
    capfd.readouterr()
    back = soon(hdfs.recover, 0.5)
    assert find_files([hdfs.url("day")], patience=UNJITTERED) == whole
    back.join()
    assert "; try 2 of 5 in 2.0 s\n" in capfd.readouterr().err


def test_an_hdfs_that_is_killed_and_comes_back_loses_no_row(hdfs, large):
    read = records(hdfs.put(large, "large.parquet"), patience=UNJITTERED)
    found = [next(read).values["uuid"] for _ in range(1700)]
    hdfs.fail()
    back = soon(hdfs.recover, 0.5)
    found += [record.values["uuid"] for record in read]
    back.join()
    assert found == [row.uuid for row in sample_rows(10_000)]


def test_without_a_host_hadoops_own_configuration_says_which_name_node(hdfs, tmp_path):
    hdfs.put(write_rows(tmp_path / "a.parquet", sample_rows(5)), "a.parquet")
    [file] = find_files([f"hdfs://{hdfs.root}/a.parquet"])
    assert file.location == f"hdfs://{hdfs.root}/a.parquet"


INTERRUPTED = """
import signal, sys
from onerec.data.source.filesystem import open_filesystem
filesystem, path = open_filesystem(sys.argv[1])
filesystem.get_file_info(path)
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("told", flush=True)
"""


def test_a_java_machine_in_the_process_leaves_its_signals_alone(hdfs):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, hdfs.url("x")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("told\n", 0), signal.Signals(2)
    assert isinstance(hdfs.filesystem, fs.HadoopFileSystem)
