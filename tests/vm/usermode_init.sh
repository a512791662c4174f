#!/bin/sh
# The first process of the user-mode machine. Its root is the host's tree, read-only; it puts a tmpfs above
# that and hands over to `guest.sh` there. RESULTS, of the kernel's command line, is where results go.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
set -e
mount -t proc proc /proc
# A file system of the host's tree that takes mounts; it goes with this first view of the tree.
mount -t tmpfs -o size=75%,mode=755 tmpfs /mnt
mkdir /mnt/changes /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/changes,workdir=/mnt/work overlay /mnt/root
cd /mnt/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs devtmpfs dev
mkdir -p dev/pts dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p run/vm run/lock run/host
# What was written is on the host when the machine ends, however it ends.
mount -t hostfs -o "$RESULTS" none run/vm
pivot_root . run/host
# From here on the root is the whole tree, not a chroot: in a chroot no user namespace can be made.
exec /bin/sh /run/vm/guest.sh </dev/console >/dev/console 2>&1
