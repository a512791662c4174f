"""The plugin's options: `plugins: transport_wireguard:` in the configuration file."""

from typing import Literal

import attrs


@attrs.frozen(kw_only=True)
class WireGuardOptions:
    """`auto` takes the kernel's module if there is one, else the userspace program.

    `program` is the program's name or path; it must speak the cross-platform interface of
    wireguard-go.
    """

    backend: Literal["auto", "kernel", "userspace"] = "auto"
    program: str = "wireguard-go"
