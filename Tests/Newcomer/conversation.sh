#!/bin/bash
# A person at a terminal: types the command, talks to the agent, leaves. Runs in the clone.
#
#   conversation.sh COMMAND
set -euo pipefail
command=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkfifo "$work/keys"
: >"$work/screen"

say() { printf 'conversation: %s\n' "$*"; }

# Waits until the screen has shown the text; the first wait covers installation and build.
wait_for() { # TEXT SECONDS
    local deadline=$((SECONDS + $2))
    until grep -qF -- "$1" "$work/screen"; do
        if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$person" 2>/dev/null; then
            say "'$1' did not come; the screen:"
            tail -c 4000 "$work/screen"
            exit 1
        fi
        sleep 0.2
    done
}

type_line() { printf '%s\r' "$1" >&3; }

script --quiet --return --flush --command "stty rows 24 cols 80; $command" "$work/screen" <"$work/keys" >/dev/null 2>&1 &
person=$!
exec 3>"$work/keys"

wait_for 'You > ' 5400
say "the conversation began after $SECONDS s"
# The answers are not what was typed: what is waited for cannot be the echo.
# shellcheck disable=SC2016 # the agent is to expand them
type_line 'echo "$((6 * 7))-is-the-answer" | tee answer.txt'
wait_for '42-is-the-answer' 60
type_line 'sed s/answer/memory/ answer.txt; id -u; hostname'
wait_for '42-is-the-memory' 60
# shellcheck disable=SC2016
type_line 'test -w /etc/passwd || echo "read-on""ly"'
wait_for 'read-only' 60
type_line 'exit'
wait_for 'Resume with: superserve sessions resume' 60
exec 3>&-
wait "$person" || { say "the command ended with status $?"; exit 1; }

superserve=.build/debug/superserve
"$superserve" sessions list
id=$("$superserve" sessions list | awk 'NR == 3 { print $1 }')
answer=$("$superserve" sessions resume "$id" 'cat answer.txt' --single 2>/dev/null)
[ "$answer" = '42-is-the-answer' ] || { say "resumed, the agent says '$answer'"; exit 1; }
"$superserve" sessions end "$id"
"$superserve" supervisor stop
say "a conversation, a resumed session, and its end"
