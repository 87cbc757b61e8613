#!/bin/bash
# Runs in the VM, as root, once systemd has reached multi-user.target: all that is tested there. Its output goes out
# through a port; the last line but one is the sum.
set -uo pipefail
payload=$(cd "$(dirname "$0")/../.." && pwd -P)
cd "$payload" || exit 1
# shellcheck source=scripts/lib/counts.sh
. scripts/lib/counts.sh
# shellcheck disable=SC1091 # written by vm.sh
. ./options
exec 2>&1
export SUPERSERVE_BIN=$payload/bin PATH=$payload/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PYTHONDONTWRITEBYTECODE=1 SUPERSERVE_TEST_SLOWNESS=$slowness
case $mode in
tests) ;;
package) exec python3 Tests/VM/package.py "$only" ;;
*) exec python3 Tests/VM/power_cut.py "$mode" ;;
esac
work=$(mktemp -d)
account=tester

wanted() { [[ $1 == *"$only"* ]]; }

# suite NAME SECONDS COMMAND...
suite() {
    local name=$1 limit=$2
    shift 2
    if wanted "$name"; then counted "$name" timeout --kill-after=10 "$limit" "$@"; fi
}

# superserved as a service of systemd; the conversation finds it by the socket.
root_service() {
    local unit=superserved-test status
    systemd-run --quiet --unit="$unit" --property=Delegate=yes superserved --foreground || return
    until [ -S /run/superserve/superserved.sock ]; do
        systemctl is-active --quiet "$unit" || { journalctl --no-pager -u "$unit"; return 1; }
        sleep 0.2
    done
    python3 Tests/VM/conversation.py --group "/system.slice/$unit.service"
    status=$?
    systemctl stop "$unit" 2>/dev/null
    # Where a service of root keeps its state; whatever else it left must still be found.
    rm -r /var/lib/superserve && rm -r /run/superserve || return
    return "$status"
}

useradd --create-home --shell /bin/bash "$account"
scripts/leak-check save "$work/machine"

suite system 120 python3 Tests/VM/system.py
suite "conversation, login" 300 su --login "$account" --command \
    "SUPERSERVE_BIN=$SUPERSERVE_BIN python3 $payload/Tests/VM/conversation.py"
suite "conversation, user's service" 300 su --login "$account" --command \
    "systemd-run --user --quiet --wait --pipe --unit=talk --property=Delegate=yes \
    --setenv=SUPERSERVE_BIN=$SUPERSERVE_BIN python3 $payload/Tests/VM/conversation.py --group own"
if wanted "conversation, root"; then counted "conversation, root" root_service; fi
# Each limit for real; its own units, whose groups nobody else is in.
suite limits 900 python3 -u Tests/VM/limits.py
suite quota 900 python3 -u Tests/VM/quota.py
# Minutes each on an emulated processor, and about resources more than about the kernel.
some=(-x test_confinement.test_limits -x hostile_trees -x throughput -x temporary_space -x fork_away
    -k test_limits. -k test_isolation -k test_confinement -k test_measures -k group -k adopted -k outlive)
if $all; then some=(); fi
sandbox=(python3 Tests/csandbox/run.py --launcher bin/superserve-launcher)
suite "sandbox, plain user" 1800 "${sandbox[@]}" --as-user "$account" "${some[@]}"
suite "sandbox, root" 1800 "${sandbox[@]}" "${some[@]}"
# Every door; with --all also each door's control and everything else.
attacks=(--only test_doors)
if $all; then
    attacks=()
    export SUPERSERVE_WEAK_LAUNCHER=$payload/weak/superserve-launcher
fi
suite "attacks, plain user" 3600 python3 Tests/Isolation/run.py --user "$account" "${attacks[@]}"
# What kills cost is tried with the package, on a machine of its own.
modules=(users)
if $all; then modules+=(crash lifecycle conversation agents bad_input files pressure terminal); fi
for module in "${modules[@]}"; do
    suite "integration: $module" 1800 python3 Tests/Integration/run.py --only "test_$module"
done
if $all; then
    suite "integration, plain user" 3600 python3 Tests/Integration/run.py --user "$account"
    suite "crash, plain user" 3600 python3 Tests/Crash/crash.py --user "$account"
fi

# The account's own service manager and what it started; then what is left counts.
loginctl terminate-user "$account" 2>/dev/null
counted "leaks" scripts/leak-check compare "$work/machine"
counted "kernel" python3 Tests/VM/system.py --after
rm -rf "$work"
summary
status=$?
echo "the VM is done"
exit "$status"
