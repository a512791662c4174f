"""Fixtures of the interoperability tests."""

from routerd_bgp_ryu.testing.nodes import nodes, short_path

__all__ = ["nodes", "short_path"]
