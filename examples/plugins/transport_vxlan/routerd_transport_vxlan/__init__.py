"""VXLAN tunnels between two routers, by the kernel's own module."""
