from __future__ import annotations

import errno

import pyarrow as pa
import pytest

from onerec.data.source.retry import Attempts, Patience, is_passing, persist

OF_S3 = "When {} key 'x/a.parquet' in bucket 'bucket': AWS Error {}"
PASSING = [
    OSError(OF_S3.format("listing objects under", text))
    for text in (
        "NETWORK_CONNECTION during ListObjectsV2 operation: curlCode: 56, Failure when receiving data from "
        "the peer; Details: Recv failure: Connection reset by peer",
        "NETWORK_CONNECTION during HeadObject operation: curlCode: 7, Could not connect to server",
        "NETWORK_CONNECTION during HeadObject operation: curlCode: 28, Timeout was reached",
        "NETWORK_CONNECTION during HeadObject operation: curlCode: 52, Server returned nothing",
        "SLOW_DOWN during ListObjectsV2 operation: m (Request ID: r)",
        "INTERNAL_FAILURE during ListObjectsV2 operation: m (Request ID: r)",
        "SERVICE_UNAVAILABLE during ListObjectsV2 operation: m (Request ID: r)",
        "REQUEST_TIMEOUT during ListObjectsV2 operation: m (Request ID: r)",
        "UNKNOWN (HTTP status 503) during HeadObject operation: No response body.",
        "UNKNOWN (HTTP status 500) during HeadObject operation: No response body.",
        "UNKNOWN (HTTP status 429) during HeadObject operation: No response body.",
    )
] + [
    OSError(255, "HDFS list directory failed. Detail: [errno 255] Unknown error 255"),
    OSError("HDFS read failed. Detail: [errno 255] Unknown error 255"),
    OSError("google::cloud::Status(UNAVAILABLE: Retry policy exhausted in GetObjectMetadata)"),
    OSError(errno.EIO, "Error reading bytes from file"),
    OSError(errno.ESTALE, "Stale file handle"),
    TimeoutError(errno.ETIMEDOUT, "Connection timed out"),
    ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
]
LASTING = [
    FileNotFoundError(errno.ENOENT, "Opening HDFS file '/nope' failed. Detail: [errno 2] No such file"),
    PermissionError(errno.EACCES, "HDFS list directory failed. Detail: [errno 13] Permission denied"),
    OSError(errno.EROFS, "Read-only file system"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError("HDFS connection failed"),
    OSError("Unable to load libjvm"),
    OSError("could not verify page integrity, CRC checksum verification failed for page_ordinal 0"),
    OSError("Couldn't deserialize thrift: TProtocolException: Invalid data"),
    OSError("google::cloud::Status(NOT_FOUND: Permanent error in GetObjectMetadata)"),
    OSError("google::cloud::Status(PERMISSION_DENIED: Permanent error in GetObjectMetadata)"),
    pa.ArrowInvalid("Parquet magic bytes not found in footer. AWS Error SLOW_DOWN"),
    ValueError("timed out"),
] + [
    OSError(OF_S3.format("listing objects under", text))
    for text in (
        "NO_SUCH_BUCKET during ListObjectsV2 operation:  (Request ID: tx0)",
        "ACCESS_DENIED during HeadObject operation: No response body.",
        "SIGNATURE_DOES_NOT_MATCH during ListObjectsV2 operation:  (Request ID: tx0)",
        "INVALID_ACCESS_KEY_ID during ListObjectsV2 operation:  (Request ID: tx0)",
        "REQUEST_TIME_TOO_SKEWED during ListObjectsV2 operation: m (Request ID: r)",
        "UNKNOWN (HTTP status 301) during HeadObject operation: No response body.",
        "UNKNOWN (HTTP status 400) during ListObjectsV2 operation: ExpiredToken",
    )
]


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_what_may_pass_is_tried_again(fault):
    assert is_passing(fault)


@pytest.mark.parametrize("fault", LASTING, ids=str)
def test_what_stays_is_told_at_once(fault):
    assert not is_passing(fault)


class Clock:
    """A clock that only sleeping, and tries that take long, move on."""

    def __init__(self):
        self.now, self.slept = 100.0, []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def patience(self, *, share=1.0, **options):
        return Patience(sleep=self.sleep, clock=lambda: self.now, share=lambda: share, **options)


def failing(times, *, fault=PASSING[0], clock=None, seconds=0.0):
    """An action that fails so often, each time after so many seconds, then succeeds."""
    tries = []

    def act():
        tries.append(None)
        if clock is not None:
            clock.now += seconds
        if len(tries) <= times:
            raise fault
        return "done"

    return act, tries


def test_pauses_double_up_to_the_last_try(capsys):
    clock = Clock()
    act, tries = failing(4)
    assert persist(act, what="s3://b/x", patience=clock.patience()) == "done"
    assert (len(tries), clock.slept) == (5, [2.0, 4.0, 8.0, 16.0])
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 4
    assert told[0].startswith("s3://b/x: When listing objects")
    assert told[0].endswith("; try 2 of 5 in 2.0 s")


def test_pauses_are_jittered_in_full():
    clock = Clock()
    persist(failing(2)[0], what="x", patience=clock.patience(share=0.25))
    assert clock.slept == [0.5, 1.0]
    drawn = {Patience().share() for _ in range(50)}
    assert len(drawn) == 50
    assert min(drawn) < 0.5 < max(drawn) <= 1.0


def test_the_fifth_failure_is_raised_as_it_is():
    act, tries = failing(9)
    with pytest.raises(OSError, match="Connection reset by peer"):
        persist(act, what="x", patience=Clock().patience(total_seconds=1e9))
    assert len(tries) == 5


def test_no_try_begins_after_the_time_is_over():
    clock = Clock()
    act, tries = failing(9, clock=clock, seconds=20.0)
    with pytest.raises(OSError, match="Connection reset by peer"):
        persist(act, what="x", patience=clock.patience())
    assert (len(tries), clock.slept) == (2, [2.0])


def test_what_stays_is_tried_once_and_nothing_is_told(capsys):
    clock = Clock()
    act, tries = failing(1, fault=LASTING[0])
    with pytest.raises(FileNotFoundError):
        persist(act, what="x", patience=clock.patience())
    assert (len(tries), clock.slept, capsys.readouterr().err) == (1, [], "")


def test_tries_begin_anew_once_it_got_further():
    clock = Clock()
    attempts = Attempts("x", clock.patience())
    for _ in range(12):
        attempts.pause_or_raise(PASSING[0])
        attempts.got_further()
    assert clock.slept == [2.0] * 12
