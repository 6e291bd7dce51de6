"""A hostfile is hosts and slots; every other spelling is explained."""

from pathlib import Path

import pytest

from runner.hosts import Host, HostfileError, parse_hostfile, read_hostfile


def test_hosts_come_in_the_order_of_the_file_with_their_slots():
    text = "# the cluster\nnode-b slots=8 # first rack\n\n 10.0.0.2\tslots=4 max_slots=8\nnode_a.example\n"

    assert parse_hostfile(text) == (Host("node-b", 8), Host("10.0.0.2", 4), Host("node_a.example", None))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("node1:8", "'node1:8' is no name of a host; write \"node1 slots=8\""),
        ("me@node1", "'me@node1' names a user; write the host only, and the user in ~/.ssh/config"),
        (
            "-oProxyCommand=x",
            "'-oProxyCommand=x' is no name of a host; use letters, digits and '._-', the first no mark",
        ),
        ("a;reboot", "'a;reboot' is no name of a host; use letters, digits and '._-', the first no mark"),
        ("$(reboot)", "'$(reboot)' is no name of a host; use letters, digits and '._-', the first no mark"),
        ("a\x1b[2J", r"'a\x1b[2J' is no name of a host; use letters, digits and '._-', the first no mark"),
        ("h\u00f6st", "'h\u00f6st' is no name of a host; use letters, digits and '._-', the first no mark"),
        (
            "ho\u200bst",
            r"'ho\u200bst' is no name of a host; use letters, digits and '._-', the first no mark",
        ),
        ("`reboot`", "'`reboot`' is no name of a host; use letters, digits and '._-', the first no mark"),
        ("a,b", "'a,b' is no name of a host; use letters, digits and '._-', the first no mark"),
        ("../a", "'../a' is no name of a host; use letters, digits and '._-', the first no mark"),
        (
            "a" * 254,
            f"'{'a' * 39}... has 254 characters; the name of a host has at most 253",
        ),
        ("node1 slots=0", "'slots=0' is not known; write \"node1 slots=8\""),
        ("node1 8", "'8' is not known; write \"node1 slots=8\""),
        ("node1 slots = 8", "'slots' is not known; write \"node1 slots=8\""),
    ],
)
def test_other_spellings_are_explained(line: str, told: str):
    with pytest.raises(HostfileError) as raised:
        parse_hostfile(f"node0 slots=8\n{line}\n", file="hosts")

    assert str(raised.value) == f"hosts:2: {told}"


def test_all_broken_lines_are_told_at_once():
    with pytest.raises(HostfileError) as raised:
        parse_hostfile("a:1\nb slots=2\nb slots=2\n")

    assert str(raised.value) == (
        "hostfile:1: 'a:1' is no name of a host; write \"a slots=1\"\n"
        "hostfile:3: 'b' is listed twice; write it once, with all its slots"
    )


def test_a_hostfile_without_a_host_or_without_a_file_is_told(tmp_path: Path):
    path = tmp_path / "hosts"
    with pytest.raises(HostfileError, match=r"hosts: cannot be read: .*; check cluster.hostfile"):
        read_hostfile(path)
    path.write_text("# nobody\n", encoding="utf-8")
    with pytest.raises(HostfileError, match="has no host"):
        read_hostfile(path)
