#!/bin/bash
# Runs in the new namespaces: makes TREE the root file system and hands over to inside.sh.
#
#   enter.sh TREE TOOLCHAIN ACCOUNT WHAT
set -euo pipefail
tree=$1 toolchain=$2 account=$3 what=$4

hostname newcomer
mount --bind "$tree" "$tree"
mount --bind "$toolchain" "$tree/opt/swift/usr"
mount -o remount,bind,ro "$tree/opt/swift/usr"
while IFS=$'\t' read -r from _; do
    from=${from#file://}
    if [[ $from == /* && -d $from ]]; then
        mkdir -p "$tree$from"
        mount --bind "$from" "$tree$from"
        mount -o remount,bind,ro "$tree$from"
    fi
done <"$tree/etc/newcomer/git-rules"

mount -t proc -o nosuid,nodev,noexec proc "$tree/proc"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$tree/sys"
mount -t tmpfs -o mode=755,nosuid tmpfs "$tree/dev"
for device in null zero full random urandom tty; do
    touch "$tree/dev/$device"
    mount --bind "/dev/$device" "$tree/dev/$device"
done
mkdir "$tree/dev/pts" "$tree/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$tree/dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$tree/dev/shm"
ln -s pts/ptmx "$tree/dev/ptmx"
ln -s /proc/self/fd "$tree/dev/fd"
ln -s /proc/self/fd/0 "$tree/dev/stdin"
ln -s /proc/self/fd/1 "$tree/dev/stdout"
ln -s /proc/self/fd/2 "$tree/dev/stderr"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$tree/run"

cd "$tree"
mkdir -p .old
pivot_root . .old
umount -l /.old
rmdir /.old
exec env -i PATH=/opt/swift/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    TERM=xterm HOME=/ bash /etc/newcomer/inside.sh "$account" "$what"
