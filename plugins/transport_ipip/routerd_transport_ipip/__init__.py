"""The transports `ipip`, `fou` and `gre`: IPv4 in IPv4, UDP or GRE, in the kernel or by a process of ours."""
