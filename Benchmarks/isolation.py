#!/usr/bin/env python3
"""Which doors are open in which sandbox?

    python3 Benchmarks/isolation.py [--bin DIR] [--json]

The probe of the isolation tests, the same binary with the same arguments, in a session of superserve and in other
sandboxes as they come: each by its usual command, with the network off where that is an option, started by root. A
door is open when what it stands for was really done (Tests/Isolation/probe). Prints a Markdown table of those that
are open anywhere.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

from peers import Unavailable, find, system_directories

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "Tests", "Isolation"))

# What every sandbox could keep shut. Left out are doors to process 1, which in some of these is the probe itself, and
# those that depend on what root directory the benchmark gives them.
DOORS = """user-namespace-unshare user-namespace-clone user-namespace-clone3 network-namespace-rights
mount-namespace-rights host-name host-shared-memory host-cgroup-path host-process-seen host-process-signal mount
mount-bind uncover remount pivot-root chroot-twice open-tree fsopen
core-pattern drop-caches sysctl-writable irq-writable proc-keys proc-interrupts proc-timer-list
proc-kmsg proc-kallsyms sys-listed sys-writable cgroup-writable
device-files mknod-block tiocsti tioclinux line-discipline
capabilities-effective capabilities-bounding new-privileges core-limit process-limit give-file-to-root
real-time nicer
host-loopback outside interfaces host-abstract-socket vsock netlink-xfrm netlink-netfilter netlink-generic
socket-families socket-protocols unix-out-of-band add-address iptables
io-uring bpf perf-event key-kept file-handle file-handle-open fanotify kcmp pidfd-getfd seccomp-listener
prctl-memory-map read-implies-execute foreign-architecture listmount kernel-log reboot userfaultfd secret-memory
gift-pages segments host-file host-shadow descriptors-leaked""".split()
TIMEOUT = 120  # seconds for one sandbox
# Where both versions of control groups are in use, crun wants to see the second only; its own use of them, which
# needs the right to raise limits, shuts no door that is measured here.
ONE_VERSION = ["unshare", "--mount", "sh", "-c", 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', "sh"] \
    if os.path.isdir("/sys/fs/cgroup/unified") else []


def version(words):
    done = subprocess.run(words, capture_output=True, text=True)
    return next((word for line in done.stdout.splitlines() for word in line.split() if word[:1].isdigit()), "?")


class Peers:
    """Commands that run the probe, by name."""

    def __init__(self, probe, directory):
        self.probe = probe
        self.directory = directory
        self.number = 0

    def root(self):
        """A root file system with the probe in it, and nothing else but empty directories."""
        self.number += 1
        root = os.path.join(self.directory, f"root{self.number}")
        for name in ("usr/bin", "usr/lib", "proc", "dev", "sys", "tmp", "etc", "run"):
            os.makedirs(os.path.join(root, name))
        for path, link in system_directories():
            if link:
                os.symlink(link, root + path)
            else:
                os.mkdir(root + path)
        shutil.copy(self.probe, os.path.join(root, "probe"))
        with open(os.path.join(root, "etc", "os-release"), "w") as file:
            file.write("ID=probe\n")
        return root

    def bubblewrap(self):
        words = [find("bwrap", "bubblewrap"), "--unshare-all", "--die-with-parent", "--new-session",
                 "--cap-drop", "ALL", "--ro-bind", "/usr", "/usr"]
        for path, link in system_directories():
            words += ["--symlink", link, path] if link else ["--ro-bind", path, path]
        return words + ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--ro-bind", self.probe, "/probe",
                        "/probe"]

    def firejail(self):
        return [find("firejail", "firejail"), "--quiet", "--noprofile", "--net=none", "--private", "--private-dev",
                "--private-tmp", "--caps.drop=all", "--nonewprivs", "--seccomp", self.probe]

    def oci(self, name):
        program = find(name, name)
        bundle = os.path.join(self.directory, name)
        os.mkdir(bundle)
        os.rename(self.root(), os.path.join(bundle, "rootfs"))
        subprocess.run([program, "spec"], cwd=bundle, check=True)
        path = os.path.join(bundle, "config.json")
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
                                 "options": ["nosuid", "nodev", "mode=1777"]})
        def command(arguments):
            config["process"].update(terminal=False, args=["/probe", *arguments])
            with open(path, "w", encoding="utf-8") as file:
                json.dump(config, file)
            groups = ["--cgroup-manager=disabled"] if name == "crun" else []
            return [*ONE_VERSION, program, *groups, "--root", os.path.join(bundle, "state"), "run", "--bundle", bundle,
                    f"superserve-{os.getpid()}"]

        return command

    def nspawn(self):
        return [find("systemd-nspawn", "systemd-container"), "--quiet", "--register=no", "--keep-unit", "--pipe",
                "--private-network", "--as-pid2", f"--directory={self.root()}", "/probe"]

    def podman(self):
        return [*ONE_VERSION, find("podman", "podman"), "--cgroup-manager=cgroupfs", "run", "--rm", "--network=none",
                "--cgroups=disabled", "--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096",
                "--rootfs", self.root(), "/probe"]


def opponents(peers):
    """(name, how to make the command, how to ask for the version)."""
    return [
        ("bubblewrap", peers.bubblewrap, ["bwrap", "--version"]),
        ("firejail", peers.firejail, ["firejail", "--version"]),
        ("crun", lambda: peers.oci("crun"), ["crun", "--version"]),
        ("runc", lambda: peers.oci("runc"), ["runc", "--version"]),
        ("systemd-nspawn", peers.nspawn, ["systemd-nspawn", "--version"]),
        ("podman", peers.podman, ["podman", "--version"]),
    ]


def measure(setting, name, make, words):
    command = make()
    arguments = ["run", *words, *DOORS]
    command = command(arguments) if callable(command) else [*command, *arguments]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired as late:
        raise Unavailable(f"no answer within {TIMEOUT} s") from late
    found = setting.Verdicts(done.stdout)
    if len(found) < len(DOORS):
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Unavailable(f"{name} does not run here: {said[-1][:160] if said else done.returncode}")
    return found


def run(setting, stack):
    programs = setting.Programs(stack)
    results, missing, versions = {}, {}, {}
    with setting.Setting(programs) as world:
        world.start()
        words = world.host.words()
        with world.session() as session:
            results["superserve"] = world.probe(session, *DOORS)
        directory = tempfile.mkdtemp(prefix="superserve-bench-", dir="/opt")
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        os.chmod(directory, 0o755)
        probe = os.path.join(directory, "probe")
        shutil.copy(programs.probe, probe)
        for name, make, ask in opponents(Peers(probe, directory)):
            try:
                results[name] = measure(setting, name, make, words)
                versions[name] = version(ask)
            except (Unavailable, OSError, subprocess.CalledProcessError) as reason:
                missing[name] = str(reason)
    return results, missing, versions


def table(results, versions):
    names = list(results)
    rows = ["| door | " + " | ".join(f"{name} {versions.get(name, '')}".strip() for name in names) + " |",
            "|---|" + "---|" * len(names)]
    counts = {name: sum(results[name].get(door, ("",))[0] == "OPEN" for door in DOORS) for name in names}
    rows.append("| **open, of " + str(len(DOORS)) + "** | " + " | ".join(f"**{counts[name]}**" for name in names) + " |")
    marks = {"OPEN": "open", "SHUT": "", "BROKEN": "?"}
    for door in DOORS:
        found = [results[name].get(door, ("BROKEN",))[0] for name in names]
        if "OPEN" in found:
            rows.append(f"| {door} | " + " | ".join(marks[one] for one in found) + " |")
    shut = [door for door in DOORS if all(results[name].get(door, ("",))[0] == "SHUT" for name in names)]
    return rows, shut


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=os.path.join(ROOT, ".build", "release"), help="directory of the programs")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("the others are measured as root starts them; run this as root")
    if not os.access(os.path.join(arguments.bin, "superserved"), os.X_OK):
        parser.error(f"{arguments.bin} has no superserved; build it with: make build, or scripts/build release")
    os.environ["SUPERSERVE_BIN"] = os.path.abspath(arguments.bin)
    import setting
    with contextlib.ExitStack() as stack:
        results, missing, versions = run(setting, stack)
    if arguments.json:
        print(json.dumps({"results": results, "missing": missing, "versions": versions}))
    else:
        rows, shut = table(results, versions)
        print("\n".join(rows))
        print("\nShut everywhere: " + ", ".join(shut) + ".")
        for name, reason in missing.items():
            print(f"Not measured: {name}: {reason}")
    return 0 if not results["superserve"].open and len(results["superserve"]) == len(DOORS) else 1


if __name__ == "__main__":
    sys.exit(main())
