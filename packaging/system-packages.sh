#!/usr/bin/env bash
# Install the Debian or Ubuntu packages that the lab and the tests need: as root by apt, otherwise
# name what is missing. Quick when nothing is missing.
set -euo pipefail

# What proves that a package is there (a command or a file), and the package.
needed=(
  "ip iproute2" "ping iputils-ping" "nft nftables" "iptables iptables" "wireguard-go wireguard-go"
  "wg wireguard-tools" "sshd openssh-server" "ssh openssh-client" "nsenter util-linux" "bird bird2"
  "vtysh frr" "gobgpd gobgpd"
  "iperf3 iperf3" "qemu-system-x86_64 qemu-system-x86" "depmod kmod" "dpkg-deb dpkg"
  "gcc gcc" "make make" "flex flex" "bison bison" "bc bc" "xz xz-utils" "/usr/include/stdio.h libc6-dev"
)

missing=()
PATH="$PATH:/usr/sbin:/sbin"
for entry in "${needed[@]}"; do
  read -r program package <<<"$entry"
  [ -e "$program" ] || command -v "$program" >/dev/null 2>&1 || missing+=("$package")
done
if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
  missing+=(python3-venv)
fi
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "These packages are missing: ${missing[*]}" >&2
  echo "Install them as root: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
# The tests run these daemons themselves, in namespaces of their own. Their packages would start and enable
# them, so they are masked while they are installed and disabled afterwards; who had them keeps them as they are.
declare -A daemons=([bird2]=bird [frr]=frr [gobgpd]=gobgpd)
unwanted=()
for package in "${missing[@]}"; do
  [ -n "${daemons[$package]:-}" ] && unwanted+=("${daemons[$package]}.service")
done
masked=()
unmask() {
  [ ${#masked[@]} -eq 0 ] || systemctl --quiet --runtime unmask "${masked[@]}"
}
if [ ${#unwanted[@]} -gt 0 ] && [ -d /run/systemd/system ]; then
  masked=("${unwanted[@]}")
  systemctl --quiet --runtime mask "${masked[@]}"
  trap unmask EXIT
fi
echo "Installing ${missing[*]} ..."
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
rm -f "$log"
unmask
masked=()
if [ ${#unwanted[@]} -gt 0 ] && command -v systemctl >/dev/null 2>&1; then
  systemctl --quiet disable "${unwanted[@]}" 2>/dev/null || echo "Could not disable ${unwanted[*]}." >&2
fi
