"""Each host finds for itself which of its interfaces leads to another."""

from __future__ import annotations

import ipaddress
import os

import pytest

from onerec.distributed import _network_env
from onerec.network import address_towards, interface_towards, interfaces, is_in, is_own

AWAY = "192.0.2.1" if address_towards("192.0.2.1") else "8.8.8.8"
needs_route = pytest.mark.skipif(address_towards(AWAY) is None, reason="needs a route out of this host")


def test_the_loopback_is_an_interface_and_is_up() -> None:
    loopback = next(found for found in interfaces() if found.address == "127.0.0.1")
    assert (loopback.network, loopback.is_up) == ("127.0.0.0/8", True)


def test_an_address_is_this_host_s_or_not() -> None:
    assert [is_own(name) for name in ("localhost", "127.0.0.9", "203.0.113.9", "no-such-host.invalid")] == [
        True,
        True,
        False,
        False,
    ]


@needs_route
def test_the_way_to_another_host_goes_by_an_interface_of_this_one() -> None:
    found = interface_towards(["localhost", AWAY])
    assert found is not None
    assert found.address == address_towards(AWAY)
    assert is_own(found.address)
    assert is_in(found.address, found.network)
    assert not ipaddress.ip_address(found.address).is_loopback


def test_there_is_no_way_to_nobody_and_to_an_unknown_name() -> None:
    assert interface_towards([]) is None
    assert interface_towards(["127.0.0.1", "localhost"]) is None
    assert interface_towards(["no-such-host.invalid"]) is None


@needs_route
def test_gloo_and_nccl_are_told_the_way_unless_somebody_has_told_them() -> None:
    found = interface_towards([AWAY])
    assert found is not None
    both = {"GLOO_SOCKET_IFNAME": found.name, "NCCL_SOCKET_IFNAME": f"={found.name}"}
    assert _network_env({"RUNNER_PEERS": f"127.0.0.1,{AWAY}"}) == both
    assert _network_env({"RUNNER_PEERS": AWAY, "NCCL_SOCKET_IFNAME": "ib0"}) == {
        "GLOO_SOCKET_IFNAME": found.name
    }
    assert _network_env({**os.environ, "RUNNER_PEERS": "127.0.0.1"}) == {}
    assert _network_env({}) == {}
