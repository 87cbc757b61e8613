# shellcheck shell=bash
# What a script must undo when it ends, however it ends: `cleanup+=(COMMAND)`. To be sourced.

cleanup=()

# Last in, first out, whatever happens.
finish() {
    local index
    trap '' INT TERM HUP # a second one must not leave half of it undone
    for ((index = ${#cleanup[@]} - 1; index >= 0; index--)); do eval "${cleanup[index]}"; done
    cleanup=()
}
trap finish EXIT
trap 'exit 130' INT TERM HUP
