"""Which fields of a link its kind takes. Pure."""

from routerd.spi.kernel import LinkSpec

TUNNEL_KINDS = ("ipip", "gre")
"""Kinds with `local`, `remote`, `ttl` and `encapsulation`."""


def misfit(spec: LinkSpec) -> str:
    """Return why a link cannot be made as `spec` says, or nothing when its kind takes every field."""
    tunnel = spec.kind in TUNNEL_KINDS
    fields = ("local", "remote", "ttl", "encapsulation") if not tunnel else ()
    lost = [name for name in fields if getattr(spec, name) is not None]
    if spec.key is not None and spec.kind != "gre":
        lost.append("key")
    if lost:
        return f"kind {spec.kind} does not take {', '.join(lost)}; use data for the kind's own attributes"
    if tunnel and spec.data:
        return f"kind {spec.kind} does not take data; use local, remote, ttl, key and encapsulation"
    return ""
