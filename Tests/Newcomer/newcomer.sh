#!/bin/bash
# The two commands of README.md on a fresh Debian 12 that has Swift and nothing else, as root and as a user with sudo.
#
#   Tests/Newcomer/newcomer.sh [--as root|user] [--only run|test|test:SUITE|build]    needs root; keeps nothing but a cache
#
# The system is made by debootstrap and holds the packages that Swift's own Debian 12 image installs; Swift is the
# host's, mounted read-only. The clone inside is of the last commit, so commit first. It has mount, pid and ipc
# namespaces of its own and pivot_root(2), not chroot(2): a chrooted process may not make user namespaces.
# The mirror, apt's proxy settings and git's `insteadOf` rules are those of the host.
# The base system is cached below ${XDG_CACHE_HOME:-/var/cache}/superserve; delete it to have it made anew.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
repository=$(cd "$here/../.." && pwd -P)
# shellcheck source=scripts/lib/cleanup.sh
. "$repository/scripts/lib/cleanup.sh"
# shellcheck source=scripts/lib/debian.sh
. "$repository/scripts/lib/debian.sh"

# What https://github.com/swiftlang/swift-docker (debian/12) installs beside Swift itself.
swift_packages=(
    binutils gcc git libcurl4-openssl-dev libedit-dev libicu-dev libncurses-dev libpython3-dev libsqlite3-dev
    libstdc++-12-dev libxml2-dev pkg-config tzdata uuid-dev
)

die() { printf 'Error: %s\n' "$*" >&2; exit 1; }
say() { printf 'newcomer: %s\n' "$*" >&2; }

# --- the host's settings -----------------------------------------------------------------------------------------

# "BASE<TAB>ADDRESS" of git's url.BASE.insteadOf = ADDRESS
host_git_rules() {
    { git config --system --get-regexp '^url\..*\.insteadof$' || true
      git config --global --get-regexp '^url\..*\.insteadof$' || true; } 2>/dev/null |
        sed -nE 's/^url\.(.*)\.insteadof (.*)$/\1\t\2/p' | sort -u
}

# --- the base system ------------------------------------------------------------------------------------------------

make_base() { # TARBALL
    local tree
    tree=$(mktemp -d /var/tmp/superserve-newcomer.XXXXXX)
    cleanup+=("rm -rf --one-file-system '$tree' '$tree.log'")
    chmod 755 "$tree"
    say "making a fresh Debian 12"
    make_debian "$tree" >"$tree.log" 2>&1 || { tail -n 20 "$tree.log" >&2; die "debootstrap failed"; }
    # sudo is the user's own, as on every system of this kind.
    install_in_debian "$tree" sudo "${swift_packages[@]}" >"$tree.log" 2>&1 ||
        { tail -n 20 "$tree.log" >&2; die "the packages that Swift needs could not be installed"; }
    tar -C "$tree" -cf "$1.new" --one-file-system .
    mv "$1.new" "$1"
    rm -rf --one-file-system "$tree" "$tree.log"
}

base_tarball() {
    local cache name
    cache=$(cache_directory)
    name=$(printf '%s\n' "${swift_packages[@]}" sudo | sha256sum | cut -c 1-12)
    mkdir -p "$cache"
    base=$cache/bookworm-$name.tar
    [ -s "$base" ] || make_base "$base"
}

# --- one newcomer ---------------------------------------------------------------------------------------------------

prepare_tree() { # TREE ACCOUNT
    local tree=$1 account=$2 home
    tar -C "$tree" -xf "$base"
    chmod 755 "$tree"
    cp -L /etc/resolv.conf "$tree/etc/resolv.conf"
    host_apt_settings >"$tree/etc/apt/apt.conf.d/90host"
    echo newcomer >"$tree/etc/hostname"
    printf '127.0.0.1 localhost newcomer\n' >"$tree/etc/hosts"
    home=$(chroot "$tree" getent passwd root | cut -d : -f 6)
    if [ "$account" = user ]; then
        home=/home/newcomer
        chroot "$tree" useradd --create-home --shell /bin/bash newcomer
        echo 'newcomer ALL=(ALL) NOPASSWD: ALL' >"$tree/etc/sudoers.d/newcomer"
        chmod 440 "$tree/etc/sudoers.d/newcomer"
    fi
    mkdir -p "$tree/opt/swift/usr" "$tree/etc/newcomer"
    host_git_rules >"$tree/etc/newcomer/git-rules"
    if [ -s "$tree/etc/newcomer/git-rules" ]; then
        while IFS=$'\t' read -r from to; do
            git config --file "$tree/etc/gitconfig" --add "url.$from.insteadOf" "$to"
            # Mirrors on this machine belong to whoever set it up.
            git config --file "$tree/etc/gitconfig" safe.directory '*'
        done <"$tree/etc/newcomer/git-rules"
    fi
    git -c safe.directory='*' clone --quiet --no-hardlinks "$repository" "$tree$home/superserve" 2>&1 |
        grep -v 'warning: ' >&2 || true
    [ -e "$tree$home/superserve/README.md" ] || die "the repository could not be cloned"
    git -C "$tree$home/superserve" -c safe.directory='*' remote remove origin
    if [ "$account" = user ]; then chroot "$tree" chown -R newcomer:newcomer "$home/superserve"; fi
    cp "$here/inside.sh" "$here/conversation.sh" "$tree/etc/newcomer/"
}

newcomer() { # ACCOUNT WHAT
    local tree status=0
    say "a newcomer as $1: $2"
    tree=$(mktemp -d /var/tmp/superserve-newcomer.XXXXXX)
    cleanup+=("rm -rf --one-file-system '$tree'")
    prepare_tree "$tree" "$1"
    unshare --mount --pid --ipc --uts --fork --kill-child --propagation private --mount-proc \
        bash "$here/enter.sh" "$tree" "$toolchain" "$1" "$2" </dev/null || status=$?
    rm -rf --one-file-system "$tree"
    return "$status"
}

accounts=(root user)
what=all
while [ $# -gt 0 ]; do
    case $1 in
    --as) accounts=("${2:?}"); shift ;;
    --only) what=${2:?}; shift ;;
    *) die "unknown option '$1'" ;;
    esac
    shift
done
[ "$(id -u)" -eq 0 ] || die "a fresh system can only be made by root"
for program in debootstrap git unshare tar; do
    command -v "$program" >/dev/null || die "$program is missing; run: apt-get install debootstrap git util-linux tar"
done
toolchain=$(dirname "$(dirname "$(readlink -f "$(command -v swift)")")")
[ "$toolchain" != /usr ] || die "Swift is installed in /usr and cannot be shown to another system by itself"
base_tarball

passed=0 failed=0
for account in "${accounts[@]}"; do
    if newcomer "$account" "$what"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        say "the newcomer as $account was let down"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
