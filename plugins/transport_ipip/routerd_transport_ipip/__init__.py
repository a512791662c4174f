"""The transports `ipip` and `fou`: IPv4 in IPv4, bare or in UDP, in the kernel or by a process of ours."""
