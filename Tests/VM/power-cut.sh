#!/bin/bash
# A power cut: the virtual machine is killed while sessions work, and started again on the same disk. What a client was
# told before must be there: every accepted message, every end of a turn.
#
#   Tests/VM/power-cut.sh [--deadline SECONDS]
#
# The disk's cache is the host's, which survives; what the guest has not flushed is lost, as with the power.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
repository=$(cd "$here/../.." && pwd -P)
# shellcheck source=scripts/lib/cleanup.sh
. "$repository/scripts/lib/cleanup.sh"
# shellcheck source=scripts/lib/debian.sh
. "$repository/scripts/lib/debian.sh"

say() { printf 'power-cut: %s\n' "$*"; }
die() { printf 'Error: %s\n' "$*" >&2; exit 1; }

deadline=1200
if [ "${1:-}" = --deadline ]; then deadline=${2:?}; fi
work=$(mktemp -d /var/tmp/superserve-vm.XXXXXX) || exit 1
cleanup+=("rm -rf '$work'")
# shellcheck disable=SC2034 # for machine.sh
all=false only=''
# shellcheck source=Tests/VM/machine.sh
. "$here/machine.sh"

check_programs
find_image
choose_accelerator
truncate -s 2G "$work/data"
# shellcheck disable=SC2034 # for machine.sh
disks=(-drive "file=$work/data,format=raw,if=none,id=data,cache=writeback" -device virtio-blk-pci,drive=data,serial=data)

# shellcheck disable=SC2034 # for machine.sh
mode=load
make_payload
start_machine
until [ "$(grep -c '^ended' "$work/results")" -ge 40 ]; do
    [ $SECONDS -lt "$deadline" ] || { tail -n 40 "$work/console"; die "no load after $deadline s"; }
    kill -0 "$machine" 2>/dev/null || { cat "$work/qemu"; tail -n 40 "$work/console"; die "the VM ended by itself"; }
    sleep 0.1
done
kill_machine # in the middle of it all
cp "$work/results" "$work/told"
say "cut after $(grep -c '^accepted' "$work/told") accepted messages and $(grep -c '^ended' "$work/told") ended turns"

mode=verify
make_payload
start_machine
follow_machine

passed=0 failed=0
expect() { # TEXT CONDITION...
    local text=$1
    shift
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "FAIL $text"; fi
}
# Every line `KIND ID TURN` that the host was told, once more among what is stored. A last line may be cut.
is_stored() { # KIND WORD
    local id turn
    while read -r _ id turn; do
        grep -qE "^stored $id $turn $2" "$work/results" || { echo "missing: $1 $id $turn"; return 1; }
    done < <(grep -E "^$1 ses_[0-9a-f-]{36} [0-9]+$" "$work/told")
}
expect "it came to its end" test "$(tail -n 1 "$work/results")" = "the VM is done"
expect "the database is sound" grep -qx "integrity ok" "$work/results"
expect "numbers have no gap" grep -qx "gaps 0" "$work/results"
expect "every accepted message is stored and has an end" is_stored accepted '(completed|failed)'
expect "every turn whose end was told is completed" is_stored ended completed
[ "$failed" -eq 0 ] || { tail -n 60 "$work/console" | tr -d '\033\r'; cat "$work/qemu"; }
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
