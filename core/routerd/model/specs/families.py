"""The types of fields that hold addresses: both families as a type, only IPv4 in a file so far.

A field with one of these types has the type `IPAddress`, `IPNetwork` or `IPInterface`, and a mark by which
the reader of files refuses IPv6 with file and line. A field of the bare type takes both families.
"""

import typing
from typing import Annotated, Any

from routerd.model.addresses import IPAddress, IPInterface, IPNetwork

IPV4_SO_FAR = "IPv4 so far"
"""The mark of a field for which a file may not hold IPv6 yet."""

AddressField = Annotated[IPAddress, IPV4_SO_FAR]
NetworkField = Annotated[IPNetwork, IPV4_SO_FAR]
InterfaceField = Annotated[IPInterface, IPV4_SO_FAR]


def readable(kind: Any) -> Any:  # noqa: ANN401 - Any: types
    """Return the type that a file may hold for a field of an annotated type: IPv4 only where it is marked."""
    value, *marks = typing.get_args(kind)
    return typing.get_args(value)[0] if IPV4_SO_FAR in marks else value
