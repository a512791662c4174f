#!/bin/busybox sh
# The first process of the machine, in its first file system. It makes the host's tree its root,
# read-only below and a tmpfs above, and hands over to `guest.sh` there. Two directories of
# the host are here: `host` is its whole tree, `exchange` takes the results back.
set -e
export PATH=/bin
/bin/busybox --install -s /bin

fail() {
  echo "init: $*"
  # -no-reboot makes of this the end of the emulator.
  reboot -f
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do
  insmod "$module" || fail "$module cannot be loaded"
done

shared=trans=virtio,version=9p2000.L,msize=262144
case $(cat /proc/cmdline) in
  *host=virtiofs*) mount -t virtiofs -o ro host /lower ;;
  *) mount -t 9p -o ro,$shared,cache=loose host /lower ;;
esac || fail "the host's tree cannot be mounted"
mount -t tmpfs -o size=75%,mode=755 tmpfs /upper
mkdir /upper/changes /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/changes,workdir=/upper/work overlay /newroot \
  || fail "the writable layer cannot be mounted"

mount --move /proc /newroot/proc
mount --move /sys /newroot/sys
mount --move /dev /newroot/dev
mkdir -p /newroot/dev/pts /newroot/dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /newroot/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /newroot/dev/shm
mount -t tmpfs -o mode=755 tmpfs /newroot/run
mkdir -p /newroot/run/vm /newroot/run/lock
# Uncached: what was written is on the host when the machine ends, however it ends.
mount -t 9p -o $shared,cache=none exchange /newroot/run/vm || fail "the exchange cannot be mounted"

# From here on the root is the whole tree, not a chroot: in a chroot no user namespace can be made.
exec switch_root /newroot /bin/sh /run/vm/guest.sh
