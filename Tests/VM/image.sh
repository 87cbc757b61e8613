#!/bin/bash
# Makes the system that the VM boots: Debian 12 with its own kernel 6.1 and systemd, as DIRECTORY/{kernel,initrd,disk}.
#
#   image.sh --key             prints what a cached image is named after: changes here make a new one
#   image.sh DIRECTORY         needs root and about three minutes
#
# It is a disk, not an initial RAM disk as a whole: pivot_root(2) refuses to leave the kernel's rootfs, and every sandbox
# needs it. Nothing of superserve is in it; that comes on a second disk at each run.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=scripts/lib/debian.sh
. "$here/../../scripts/lib/debian.sh"

# Kernel and service manager; what superserve needs; what its tests and the agents in them use.
packages=(
    dbus dbus-user-session initramfs-tools libpam-systemd linux-image-cloud-amd64 systemd systemd-sysv udev zstd
    libcap2 libseccomp2 libsqlite3-0 libstdc++6 sudo uidmap
    gcc git libc6-dev make procps python3 python3-venv sqlite3 strace tmux
)
disk_size=3G # sparse; sessions of the tests need some of it

die() { printf 'Error: %s\n' "$*" >&2; exit 1; }
log_of() { tail -n 20 "$1" >&2; die "$2"; }

# What systemd starts in the end: the second disk's `inside.sh`. Its output is the result, on a port of its own.
write_units() { # TREE
    cat >"$1/etc/systemd/system/payload.target" <<'UNIT'
[Unit]
Description=What the second disk brings
Requires=multi-user.target
Wants=payload.service
After=multi-user.target
AllowIsolate=yes
UNIT
    cat >"$1/etc/systemd/system/payload.service" <<'UNIT'
[Unit]
Description=What the second disk brings
After=multi-user.target
Requires=dev-disk-by\x2did-virtio\x2dpayload.device dev-virtio\x2dports-results.device
After=dev-disk-by\x2did-virtio\x2dpayload.device dev-virtio\x2dports-results.device
SuccessAction=poweroff
FailureAction=poweroff

[Service]
Type=oneshot
Delegate=yes
Environment=HOME=/root LANG=C.UTF-8 TERM=xterm
ExecStartPre=/bin/mkdir -p /srv/payload
ExecStartPre=/bin/mount -t squashfs -o ro /dev/disk/by-id/virtio-payload /srv/payload
ExecStart=/bin/bash /srv/payload/Tests/VM/inside.sh
StandardOutput=file:/dev/virtio-ports/results
StandardError=inherit
TimeoutStopSec=15
UNIT
}

configure() { # TREE
    local tree=$1
    echo vm >"$tree/etc/hostname"
    printf '127.0.0.1 localhost vm\n' >"$tree/etc/hosts"
    echo 'LABEL=root / ext4 defaults 0 1' >"$tree/etc/fstab"
    : >"$tree/etc/machine-id" # made at the first boot
    ln -sf /dev/null "$tree/etc/systemd/system/getty@.service"
    ln -sf /dev/null "$tree/etc/systemd/system/serial-getty@.service"
    # Timers have nothing to do in the minutes of a test but to disturb its times.
    ln -sf /dev/null "$tree/etc/systemd/system/timers.target"
    write_units "$tree"
    # Only the drivers of this machine: the kernel unpacks it in an emulated processor.
    printf 'MODULES=list\nCOMPRESS=zstd\nBUSYBOX=n\nFSTYPE=ext4\n' >"$tree/etc/initramfs-tools/conf.d/vm"
    printf '%s\n' virtio_pci virtio_blk virtio_console ext4 squashfs >>"$tree/etc/initramfs-tools/modules"
    chroot "$tree" update-initramfs -u -k all
}

make_image() { # DIRECTORY
    local directory=$1 work
    [ "$(id -u)" -eq 0 ] || die "a fresh system can only be made by root"
    work=$(mktemp -d /var/tmp/superserve-vm.XXXXXX)
    # shellcheck disable=SC2064 # the directory of now
    trap "rm -rf --one-file-system '$work' '$directory.new'" EXIT
    mkdir "$work/tree"
    echo "vm: making a fresh Debian 12 with its kernel" >&2
    make_debian "$work/tree" >"$work/log" 2>&1 || log_of "$work/log" "debootstrap failed"
    # Debian's kernel asks for no boot loader; its initial RAM disk is made once, at the end.
    mkdir -p "$work/tree/etc/initramfs-tools"
    printf 'update_initramfs=no\n' >"$work/tree/etc/initramfs-tools/update-initramfs.conf"
    install_in_debian "$work/tree" --no-install-recommends -o Dpkg::Options::=--force-confold "${packages[@]}" \
        >"$work/log" 2>&1 || log_of "$work/log" "the packages could not be installed"
    sed -i 's/=no/=yes/' "$work/tree/etc/initramfs-tools/update-initramfs.conf"
    configure "$work/tree" >"$work/log" 2>&1 || log_of "$work/log" "the system could not be configured"
    rm -rf "$directory.new"
    mkdir -p "$directory.new"
    cp -L "$work/tree/vmlinuz" "$directory.new/kernel"
    cp -L "$work/tree/initrd.img" "$directory.new/initrd"
    rm -rf "$work/tree"/boot/* "$work/tree"/usr/share/{locale,man}/*
    truncate -s "$disk_size" "$directory.new/disk"
    mke2fs -q -t ext4 -L root -O ^has_journal -E lazy_itable_init=1 -d "$work/tree" "$directory.new/disk" \
        >"$work/log" 2>&1 || log_of "$work/log" "the disk could not be made"
    chmod -R a+rX "$directory.new"
    rm -rf "$directory"
    mv "$directory.new" "$directory"
}

case ${1:?} in
--key) cat "$here/image.sh" "$here/../../scripts/lib/debian.sh" | sha256sum | cut -c 1-12 ;;
*) make_image "$1" ;;
esac
