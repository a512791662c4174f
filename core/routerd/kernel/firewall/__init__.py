"""Openings in the host's packet filter, and the clamp of TCP's segment size: nftables and iptables.

`reconcile.derive` decides the openings.
"""
