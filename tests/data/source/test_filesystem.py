from __future__ import annotations

import os

import pytest
from pyarrow import fs

from onerec.data.source import filesystem
from onerec.data.source.filesystem import Place, info_of, open_filesystem, place_of, shown
from onerec.errors import DataError

S3 = "s3://key:secret@bucket{}?scheme=http&endpoint_override=127.0.0.1:1"


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("s3://bucket/a/b.parquet", Place("s3", "bucket", "bucket/a/b.parquet", "")),
        ("s3://bucket/", Place("s3", "bucket", "bucket", "")),
        (
            "s3://k:s@bucket/a?region=x&scheme=http",
            Place("s3", "k:s@bucket", "bucket/a", "region=x&scheme=http"),
        ),
        ("s3://bucket/part-?.parquet", Place("s3", "bucket", "bucket/part-?.parquet", "")),
        ("s3://bucket/[ab]?*.parquet?region=x", Place("s3", "bucket", "bucket/[ab]?*.parquet", "region=x")),
        ("s3://bucket/day=1/x?", Place("s3", "bucket", "bucket/day=1/x?", "")),
        ("s3://bucket/a%20b c", Place("s3", "bucket", "bucket/a%20b c", "")),
        ("gs://bucket/a", Place("gs", "bucket", "bucket/a", "")),
        ("hdfs://host:9000/a/b", Place("hdfs", "host:9000", "/a/b", "")),
        ("hdfs:///a?b", Place("hdfs", "", "/a?b", "")),
        ("viewfs://mount/data", Place("viewfs", "mount", "/data", "")),
        ("file:///a%20b", Place("file", "", "/a b", "")),
        ("/a/b?c=d", Place("", "", "/a/b?c=d", "")),
    ],
)
def test_a_location_is_taken_apart_and_put_together_again(location, place):
    assert place_of(location) == place
    assert place.at(place.path) == location


@pytest.mark.parametrize(
    ("location", "name", "wanted"),
    [
        ("s3://k:s@bucket/a/list.json?region=x", "../b/c.parquet", "s3://k:s@bucket/b/c.parquet?region=x"),
        ("s3://bucket/list.json", "c.parquet", "s3://bucket/c.parquet"),
        ("hdfs://host:9000/a/list.json", "./c.parquet", "hdfs://host:9000/a/c.parquet"),
        ("hdfs://host:9000/a/list.json", "/c.parquet", "hdfs://host:9000/c.parquet"),
        ("/a/list.json", "c.parquet", "/a/c.parquet"),
    ],
)
def test_relative_names_stand_beside_their_list(location, name, wanted):
    assert place_of(location).beside(name) == wanted


@pytest.mark.parametrize("location", [S3.format("/x"), "s3://key:se/cr/et@bucket/x", "s3://key@bucket/x"])
def test_what_is_shown_holds_no_secret(location):
    assert shown(location) == "s3://bucket/x"


def test_a_secret_with_a_slash_is_told_with_the_way_to_write_it():
    with pytest.raises(DataError, match=r"^s3://bucket/x: the secret in it holds a slash; write %2F"):
        open_filesystem("s3://key:se/cret@bucket/x")


@pytest.mark.parametrize("location", ["s3://bucket/a:b/c@d", "hdfs://host:9000/a/b@c"])
def test_a_path_with_an_at_sign_is_no_secret(location):
    assert shown(location) == location


def test_each_file_system_is_opened_once_per_process_and_options(monkeypatch):
    opened = []
    monkeypatch.setattr(filesystem, "_opened", {})
    monkeypatch.setattr(
        filesystem, "_open", lambda place, location, patience: opened.append(location) or object()
    )
    first, path = open_filesystem(S3.format("/a"))
    second, _ = open_filesystem(S3.format("/b"))
    other, _ = open_filesystem(S3.format("/a").replace("http&", "https&"))
    assert (first is second, first is other, path, len(opened)) == (True, False, "bucket/a", 2)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert open_filesystem(S3.format("/a"))[0] is not first


@pytest.mark.parametrize(
    "location", ["s3://k:secret@bucket/x?nonsense=1", "nope://k:secret@host/x", "s3://k:secret@b^/x"]
)
def test_a_url_that_cannot_be_used_is_told_without_its_secret(location):
    with pytest.raises(DataError, match=r"cannot be opened: .*; correct the URL") as told:
        open_filesystem(location)
    assert "secret" not in str(told.value)


def test_hadoop_without_its_client_is_told_with_what_it_needs(monkeypatch):
    def broken(uri):
        raise OSError("Unable to load libjvm\ndlopen(/usr/lib/libjvm.so) failed")

    monkeypatch.setattr(filesystem, "_opened", {})
    monkeypatch.setattr(
        filesystem.fs, "FileSystem", type("FileSystem", (), {"from_uri": staticmethod(broken)})
    )
    with pytest.raises(
        DataError, match=r"^hdfs://host/x: cannot be opened: Unable to load libjvm; .*CLASSPATH"
    ) as told:
        open_filesystem("hdfs://host/x")
    assert "\n" not in str(told.value)


class Unreachable:
    """Arrow's HDFS while no NameNode answers: every path is "not found", opening one fails otherwise."""

    def __init__(self, fault):
        self.fault = fault

    def get_file_info(self, path):
        return fs.LocalFileSystem().get_file_info("/nowhere/at/all")

    def open_input_file(self, path):
        raise self.fault


def test_hdfs_is_not_believed_that_a_file_is_missing(monkeypatch):
    monkeypatch.setattr(filesystem.fs, "HadoopFileSystem", Unreachable)
    with pytest.raises(OSError, match="Unknown error 255"):
        info_of(Unreachable(OSError(255, "Unknown error 255")), "/x")
    assert info_of(Unreachable(FileNotFoundError(2, "no")), "/x").type == fs.FileType.NotFound
