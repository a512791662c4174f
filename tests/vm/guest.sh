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
  setsid -c timeout --foreground -k 10 "$SECONDS_AT_MOST" sh /run/vm/command.sh <"$TERMINAL" >"$TERMINAL" 2>&1 &
else
  # Not a terminal, whatever device takes it outside: programs see that they write to a pipe.
  stty -F "$TERMINAL" -opost 2>/dev/null
  mkfifo /run/output
  cat /run/output >"$TERMINAL" &
  printing=$!
  setsid timeout -k 10 "$SECONDS_AT_MOST" sh /run/vm/command.sh </dev/null >/run/output 2>&1 &
fi
# Waiting for one reaps all: what a command leaves behind becomes a child of process 1.
wait $!
status=$?
[ -z "$printing" ] || timeout 5 sh -c "while kill -0 $printing; do sleep 0.05; done" 2>/dev/null
echo $status >/run/vm/status.new
mv /run/vm/status.new /run/vm/status
# An emulator is told not to boot again; a kernel that is a process has no such keys.
[ ! -e /proc/sysrq-trigger ] || echo b >/proc/sysrq-trigger
"$BUSYBOX" halt -f
