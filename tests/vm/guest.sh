# The machine's process 1 once the host's tree is its root: runs `command.sh`, leaves its exit status
# in `status`, and ends the machine. `settings.sh` says how long, and where the modules are.
. /run/vm/settings.sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

# The one who waits for a sign of life finds this.
: >/run/vm/up
mkdir -p /lib/modules
mount --bind "$MODULES" /lib/modules
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
ip link set lo up
# Device nodes whose modules load at the first use come from udev elsewhere.
modprobe tun
# Machines of a lab come and go by the dozen, and one kernel has them all.
echo 1024 >/proc/sys/net/ipv4/neigh/default/gc_thresh1
hostname vm

if [ "$INTERACTIVE" = 1 ]; then
  setsid -c timeout --foreground -k 10 "$SECONDS_AT_MOST" sh /run/vm/command.sh </dev/hvc0 >/dev/hvc0 2>&1 &
else
  # Not a terminal: programs see that they write to a file.
  setsid timeout -k 10 "$SECONDS_AT_MOST" sh /run/vm/command.sh </dev/null >/dev/vport0p1 2>&1 &
fi
# Waiting for one reaps all: what a command leaves behind becomes a child of process 1.
wait $!
echo $? >/run/vm/status.new
mv /run/vm/status.new /run/vm/status
echo b >/proc/sysrq-trigger
while :; do sleep 1; done
