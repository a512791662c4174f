"""Openings in the host's packet filter, and the clamp of TCP's segment size: nftables and iptables.

What routerd opens for whom is decided in `reconcile.derive`.
"""
