"""Open the file system of a path or URL: local, hdfs://, viewfs://, s3://, gs://, each once per process.

A URL's path is taken letter by letter, as the tools of S3 and Hadoop do; only file:// is percent-encoded.
"""

from __future__ import annotations

import os
import posixpath
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from pyarrow import fs

from onerec.data.source.retry import PATIENCE, Patience, first_line, persist
from onerec.errors import DataError

LOCAL = ("", "file")
GOOGLE = ("gs", "gcs")
GOOGLE_SECONDS = 10
BUCKETS = ("s3", *GOOGLE)
"""Schemes whose authority is the first part of the path within the file system."""
HADOOP = ("hdfs", "viewfs")
HADOOP_REMEDY = (
    "hdfs:// and viewfs:// need Hadoop's client: set JAVA_HOME, HADOOP_CONF_DIR, HADOOP_HOME or "
    "ARROW_LIBHDFS_DIR, and CLASSPATH to `hadoop classpath --glob`; see that the URL's host is right"
)
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?]*)(?P<rest>.*)", re.DOTALL)
_OPTIONS = re.compile(r"\?(\w+=[^&?]*(?:&\w+=[^&?]*)*)$", re.DOTALL)
_SPLIT_SECRET = re.compile(r"[^@/]*:[^@/]*[^@/0-9][^@/]*/[^@]*@", re.DOTALL)
_MISSING = re.compile("AWS Error NO_SUCH_(BUCKET|KEY)|No such file or directory '")
_Key = tuple[int, str, str, str]
_opened: dict[_Key, fs.FileSystem] = {}
_opening = threading.Lock()


@dataclass(frozen=True)
class Place:
    """A location taken apart; a local path has neither scheme nor authority nor options."""

    scheme: str
    authority: str
    """Host and port, bucket, or mount table; with user and password where the URL has them."""
    path: str
    """Path within the file system: for buckets it begins with the bucket, else with a slash."""
    options: str
    """What follows the ?, as key=value&key=value."""

    @property
    def host(self) -> str:
        """The authority without user and password."""
        return self.authority.rpartition("@")[2]

    def at(self, path: str) -> str:
        """The location of another path of the same file system."""
        if not self.scheme:
            return path
        if self.scheme in BUCKETS:
            path = path.removeprefix(self.host)
        if self.scheme == "file":
            path = quote(path)
        options = f"?{self.options}" if self.options else ""
        path = path.removeprefix(f"{self.scheme}://{self.host}")
        return f"{self.scheme}://{self.authority}/{path.lstrip('/')}{options}"

    def beside(self, name: str) -> str:
        """The location of a path that is relative to this one's folder."""
        joined = posixpath.join(posixpath.dirname(self.path), name)
        return self.at(posixpath.normpath(joined) if self.scheme else joined)


def place_of(location: str) -> Place:
    """Take a path or URL apart; raises DataError for a secret that cannot be told from the path.

    In a URL a ? begins options only where key=value follows, else it is a glob's.
    """
    found = _URL.fullmatch(location)
    if not found:
        return Place("", "", str(Path(location).absolute()), "")
    if _SPLIT_SECRET.match(location[found.start("authority") :]):
        raise DataError(
            f"{shown(location)}: the secret in it holds a slash; write %2F for it, or leave key and secret "
            "to the environment"
        )
    scheme, rest = found["scheme"].lower(), found["rest"]
    options = _OPTIONS.search(rest)
    path = rest[: options.start()] if options else rest
    place = Place(scheme, found["authority"], path or "/", options[1] if options else "")
    if scheme in BUCKETS:
        return Place(scheme, place.authority, f"{place.host}/{path.lstrip('/')}".rstrip("/"), place.options)
    return Place(scheme, place.authority, unquote(path), place.options) if scheme == "file" else place


def open_filesystem(location: str, *, patience: Patience = PATIENCE) -> tuple[fs.FileSystem, str]:
    """File system of a path or URL, and the path within it; raises DataError for an unusable URL."""
    place = place_of(location)
    # never used across a fork: neither the threads of an S3 client nor a Java machine survive one
    key = (os.getpid(), place.scheme, place.authority, place.options)
    with _opening:
        if key not in _opened:
            _opened[key] = _open(place, location, patience)
        return _opened[key], place.path


def _open(place: Place, location: str, patience: Patience) -> fs.FileSystem:
    if place.scheme in LOCAL:
        return fs.LocalFileSystem()
    if place.scheme in HADOOP:
        os.environ.setdefault("LIBHDFS_OPTS", "-Xrs")  # else Java takes Ctrl-C and SIGTERM for itself
    options = f"?{_patient(place)}" if _patient(place) else ""
    # without an authority Hadoop's own configuration says which name node it is
    default = place.scheme in HADOOP and not place.authority
    root = f"{place.scheme}://{place.authority}/{options}"
    try:
        if default:
            return persist(lambda: fs.HadoopFileSystem("default"), what=shown(location), patience=patience)
        return persist(lambda: fs.FileSystem.from_uri(root)[0], what=shown(location), patience=patience)
    except (OSError, ValueError) as fault:
        told = first_line(fault).replace(root, shown(root))
        remedy = HADOOP_REMEDY if place.scheme in HADOOP else "correct the URL or its access"
        raise DataError(f"{shown(location)}: cannot be opened: {told}; {remedy}") from fault


def _patient(place: Place) -> str:
    """Options of a place; Google's client would itself try for 15 minutes."""
    if place.scheme not in GOOGLE or "retry_limit_seconds" in place.options:
        return place.options
    return "&".join(filter(None, [place.options, f"retry_limit_seconds={GOOGLE_SECONDS}"]))


def is_url(location: str) -> bool:
    """Whether a location has a scheme, such as hdfs:// or s3://."""
    return bool(_URL.fullmatch(location))


def shown(location: str) -> str:
    """A location for people: a URL loses its user, password and options."""
    found = _URL.fullmatch(location)
    if not found:
        return location
    after = location[found.start("authority") :]
    split_secret = _SPLIT_SECRET.match(after)
    host = found["authority"].rpartition("@")[2]
    bare = after[split_secret.end() :] if split_secret else host + found["rest"]
    return f"{found['scheme']}://{_OPTIONS.sub('', bare)}"


def is_missing(fault: OSError) -> bool:
    """Whether there is no such file, folder or bucket; not all clients say so by number."""
    return isinstance(fault, FileNotFoundError) or bool(_MISSING.search(str(fault)))


def info_of(filesystem: fs.FileSystem, path: str) -> fs.FileInfo:
    """What is at a path; raises OSError where the file system cannot tell.

    Arrow's HDFS says "not found" also when no NameNode answers, so there the path is opened to make sure.
    """
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.NotFound and isinstance(filesystem, fs.HadoopFileSystem):
        try:
            filesystem.open_input_file(path).close()
        except FileNotFoundError:
            return info
    return info
