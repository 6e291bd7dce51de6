"""Names of files and sources in data run no command, lead nowhere, and cannot control a terminal."""

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onerec.progress import say
from tests.tiny_run import environment, write_manifest

FILE = "$(touch canary);`touch canary`\x1b[2J\n-oProxyCommand=touch canary.parquet"
SOURCES = ("\x1b]0;title\x07", "../../../../escape $(touch canary)")


@pytest.fixture(scope="module", params=["sound", "rejected"])
def hostile(request, tiny_programme, tmp_path_factory):
    """A manifest whose rows have hostile names; with `rejected` no row is sound, and all are told of."""
    folder = tmp_path_factory.mktemp("rows")
    (folder / "rows").mkdir()
    parts = [pq.read_table(path) for path in sorted((tiny_programme / "data").glob("*.parquet"))]
    table = pa.concat_tables(parts)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    columns["source"] = [SOURCES[row % 2] for row in range(len(table))]
    if request.param == "rejected":
        columns["uuid"] = [f"\x1b[31m{row}" for row in range(len(table))]
    pq.write_table(pa.table(columns), folder / "rows" / FILE)
    path = write_manifest(folder, tiny_programme)
    path.write_text(path.read_text().replace(f"{tiny_programme}/data", "rows"))
    return folder, request.param == "sound"


def call(folder, *arguments):
    ended = subprocess.run(
        [sys.executable, "-m", "runner", *arguments],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    shown = ended.stdout + ended.stderr
    assert shown == "".join(mark for mark in shown if mark.isprintable() or mark in "\n\t")
    assert list(folder.rglob("canary*")) == []
    return ended


def test_looking_at_the_rows_obeys_none_of_their_names(hostile):
    folder, is_sound = hostile
    ended = call(folder, "check", "tiny.toml", "--json")

    assert ended.returncode == (0 if is_sound else 3)
    told = next(finding for finding in json.loads(ended.stdout) if "sources" in finding.get("figures", ()))
    assert (SOURCES[0] in told["figures"]["sources"]) == is_sound


def test_preview_obeys_none_of_them_either(hostile):
    folder, is_sound = hostile
    ended = call(folder, "preview", "tiny.toml", "--dataset", "mixed")

    assert ended.returncode == (0 if is_sound else 6)
    assert is_sound or r"\x1b[2J" in ended.stderr


def test_a_line_of_the_trainer_holds_nothing_that_a_terminal_obeys(capsys):
    say("tab\tstays\nand lines; \x1b[2J\x07\x9b\u202e文字 do not", is_warning=True)

    assert capsys.readouterr().err == "tab\tstays\nand lines; \\x1b[2J\\x07\\x9b\\u202e文字 do not\n"
