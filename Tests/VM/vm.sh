#!/bin/bash
# The tests once more on a second kernel: Debian's 6.1 with a real systemd and cgroup v2, in a virtual machine.
#
#   Tests/VM/vm.sh [--all] [--only TEXT] [--deadline SECONDS]
#
# Takes the programs of .build/debug, or of SUPERSERVE_BIN. Without --all only what fits into some ten minutes on an
# emulated processor; --only runs the suites whose name contains TEXT. KVM is used where it works; SUPERSERVE_VM_ACCEL=tcg
# or =kvm decides otherwise. The system is made once (image.sh; as root or through sudo) and kept below
# ${XDG_CACHE_HOME:-/var/cache}/superserve; delete it to have it made anew. The VM has no network, writes to nothing that
# stays, and never outlives this script.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
repository=$(cd "$here/../.." && pwd -P)
# shellcheck source=scripts/lib/cleanup.sh
. "$repository/scripts/lib/cleanup.sh"
# shellcheck source=scripts/lib/debian.sh
. "$repository/scripts/lib/debian.sh"

say() { printf 'vm: %s\n' "$*"; }
die() { printf 'Error: %s\n' "$*" >&2; exit 1; }

all=false only='' deadline=
while [ $# -gt 0 ]; do
    case $1 in
    --all) all=true ;;
    --only) only=${2:?}; shift ;;
    --deadline) deadline=${2:?}; shift ;;
    *)
        echo "Error: unknown option '$1'" >&2
        exit 64
        ;;
    esac
    shift
done
[ -n "$deadline" ] || { if $all; then deadline=10800; else deadline=3600; fi; }

work=$(mktemp -d /var/tmp/superserve-vm.XXXXXX) || exit 1
cleanup+=("rm -rf '$work'")

# shellcheck source=Tests/VM/machine.sh
. "$here/machine.sh"

check_programs
find_image
choose_accelerator
make_payload
start_machine
follow_machine

# The VM's own sum, and whether it came to its end and switched itself off.
counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$work/results" | tail -n 1)
read -r passed _ failed _ skipped _ <<<"${counts//,/}"
passed=${passed:-0} failed=${failed:-0} skipped=${skipped:-0}
if [ "$status" -eq 0 ] && [ "$(tail -n 1 "$work/results")" = "the VM is done" ]; then
    passed=$((passed + 1))
else
    failed=$((failed + 1))
    say "the VM did not come to its end (status $status); its console and what QEMU said:"
    grep -av 'Job payload.service' "$work/console" | tail -n 60 | tr -d '\033\r'
    cat "$work/qemu"
fi
if [ "$skipped" -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" -eq 0 ]
