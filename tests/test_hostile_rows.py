"""Names of files and sources in data run no command, lead nowhere, and cannot control a terminal."""

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq

from onerec.progress import say
from tests.tiny_run import environment, write_manifest

FILE = "$(touch canary);`touch canary`\x1b[2J\n-oProxyCommand=touch canary.parquet"
SOURCES = ("\x1b]0;title\x07", "../../../../escape $(touch canary)")


def make_hostile(folder, programme, *, is_sound):
    """A manifest whose rows have hostile names; where they are not sound, all are told of."""
    (folder / "rows").mkdir()
    table = pa.concat_tables([pq.read_table(path) for path in sorted((programme / "data").glob("*.parquet"))])
    columns = {name: table[name].to_pylist() for name in table.column_names}
    columns["source"] = [SOURCES[row % 2] for row in range(len(table))]
    if not is_sound:
        columns["uuid"] = [f"\x1b[31m{row}" for row in range(len(table))]
    pq.write_table(pa.table(columns), folder / "rows" / FILE)
    path = write_manifest(folder, programme)
    path.write_text(path.read_text().replace(f"{programme}/data", "rows"))


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


def test_looking_at_the_rows_obeys_none_of_their_names(tiny_programme, tmp_path):
    make_hostile(tmp_path, tiny_programme, is_sound=True)
    ended = call(tmp_path, "check", "tiny.toml", "--json")

    assert ended.returncode == 0
    figures = [finding["figures"] for finding in json.loads(ended.stdout) if "figures" in finding]
    assert [set(told["sources"]) for told in figures if "sources" in told] == [set(SOURCES)]


def test_telling_of_bad_rows_obeys_none_of_them_either(tiny_programme, tmp_path):
    make_hostile(tmp_path, tiny_programme, is_sound=False)
    ended = call(tmp_path, "preview", "tiny.toml", "--dataset", "mixed")

    assert ended.returncode == 6
    assert r"touch canary`\x1b[2J" in ended.stderr


def test_a_line_of_the_trainer_holds_nothing_that_a_terminal_obeys(capsys):
    say("tab\tstays\nand lines; \x1b[2J\x07\x9b\u202e文字 do not", is_warning=True)

    assert capsys.readouterr().err == "tab\tstays\nand lines; \\x1b[2J\\x07\\x9b\\u202e文字 do not\n"
