# shellcheck shell=bash
# Makes fresh Debian 12 systems for tests: with the mirror and the settings of the host's apt. To be sourced.

# "URI SUITE" of the host's Debian mirrors for this release.
host_mirrors() {
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' 2>/dev/null |
        awk '$4 == "Debian" && $3 == "main" && $2 ~ /^bookworm/ { print $1, $2 }' | sort -u
}

host_apt_settings() {
    apt-config dump | grep -iE '^Acquire::(http|https|ftp|Retries)[^ ]*(proxy|verify|timeout|retries|cainfo)' || true
}

# Where finished systems are kept.
cache_directory() {
    if [ -n "${XDG_CACHE_HOME:-}" ]; then
        echo "$XDG_CACHE_HOME/superserve"
    elif [ "$(id -u)" -eq 0 ]; then
        echo /var/cache/superserve
    else
        echo "$HOME/.cache/superserve"
    fi
}

# Debian's smallest system in the empty directory TREE. Needs root. What it prints is for a log.
make_debian() { # TREE
    local tree=$1 mirror
    mirror=$(host_mirrors | awk '$2 == "bookworm" { print $1; exit }')
    mirror=${mirror:-http://deb.debian.org/debian/}
    debootstrap --variant=minbase --include=ca-certificates bookworm "$tree" "$mirror" || return
    host_mirrors | while read -r uri suite; do echo "deb $uri $suite main"; done >"$tree/etc/apt/sources.list"
    [ -s "$tree/etc/apt/sources.list" ] || echo "deb $mirror bookworm main" >"$tree/etc/apt/sources.list"
    host_apt_settings >"$tree/etc/apt/apt.conf.d/90host"
}

# Installs packages into TREE, as an installer does it: in a mount namespace of its own.
install_in_debian() { # TREE APT-OPTION-OR-PACKAGE...
    # shellcheck disable=SC2016 # expanded inside
    unshare --mount --propagation private bash -c '
        tree=$1; shift
        mount -t proc proc "$tree/proc"
        cp -L /etc/resolv.conf "$tree/etc/resolv.conf"
        chroot "$tree" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
            sh -c "apt-get -q update && apt-get -q -y install $*"
    ' - "$@" </dev/null || return
    chroot "$1" apt-get clean
    rm -rf "${1:?}"/var/lib/apt/lists/*
}
