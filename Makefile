# Thin: each target is one command that can also be given by hand.
PREFIX ?= /usr/local
DESTDIR ?=
AGENT ?= shell
N ?= 50
export AGENT

bindir = $(DESTDIR)$(PREFIX)/bin
libdir = $(DESTDIR)$(PREFIX)/lib/superserve
sharedir = $(DESTDIR)$(PREFIX)/share
unitdir = $(DESTDIR)$(PREFIX)/lib/systemd/system

.PHONY: build run test test-unit test-isolation test-isolation-long test-integration test-network test-network-long \
    test-crash chaos test-vm test-power-cut test-newcomer test-outside analyze fuzz bench bench-isolation bench-recovery \
    bench-tunnel fmt lint install deb uninstall clean

build:
	@scripts/bootstrap build
	@scripts/build

run:
	@scripts/run

test:
	@scripts/test

test-unit:
	@scripts/test unit

test-isolation:
	@scripts/test isolation leaks

# More sessions and races than in CI: about half an hour.
test-isolation-long:
	@ISOLATION_FLAGS="--cycles 1000 --swaps 1000000" scripts/test isolation leaks

test-integration:
	@scripts/test integration leaks

# Needs root: networks of its own, nginx, a name server.
test-network:
	@scripts/test network leaks

# The same with 10 GB through one tunnel and ten minutes of random bytes.
test-network-long:
	@NETWORK_FLAGS=--long scripts/test network leaks

test-crash:
	@scripts/test crash leaks

# Every named place once, then random kills under load, of every process: make chaos N=1000
chaos:
	@scripts/bootstrap build run test
	@scripts/build
	@python3 Tests/Crash/crash.py
	@python3 Tests/Crash/crash.py --chaos $(N)

# On Debian's kernel 6.1 with systemd and cgroup v2. All of it, for an hour or so: scripts/test vm-all
test-vm:
	@scripts/test vm leaks

# The kernel's own tests, stress-ng and trinity inside of sessions: needs root and about half an hour.
# OUTSIDE_FLAGS="stress --minutes 20" chooses.
test-outside:
	@scripts/test outside leaks

# Kills the virtual machine under load and looks what is left on its disk.
test-power-cut:
	@scripts/bootstrap build run vm
	@scripts/build
	@Tests/VM/power-cut.sh

# The two commands of README.md on a fresh Debian: needs root and about half an hour.
test-newcomer:
	@scripts/bootstrap newcomer
	@Tests/Newcomer/newcomer.sh

bench:
	@scripts/bootstrap build run bench
	@scripts/build release
	@python3 Benchmarks/start-time.py --count $(N)

# Which doors are open in which sandbox: ours and others. Needs root.
bench-isolation:
	@scripts/bootstrap build run peers
	@scripts/build release
	@python3 Benchmarks/isolation.py

bench-recovery:
	@scripts/bootstrap build run test
	@scripts/build release
	@python3 Benchmarks/recovery.py

# Connections that leave a session, beside direct ones and tinyproxy.
bench-tunnel:
	@scripts/bootstrap build run test bench
	@scripts/build release
	@python3 Benchmarks/tunnel.py

fmt:
	@swift format --in-place --recursive Package.swift Sources Tests

lint:
	@scripts/test lint

# The C code: the static analyzer, and the parsers under a fuzzer for SECONDS each.
SECONDS ?= 60
analyze:
	@scripts/analyze

fuzz:
	@Tests/Fuzz/run $(SECONDS)

# With Swift's libraries inside of the programs, so that they run where there is no Swift.
install:
	@scripts/bootstrap build
	@SWIFT_BUILD_FLAGS="$$SWIFT_BUILD_FLAGS --static-swift-stdlib" scripts/build release
	@scripts/install "$(DESTDIR)" "$(PREFIX)"

# A package for Debian, as .build/superserve_VERSION_ARCHITECTURE.deb; lintian looks at it.
deb:
	@scripts/bootstrap build deb
	@SWIFT_BUILD_FLAGS="$$SWIFT_BUILD_FLAGS --static-swift-stdlib" scripts/build release
	@lintian --fail-on error --tag-display-limit 0 "$$(scripts/deb)"

uninstall:
	@rm -rf "$(libdir)" "$(sharedir)/superserve"
	@rm -f "$(unitdir)"/superserve.target "$(unitdir)"/superserved.service "$(unitdir)"/superserve-launcher.service \
	    "$(unitdir)"/superserve-quota.service \
	    "$(DESTDIR)$(PREFIX)/lib/sysusers.d/superserve.conf" "$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/superserve.conf"
	@rm -f "$(bindir)/superserve" "$(bindir)/superserved" "$(bindir)/superserve-launcher" \
	    "$(sharedir)"/man/man1/superserve.1* "$(sharedir)"/man/man1/superserved.1* \
	    "$(sharedir)/bash-completion/completions/superserve" "$(sharedir)/fish/vendor_completions.d/superserve.fish" \
	    "$(sharedir)/zsh/vendor-completions/_superserve"

clean:
	@rm -rf .build
