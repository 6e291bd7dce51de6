"""Real servers, built and started here and stopped afterwards; a test is skipped where a part is missing.

What was built is kept in `onerec-testbeds` of the user's cache folder, or in the folder TESTBEDS_DIR.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyarrow import fs

from tests.data.conftest import make_config, parquet_dir, tokenizer_dir  # noqa: F401 - fixtures
from tests.testbeds.proxy import Proxy

HERE = Path(__file__).parent
GCS_PORT, HDFS_PORT, S3_PORT = 19023, 19000, 8000


@dataclass(frozen=True)
class Storage:
    """A running server and how to name what is in it."""

    filesystem: fs.FileSystem
    root: str
    """Folder within the file system, new for each test."""
    url: Callable[[str], str]
    """URL of a path below that folder."""
    fail: Callable[[], None]
    """Ends the server at once."""
    recover: Callable[[], None]
    """Starts it again, with all that it held."""

    def put(self, source: Path, name: str) -> str:
        """Copy a local file; returns its URL."""
        path = f"{self.root}/{name}"
        self.filesystem.create_dir(path.rpartition("/")[0])
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(source.read_bytes())
        return self.url(name)


def need(*programs: str, packages: str) -> None:
    """Skip unless all the programs are there."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}; Debian packages: {packages}")


def free(port: int) -> None:
    """Skip when somebody listens on a port already."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            pytest.skip(f"port {port} is in use")


def script(path: Path, *arguments: str, **env: str) -> None:
    """Run a script of a testbed; skip with its last line when it cannot do its work."""
    done = subprocess.run(
        [path, *arguments],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"{path.name} {' '.join(arguments)} failed: {(done.stdout.splitlines() or [''])[-1]}")


@pytest.fixture(scope="session")
def testbeds_dir() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("TESTBEDS_DIR") or cache / "onerec-testbeds")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def hdfs_home(testbeds_dir: Path) -> Iterator[Path]:
    """A real HDFS, running, and the environment with which pyarrow finds its client."""
    need("java", "javac", "gcc", "apt-get", packages="openjdk-17-jdk-headless gcc")
    free(HDFS_PORT)
    home = testbeds_dir / "hdfs"
    if not (home / "libhdfs.so").is_file():
        script(HERE / "hdfs" / "build.sh", str(home))
    with pytest.MonkeyPatch.context() as patch:
        javac = Path(shutil.which("javac") or "").resolve()
        jars = sorted(map(str, (home / "jars").glob("*.jar")))
        patch.setenv("JAVA_HOME", str(javac.parent.parent))
        patch.setenv("HADOOP_CONF_DIR", str(home / "conf"))
        patch.setenv("ARROW_LIBHDFS_DIR", str(home))
        patch.setenv("CLASSPATH", ":".join([str(home / "conf"), *jars]))
        script(home / "minihdfs.sh", "format")
        script(home / "minihdfs.sh", "start")
        yield home
        script(home / "minihdfs.sh", "stop")


def _number(numbers: list[int] = [0]) -> int:  # noqa: B006 - counts the tests of this process
    numbers[0] += 1
    return numbers[0]


@pytest.fixture
def hdfs(hdfs_home: Path) -> Storage:
    """A new folder of a real HDFS, named by its NameNode."""
    return _hdfs(hdfs_home, f"hdfs://127.0.0.1:{HDFS_PORT}/warehouse")


@pytest.fixture
def viewfs(hdfs_home: Path) -> Storage:
    """A new folder of a real HDFS, named through a mount table."""
    return _hdfs(hdfs_home, "viewfs://onerec/data")


def _hdfs(hdfs_home: Path, place: str) -> Storage:
    folder = f"test-{_number()}"
    control = home_script(hdfs_home / "minihdfs.sh")
    return Storage(
        filesystem=fs.HadoopFileSystem("127.0.0.1", HDFS_PORT),
        root=f"/warehouse/{folder}",
        url=lambda name: f"{place}/{folder}/{name}".rstrip("/"),
        fail=lambda: control("kill"),
        recover=lambda: control("start"),
    )


def home_script(path: Path, **env: str) -> Callable[[str], None]:
    """A script by its verb."""
    return lambda verb: script(path, verb, **env)


@pytest.fixture(scope="session")
def s3_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], None]]:
    """A real S3 server, running; the script that controls it."""
    programs = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "monmaptool")
    need(*programs, packages="radosgw ceph-mon ceph-osd ceph-mgr ceph-common")
    free(S3_PORT)
    control = home_script(HERE / "s3" / "minirgw.sh", CEPH_MINI=str(tmp_path_factory.mktemp("ceph") / "home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        control("start")
        yield control
        control("stop")


@pytest.fixture
def s3(s3_gateway: Callable[[str], None]) -> Storage:
    """A new bucket of a real S3 server."""
    filesystem = fs.S3FileSystem(
        access_key="test",
        secret_key="testsecret",
        scheme="http",
        endpoint_override=f"127.0.0.1:{S3_PORT}",
        allow_bucket_creation=True,
    )
    bucket = f"bucket-{_number()}"
    filesystem.create_dir(bucket)
    return Storage(
        filesystem=filesystem,
        root=bucket,
        url=lambda name: s3_url(bucket, name, port=S3_PORT),
        fail=lambda: s3_gateway("kill"),
        recover=lambda: s3_gateway("again"),
    )


def s3_url(bucket: str, name: str, *, port: int, secret: str = "testsecret") -> str:
    """URL of an object behind a port of this machine."""
    return f"s3://test:{secret}@{bucket}/{name}?scheme=http&endpoint_override=127.0.0.1:{port}"


@pytest.fixture
def s3_proxy(s3: Storage) -> Iterator[Proxy]:
    """What stands between the reader and the S3 server."""
    proxy = Proxy(S3_PORT)
    yield proxy
    proxy.close()


@pytest.fixture
def gcs(tmp_path: Path) -> Iterator[Storage]:
    """An emulator of Google's storage: PyPI's gcp-storage-emulator, here or on the PATH."""
    need("gcp-storage-emulator", packages="none; pip install gcp-storage-emulator")
    free(GCS_PORT)
    command = ["gcp-storage-emulator", "start", "--in-memory", "--default-bucket=bucket"]
    options = ["--host=127.0.0.1", f"--port={GCS_PORT}"]
    with (tmp_path / "gcs.log").open("wb") as log:
        server = subprocess.Popen([*command, *options], stdout=log, stderr=log)
    wait_for(GCS_PORT, server)
    server_options = f"?scheme=http&endpoint_override=127.0.0.1:{GCS_PORT}"
    filesystem, _ = fs.FileSystem.from_uri(f"gs://anonymous@bucket/{server_options}")
    yield Storage(
        filesystem=filesystem,
        root="bucket",
        url=lambda name: f"gs://anonymous@bucket/{name}{server_options}",
        fail=server.kill,
        recover=lambda: pytest.fail("the emulator forgets what it held"),
    )
    server.terminate()
    server.wait(timeout=30)


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Return once a server listens; skip when it ended instead."""
    for _ in range(150):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.2)
    server.kill()
    pytest.skip("the server does not start")


@pytest.fixture(params=["hdfs", "viewfs", "s3", "gcs"])
def storage(request: pytest.FixtureRequest) -> Storage:
    """Each kind of storage in turn."""
    found: Storage = request.getfixturevalue(request.param)
    return found


def soon(action: Callable[[], None], seconds: float) -> threading.Timer:
    """Do something a little later, while the test goes on."""
    timer = threading.Timer(seconds, action)
    timer.start()
    return timer
