"""The transport `wireguard`: devices and peers, in the kernel or by wireguard-go."""
