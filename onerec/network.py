"""Which interface of this host leads to another one, asked of the kernel's routes; nothing is sent.

Standard library and Linux only. Each host asks for itself: hosts may name their interfaces differently.
"""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

ADDRESS, FLAGS, NETMASK = 0x8915, 0x8913, 0x891B
"""Requests of ioctl about an interface: SIOCGIFADDR, SIOCGIFFLAGS, SIOCGIFNETMASK."""
UP = 0x1


@dataclass(frozen=True)
class Interface:
    """An interface of this host with its first IPv4 address."""

    name: str
    address: str
    network: str
    """The addresses that it reaches without a router: 10.0.0.0/24."""
    is_up: bool


def interfaces() -> tuple[Interface, ...]:
    """All interfaces of this host that have an IPv4 address."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                address, mask = (
                    socket.inet_ntoa(fcntl.ioctl(probe.fileno(), asked, request)[20:24])
                    for asked in (ADDRESS, NETMASK)
                )
                flags = struct.unpack_from("h", fcntl.ioctl(probe.fileno(), FLAGS, request), 16)[0]
            except OSError:  # it has no address
                continue
            network = str(ipaddress.ip_network(f"{address}/{mask}", strict=False))
            found.append(Interface(name, address, network, bool(flags & UP)))
    return tuple(found)


def address_towards(host: str) -> str | None:
    """This host's own address on the way to another; None where there is no way, or no such name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))  # of a datagram socket: only the route is looked up
        except OSError:
            return None
        return str(probe.getsockname()[0])


def is_own(address: str) -> bool:
    """Whether an address leads back to this host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


def interface_towards(hosts: Sequence[str]) -> Interface | None:
    """The interface that leads to the first of `hosts` that is not this one; None where none is found."""
    for host in hosts:
        address = address_towards(host)
        if address is None:
            return None
        if not is_own(host):
            return next((found for found in interfaces() if found.address == address), None)
    return None


def is_in(address: str, network: str) -> bool:
    """Whether an address is one of a network."""
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)
