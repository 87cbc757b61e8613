# shellcheck shell=bash
# Sums up suites that end with `N passed, N failed[, N skipped]`. To be sourced; `work` is a directory for logs.

passed=0 failed=0 skipped=0
results=()

record() { # NAME PASSED FAILED [SKIPPED [SECONDS]]
    passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + ${4:-0}))
    results+=("$(printf '%-28s %5d passed %5d failed %5d skipped%s' "$1" "$2" "$3" "${4:-0}" "${5:+ $(printf '%5d s' "$5")}")")
}

heading() { printf '\n== %s\n' "$*"; }

# Runs a command whose output ends with `N passed, N failed` and records that.
counted() {
    local name=$1 log status counts p f s began=$SECONDS
    shift
    log=$work/log.$RANDOM
    heading "$name"
    "$@" 2>&1 </dev/null | tee "$log"
    status=${PIPESTATUS[0]}
    counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$log" | tail -n 1)
    if [ -z "$counts" ]; then
        echo "$name ended with status $status and no count"
        record "$name" 0 1 0 $((SECONDS - began))
        return
    fi
    read -r p _ f _ s _ <<<"${counts//,/}"
    # A suite that fails without saying in what, or that runs nothing, has failed.
    if [ "$f" -eq 0 ] && { [ "$status" -ne 0 ] || [ "$p" -eq 0 ]; }; then f=1; fi
    record "$name" "$p" "$f" "${s:-0}" $((SECONDS - began))
}

# Prints what was recorded; the last line is the sum. False unless something passed and nothing failed.
summary() {
    heading summary
    printf '%s\n' "${results[@]}"
    if [ "$skipped" -gt 0 ]; then
        printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    else
        printf '\n%d passed, %d failed\n' "$passed" "$failed"
    fi
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
