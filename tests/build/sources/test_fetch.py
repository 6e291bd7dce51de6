import dataclasses
import functools
import hashlib
import http.server
import io
import threading
import zipfile

import pytest

from onerec.build.sources import fetch
from onerec.build.sources.movielens import ML_1M, ML_100K
from onerec.errors import ConfigError, DataError
from tests.build import films
from tests.build.sources.same import assert_same

SMALL = (films.items(20), films.users(5), films.events(5, 20, each=6))
NOBODY = dataclasses.replace(ML_100K, url="http://127.0.0.1:9/ml-100k.zip")


@pytest.fixture(scope="module")
def whole():
    return films.whole_size()


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """pip has no index, unless a test says otherwise."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)


def zipped(files, prefix):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(prefix + name, content)
    return memory.getvalue()


@pytest.fixture
def grouplens(tmp_path, whole):
    """MovieLens-100K at a web server, the digest of its archive being the one that is expected."""
    content = zipped(films.grouplens_files(*whole), "ml-100k/")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "ml-100k.zip").write_bytes(content)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path / "web")
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield dataclasses.replace(
        ML_100K,
        url=f"http://127.0.0.1:{server.server_port}/ml-100k.zip",
        md5=hashlib.md5(content).hexdigest(),
    )
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def pypi(tmp_path, monkeypatch, whole):
    """A folder where pip finds a package of the right name with the data in it."""
    metadata = {
        "METADATA": "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    files = {f"recbole/dataset_example/ml-100k/{n}": c for n, c in films.recbole_files(*whole).items()}
    files |= {f"recbole-1.2.1.dist-info/{name}": text.encode() for name, text in metadata.items()}
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "recbole-1.2.1-py3-none-any.whl").write_bytes(zipped(files, ""))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))


@pytest.mark.parametrize("files_of", [films.grouplens_files, films.recbole_files])
def test_a_given_folder_is_searched_in_its_depth(tmp_path, files_of):
    films.write(files_of(*SMALL), tmp_path / "somewhere" / "below")
    found = fetch.find(ML_100K, str(tmp_path), cache_dir=tmp_path / "cache", download=False)
    assert_same(found, fetch.Found(films.raw(*SMALL), str(tmp_path)))


@pytest.mark.parametrize("files_of", [films.grouplens_files, films.recbole_files])
def test_a_given_archive_is_read_without_being_unpacked(tmp_path, files_of):
    archive = tmp_path / "data.zip"
    archive.write_bytes(zipped(files_of(*SMALL) | {"README": b"hello"}, "a/b/"))
    found = fetch.find(ML_100K, str(archive), cache_dir=tmp_path / "cache", download=False)
    assert_same(found.raw, films.raw(*SMALL))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.zip"]


def test_a_given_path_that_holds_nothing_is_an_error_even_when_the_cache_has_the_data(tmp_path, whole):
    films.write(films.recbole_files(*whole), tmp_path / "cache" / "movielens-100k")
    (tmp_path / "half.zip").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "empty").mkdir()
    for name, reason in [
        ("missing", "nothing of that name"),
        ("half.zip", "whole zip"),
        ("empty", "has no u.data"),
    ]:
        with pytest.raises(ConfigError, match=reason):
            fetch.find(ML_100K, str(tmp_path / name), cache_dir=tmp_path / "cache", download=False)


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_FILE_BYTES", 50)
    (tmp_path / "big.zip").write_bytes(zipped(films.grouplens_files(*SMALL), ""))
    with pytest.raises(ConfigError, match="would take"):
        fetch.find(ML_100K, str(tmp_path / "big.zip"), cache_dir=tmp_path, download=False)


def test_grouplens_comes_first_and_its_files_are_kept_for_the_next_run(tmp_path, grouplens, pypi, whole):
    cache = tmp_path / "cache"
    first = fetch.find(grouplens, None, cache_dir=cache, download=True)
    assert_same(first, fetch.Found(films.raw(*whole), grouplens.url))
    assert "not to be redistributed" in (cache / "movielens-100k" / "LICENCE.txt").read_text(encoding="utf-8")
    second = fetch.find(NOBODY, None, cache_dir=cache, download=False)
    assert_same(second, fetch.Found(films.raw(*whole), str(cache / "movielens-100k")))


def test_pypi_answers_when_grouplens_gives_another_file(tmp_path, grouplens, pypi, whole):
    (tmp_path / "web" / "ml-100k.zip").write_bytes(b"<html>please log in</html>")
    found = fetch.find(grouplens, None, cache_dir=tmp_path / "cache", download=True)
    assert_same(found, fetch.Found(films.raw(*whole), "PyPI package recbole==1.2.1"))
    assert_same(fetch.find(NOBODY, None, cache_dir=tmp_path / "cache", download=False).raw, found.raw)


def test_a_damaged_cache_is_passed_over_and_replaced(tmp_path, grouplens, whole):
    cached = films.write(films.grouplens_files(*SMALL), tmp_path / "cache" / "movielens-100k")
    found = fetch.find(grouplens, None, cache_dir=tmp_path / "cache", download=True)
    assert found.origin == grouplens.url
    assert (cached / "u.data").read_bytes() == films.grouplens_files(*whole)["u.data"]


def test_a_cache_that_cannot_be_written_does_not_stop_the_run(tmp_path, grouplens, whole, capsys):
    (tmp_path / "cache").write_text("a file where the folder would be")
    found = fetch.find(grouplens, None, cache_dir=tmp_path / "cache", download=True)
    assert_same(found.raw, films.raw(*whole))
    assert "cannot be written" in capsys.readouterr().err


def test_found_nowhere_tells_every_place_tried_and_what_to_do(tmp_path):
    with pytest.raises(DataError) as told:
        fetch.find(NOBODY, None, cache_dir=tmp_path / "cache", download=True)
    message = str(told.value)
    places = [
        str(tmp_path / "cache" / "movielens-100k"),
        NOBODY.url,
        "PyPI package recbole==1.2.1: pip: ERROR",
    ]
    assert [place in message for place in places] == [True] * 3
    assert "name it as path" in message


def test_without_downloads_only_the_cache_is_tried(tmp_path):
    with pytest.raises(DataError) as told:
        fetch.find(NOBODY, None, cache_dir=tmp_path, download=False)
    assert "PyPI" not in str(told.value)


def test_the_million_is_in_no_package(tmp_path):
    nobody = dataclasses.replace(ML_1M, url="http://127.0.0.1:9/ml-1m.zip")
    with pytest.raises(DataError) as told:
        fetch.find(nobody, None, cache_dir=tmp_path, download=True)
    assert str(told.value) == (
        "MovieLens-1M was not found; tried\n"
        f"  {tmp_path}/movielens-1m: there is nothing of that name\n"
        "  http://127.0.0.1:9/ml-1m.zip: no answer (<urlopen error [Errno 111] Connection refused>)\n"
        "put ml-1m.zip (or the folder in it, or recbole's files) somewhere and name it as path, "
        "or allow downloads with a network"
    )


@pytest.mark.parametrize(
    ("environment", "ending"),
    [
        ({"XDG_CACHE_HOME": "/x"}, "/x/onerec"),
        ({"XDG_CACHE_HOME": ""}, "/.cache/onerec"),
        ({}, "/.cache/onerec"),
    ],
)
def test_the_cache_is_where_the_person_keeps_caches(environment, ending):
    assert str(fetch.default_cache_dir(environment)).endswith(ending)
