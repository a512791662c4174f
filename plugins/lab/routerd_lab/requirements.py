"""The requirements of a lab on its machine, each with its remedy."""

import os
import shutil
from pathlib import Path

_PROGRAMS = {
    "ip": "iproute2",
    "ss": "iproute2",
    "nft": "nftables",
    "iptables-restore": "iptables",
    "nsenter": "util-linux",
    "ping": "iputils-ping",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sysctl": "procps",
    "wireguard-go": "wireguard-go",
}
_SSHD = Path("/usr/sbin/sshd")
_TUN = Path("/dev/net/tun")
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def missing() -> list[str]:
    """Return one sentence for each unmet requirement; nothing if a lab can be built."""
    path = f"{os.environ.get('PATH', os.defpath)}:{SBIN}"
    packages = {package for program, package in _PROGRAMS.items() if shutil.which(program, path=path) is None}
    if not _SSHD.exists():
        packages.add("openssh-server")
    found = [f"install {' '.join(sorted(packages))} (apt-get install, as root)"] if packages else []
    if not os.access(_TUN, os.R_OK | os.W_OK):
        found.append(
            f"{_TUN}: this user cannot open it; run `chmod 0666 {_TUN}` as root once, or run the lab as root"
        )
    limit = Path("/proc/sys/user/max_user_namespaces")
    if limit.exists() and limit.read_text(encoding="ascii").strip() == "0":
        found.append(f"{limit}: user namespaces are off; write 10000 into it as root")
    return found
