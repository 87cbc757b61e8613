# Runs one message as a shell command. The message is standard input.
#
# What the command leaves behind (working directory, variables, functions, shell options) is saved in the
# session's home directory when it ends and is there again for the next message, also after the process
# or the whole sandbox was started anew.

__state="$HOME/.superserve-shell"
IFS= read -r -d '' __message || true
exec </dev/null 2>&1

__save() {
    local status=$?
    trap - EXIT INT
    {
        declare -p 2>/dev/null | grep -Ev '^declare -[a-zA-Z]*r|^declare -[-a-zA-Z]+ (BASH|__|PIPESTATUS|FUNCNAME|DIRSTACK|GROUPS|SHLVL|PPID|UID|EUID|_=|_ |SUPERSERVE)'
        declare -f | sed '/^__save ()/,/^}/d'
        shopt -p
        printf 'cd -- %q\n' "$PWD"
    } >"$__state.new" 2>/dev/null && mv -f "$__state.new" "$__state" 2>/dev/null
    if [ "$status" -ne 0 ]; then printf '[exit status %d]\n' "$status"; fi
    exit 0
}

if [ -r "$__state" ]; then
    # shellcheck disable=SC1090
    . "$__state" >/dev/null 2>&1
fi
trap __save EXIT
trap 'exit 130' INT
eval "$__message"
