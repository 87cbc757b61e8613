# The virtual machine that vm.sh, package.sh and power-cut.sh start: its image, its payload, its process. To be sourced; the caller
# has set here, repository, work, all, only, deadline, and has say, die and cleanup.
# shellcheck shell=bash

# The programs under test, and those that this needs itself (group 'vm' in scripts/bootstrap).
check_programs() {
    local program
    for program in qemu-system-x86_64 mksquashfs setpriv flock ldd; do
        command -v "$program" >/dev/null || die "$program is missing; run: scripts/bootstrap vm"
    done
    programs=${SUPERSERVE_BIN:-$repository/.build/debug}
    for program in superserve superserved superserve-launcher; do
        [ -x "$programs/$program" ] || die "$programs/$program is missing; run: scripts/build"
    done
}

find_image() {
    # A mount namespace of its own: whatever interrupts it, no mount is left.
    local cache maker=(unshare --mount --propagation private "$here/image.sh")
    cache=$(cache_directory)
    mkdir -p "$cache" || die "$cache cannot be made"
    image=$cache/vm-$("$here/image.sh" --key)
    exec 9>"$cache/vm.lock"
    flock -w 1200 9 || die "somebody else has been making an image for twenty minutes"
    if [ ! -s "$image/disk" ]; then
        [ "$(id -u)" -eq 0 ] || maker=(sudo -- "${maker[@]}")
        "${maker[@]}" "$image" 9>&- || die "the image of the VM could not be made"
        # What no checkout has used for long
        find "$cache" -maxdepth 1 -name 'vm-*' -mtime +14 ! -path "$image" -exec rm -rf {} + 2>/dev/null
        say "made the image in $SECONDS s: $(du -sh "$image" | cut -f 1)"
    fi
    touch -c "$image" 2>/dev/null
    exec 9>&-
}

# Programs as they are installed, Swift's libraries beside them (where RUNPATH's $ORIGIN finds them), tests.
make_payload() {
    local tree=$work/payload program library
    mkdir -p "$tree/bin" "$tree/share/superserve" "$tree/scripts"
    for program in superserve superserved superserve-launcher; do
        cp "$programs/$program" "$tree/bin/"
        { ldd "$programs/$program" 2>/dev/null || true; } | awk '$2 == "=>" && $3 ~ /^\// { print $3 }'
    done | sort -u >"$work/libraries"
    while read -r library; do
        # The system's own libraries are Debian's in the VM too.
        case $(readlink -f "$library") in
        /lib/* | /usr/lib/x86_64-linux-gnu/*) ;;
        *) cp -L "$library" "$tree/bin/" ;;
        esac
    done <"$work/libraries"
    if $all; then
        mkdir "$tree/weak"
        python3 "$repository/Tests/Isolation/setting.py" "$tree/weak/superserve-launcher" ||
            die "the launcher with the tests' switch could not be compiled"
    fi
    cp -R "$repository/config/agents" "$tree/share/superserve/agents"
    mkdir "$tree/config"
    cp -R "$repository/config/systemd" "$tree/config/"
    cp -R "$repository/scripts/lib" "$repository/scripts/leak-check" "$tree/scripts/"
    # Tests compare the programs with their documents and sources.
    cp -R "$repository/Tests" "$repository/CSandbox" "$repository/docs" "$repository/Sources" "$tree/"
    [ -z "${packages:-}" ] || cp -R "$packages" "$tree/packages"
    printf 'mode=%q all=%q only=%q slowness=%q\n' "${mode:-tests}" "$all" "$only" "$slowness" >"$tree/options"
    mksquashfs "$tree" "$work/payload.squashfs" -noappend -all-root -no-progress -quiet -noI -noD -noF -noX >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; die "the disk with the programs could not be made"; }
    rm -rf "$tree"
}

# --- the machine ----------------------------------------------------------------------------------------------------

# KVM that is there and cannot run a machine is no KVM: let one begin.
kvm_works() {
    [ -w /dev/kvm ] || return 1
    # In a shell of its own, which says nothing when QEMU aborts.
    (
        timeout 20 qemu-system-x86_64 -accel kvm -cpu host -smp 1 -m 512 -nodefaults -no-user-config -display none \
            -no-reboot -serial "file:$work/kvm" -kernel "$image/kernel" -append "console=ttyS0 panic=-1"
        true
    ) >/dev/null 2>&1 </dev/null
    # Without a disk, this is how far it comes.
    grep -q 'Unable to mount root fs' "$work/kvm" 2>/dev/null
}

choose_accelerator() {
    local wanted=${SUPERSERVE_VM_ACCEL:-}
    [ -n "$wanted" ] || { if kvm_works; then wanted=kvm; else wanted=tcg; fi; }
    case $wanted in
    kvm) accelerator=(-accel kvm -cpu host) slowness=2 ;;
    tcg) accelerator=(-accel "tcg,thread=multi" -cpu max) slowness=10 ;;
    *) die "SUPERSERVE_VM_ACCEL is '$wanted', not kvm or tcg" ;;
    esac
}

# Drivers that udev would load for nothing; some test their algorithms first.
unused="cryptomgr.notests modprobe.blacklist=aesni_intel,ghash_clmulni_intel,crc32_pclmul,crct10dif_pclmul"
unused+=",sha512_ssse3,ata_piix,psmouse,pcspkr,floppy,kvm,kvm_amd,kvm_intel"

start_machine() {
    say "starting: ${accelerator[*]}"
    : >"$work/results"
    # The kernel kills it when this script dies, however that happens. Its writes go to a file in TMPDIR.
    TMPDIR=$work setpriv --pdeathsig KILL qemu-system-x86_64 "${accelerator[@]}" -smp 2 -m 3072 \
        -nodefaults -no-user-config -display none -nic none -no-reboot -serial "file:$work/console" \
        -kernel "$image/kernel" -initrd "$image/initrd" \
        -append "root=LABEL=root rw console=ttyS0 panic=-1 nowatchdog systemd.unit=payload.target $unused" \
        -drive "${root_disk:-file=$image/disk,format=raw,if=virtio,snapshot=on,cache=unsafe}" \
        -drive "file=$work/payload.squashfs,format=raw,if=none,id=payload,readonly=on" \
        -device virtio-blk-pci,drive=payload,serial=payload -device virtio-rng-pci \
        -device virtio-serial-pci -chardev "file,id=results,path=$work/results" \
        -device virtserialport,chardev=results,name=results "${disks[@]}" </dev/null >"$work/qemu" 2>&1 &
    machine=$!
    cleanup+=(kill_machine)
}

kill_machine() {
    [ -n "$machine" ] || return 0
    kill -KILL "$machine" 2>/dev/null
    wait "$machine" 2>/dev/null
    machine=
}

# More disks, as options of QEMU.
disks=()

# Shows what the VM reports until it is off or the deadline has come.
follow_machine() {
    local shown began=$SECONDS
    tail -n +1 -f --pid="$machine" "$work/results" &
    shown=$! # ends with the machine
    while kill -0 "$machine" 2>/dev/null; do
        if [ $((SECONDS - began)) -ge "$deadline" ]; then
            say "not done after $deadline s"
            kill -KILL "$machine"
            break
        fi
        sleep 0.5
    done
    wait "$machine" 2>/dev/null
    status=$?
    wait "$shown" 2>/dev/null
    machine=
    say "off after $((SECONDS - began)) s"
}
