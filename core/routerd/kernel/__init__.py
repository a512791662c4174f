"""The Linux network stack; only this part of the core speaks netlink.

`netlink` sends requests and translates errors, `links` implements `routerd.spi.Kernel`, `events` reports
changes. Plugins with less common needs (WireGuard, fou ports) bring their own clients.
"""
