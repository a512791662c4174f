"""The Linux network stack. The only part of the core that speaks netlink.

`netlink` sends requests and translates errors, `links` implements `routerd.spi.Kernel`, `events` says
that something has changed.
"""
