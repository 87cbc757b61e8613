#!/bin/bash
# Process 1 of the fresh system: what its newcomer does.
#
#   inside.sh root|user all|run|test|test:SUITE|build
set -euo pipefail
account=$1 what=$2

say() { printf 'newcomer (%s): %s\n' "$account" "$*"; }

name=root
[ "$account" = root ] || name=newcomer
home=$(getent passwd "$name" | cut -d : -f 6)
clone=$home/superserve

# Runs a command line in the clone, as the newcomer would in a shell.
as_newcomer() {
    local path=/opt/swift/usr/bin:/usr/local/bin:/usr/bin:/bin
    if [ "$name" = root ]; then path=/opt/swift/usr/bin:/usr/local/sbin:/usr/sbin:/sbin:${path#*:}; fi
    (cd "$clone" && HOME=$home USER=$name LOGNAME=$name SHELL=/bin/bash PATH=$path \
        setpriv --reuid="$name" --regid="$name" --init-groups bash -c "$1")
}

# The first line of the code block that follows a heading of README.md.
command_of_readme() {
    awk -v heading="$1" '
        /^#/ { here = ($0 == heading) }
        here && inside && /^```/ { exit }
        here && inside { print; exit }
        here && /^```/ { inside = 1 }' "$clone/README.md"
}

run_command=$(command_of_readme '## Run it')
test_command=$(command_of_readme '## Test it')
[ -n "$run_command" ] && [ -n "$test_command" ] || { say "README.md names no commands"; exit 1; }
say "$(. /etc/os-release && echo "$PRETTY_NAME"), $(dpkg-query -W | wc -l) packages, $(swift --version 2>&1 | head -n 1)"

case $what in
build)
    as_newcomer 'scripts/bootstrap build run && scripts/build'
    ;;
run)
    as_newcomer "bash /etc/newcomer/conversation.sh '$run_command'"
    ;;
test)
    as_newcomer "$test_command </dev/null"
    ;;
test:?*)
    as_newcomer "$test_command ${what#test:} </dev/null"
    ;;
all)
    as_newcomer "bash /etc/newcomer/conversation.sh '$run_command'"
    as_newcomer "$test_command </dev/null"
    ;;
*)
    say "'$what' is none of: all, run, test, test:SUITE, build"
    exit 64
    ;;
esac
say "done: $what"
