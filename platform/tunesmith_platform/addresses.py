"""Which addresses the platform may post to, and which kind each is. Knows addresses; knows no network.

A webhook's address comes from a user and the post is made from inside, so what is not plainly one of the kinds that an
administrator allows is refused: links, groups, what clouds keep their machines' credentials at, and every way to write
one of these as another.
"""

import ipaddress
from collections.abc import Collection
from enum import StrEnum

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressKind(StrEnum):
    """Whose an address is."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"


_LOOPBACK = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1/128")))
_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    )
)
"""Where clouds answer their own machines, besides the link-local 169.254.169.254."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_TRANSLATED = tuple(map(ipaddress.ip_network, ("64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96", "2001::/32")))
"""Ranges that stand for IPv4 addresses in ways that a gateway decides, or that nothing uses any more."""


def kind_of(address: Address) -> AddressKind | None:
    """Whose an address is; None for one that nothing is ever posted to.

    One that is written inside an IPv6 address counts as what it is.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None or address.is_site_local:
            return None
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return kind_of(inner)
    if _in(address, _LOOPBACK):
        return AddressKind.LOOPBACK
    if address in _METADATA or _in(address, _TRANSLATED):
        return None
    if _in(address, _PRIVATE):
        return AddressKind.PRIVATE
    is_plain = address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_link_local or address.is_unspecified
    )
    return AddressKind.PUBLIC if is_plain else None


def refusal(addresses: Collection[Address], allowed: Collection[AddressKind]) -> str | None:
    """Why nothing is posted to a host with these addresses; None when it may be.

    A host with one address of another kind is refused whole: nobody knows which one the next try would take.
    """
    for address in addresses:
        kind = kind_of(address)
        if kind is None:
            return f"Its host has the address {address}, which no webhook may go to."
        if kind not in allowed:
            return f"Its host has the {kind} address {address}, and webhooks may not go there."
    return None


def _in(address: Address, networks: Collection[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)
