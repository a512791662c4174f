"""The plugin's options: `plugins: transport_ipip:` in the configuration file."""

from typing import Literal

import attrs


@attrs.frozen(kw_only=True)
class IpipOptions:
    """`auto` takes the kernel's module if there is one, else the plugin's own process."""

    backend: Literal["auto", "kernel", "userspace"] = "auto"
