#!/bin/bash
# The Debian package on a Debian with systemd, in a virtual machine whose disk stays over a restart: installed, used,
# upgraded, broken in several ways, restarted, backed up, moved, removed and purged, by the commands of docs/operations.md.
#
#   Tests/VM/package.sh [--deadline SECONDS] [--only REGEX]
#
# The package is made of the programs of .build/debug or SUPERSERVE_BIN; lintian looks at it where it is installed.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
repository=$(cd "$here/../.." && pwd -P)
# shellcheck source=scripts/lib/cleanup.sh
. "$repository/scripts/lib/cleanup.sh"
# shellcheck source=scripts/lib/debian.sh
. "$repository/scripts/lib/debian.sh"

say() { printf 'package: %s\n' "$*"; }
die() { printf 'Error: %s\n' "$*" >&2; exit 1; }

deadline=1800 only=''
while [ $# -ge 2 ]; do
    case $1 in
    --deadline) deadline=$2 ;;
    --only) only=$2 ;;
    *) die "unknown option '$1'" ;;
    esac
    shift 2
done
work=$(mktemp -d /var/tmp/superserve-vm.XXXXXX) || exit 1
cleanup+=("rm -rf '$work'")
# shellcheck disable=SC2034 # for machine.sh
all=false mode=package
# shellcheck source=Tests/VM/machine.sh
. "$here/machine.sh"

passed=0 failed=0
ok() { passed=$((passed + 1)); echo "ok   $*"; }
bad() { failed=$((failed + 1)); echo "FAIL $*"; }

check_programs
find_image
choose_accelerator

# Two packages that differ in their version, packed fast: they go no further.
version=$("$programs/superserved" --version) || die "superserved does not say its version"
packages=$work/packages
mkdir -p "$packages/first" "$packages/next"
export DEB_COMPRESSION="-Zgzip -z1"
"$repository/scripts/deb" --binaries "$programs" --output "$packages/first" >"$work/deb" 2>&1 &&
    "$repository/scripts/deb" --binaries "$programs" --output "$packages/next" --version "$version+1" >>"$work/deb" 2>&1 ||
    { cat "$work/deb"; die "the packages could not be made"; }
say "made $(du -h "$packages"/first/*.deb | tr '\t' ' ')"
if command -v lintian >/dev/null; then
    # A debug build looks for Swift's libraries where the build machine has them, and then beside itself.
    if lintian --allow-root --fail-on error --suppress-tags custom-library-search-path "$packages"/first/*.deb \
        >"$work/lintian" 2>&1; then
        ok "lintian finds no error ($(grep -c '^W:' "$work/lintian") warnings)"
    else
        cat "$work/lintian"
        bad "lintian finds no error"
    fi
else
    bad "lintian is missing; run: scripts/bootstrap deb"
fi

make_payload
# A disk of its own, which stays when the machine is started again.
cp --sparse=always --reflink=auto "$image/disk" "$work/root" || die "no room for a disk"
# shellcheck disable=SC2034 # for machine.sh
root_disk="file=$work/root,format=raw,if=virtio,cache=unsafe"
for phase in first second; do
    start_machine
    follow_machine
    counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$work/results" | tail -n 1)
    read -r p _ f _ <<<"${counts//,/} "
    passed=$((passed + ${p:-0})) failed=$((failed + ${f:-0}))
    if [ "$status" -eq 0 ] && [ "$(tail -n 1 "$work/results")" = "the VM is done" ]; then
        ok "the $phase start came to its end"
    else
        bad "the $phase start came to its end (status $status); its console and what QEMU said:"
        grep -av 'Job payload.service' "$work/console" | tail -n 60 | tr -d '\033\r'
        cat "$work/qemu"
        break
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
