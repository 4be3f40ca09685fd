"""Which addresses are public."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

__all__ = ["is_public"]

_NOT_PUBLIC = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this network, RFC 1122
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared by carriers, RFC 6598
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local, and the metadata of clouds
            "172.16.0.0/12",
            "192.0.0.0/24",  # RFC 6890
            "192.0.2.0/24",
            "192.88.99.0/24",  # relays of 6to4, RFC 7526
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks, RFC 2544
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",  # multicast, reserved, broadcast
            "168.63.129.16/32",  # Azure's own services
            # Of IPv6, inside 2000::/3:
            "2001::/23",  # Teredo, benchmarks and other protocols, RFC 2928
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address inside
            "3fff::/20",  # documentation, RFC 9637
        ),
    )
)
_UNICAST = ip_network("2000::/3")
"""All of IPv6 that is given out. Outside: ::1, mapped and NAT64 addresses, fc00::/7, fe80::/10, ff00::/8."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether anyone on the internet could reach the address."""
    if address.version == 6 and address not in _UNICAST:
        return False
    return not any(address in network for network in _NOT_PUBLIC)
