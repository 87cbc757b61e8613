#!/usr/bin/env python3
"""Writes the first inputs of the fuzzers: seeds.py DIRECTORY. What they find by themselves is added by KEEP=1 run."""

import io
import os
import pathlib
import struct
import sys
import tarfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "csandbox"))

import wire  # noqa: E402


def to_init(*packets):
    """(type, payload, offset, kind of offset)."""
    return b"".join(struct.pack("=BBHI", kind - wire.HELLO, how, len(payload), offset) + payload
                    for kind, payload, offset, how in packets)


def to_launcher(*packets):
    return b"".join(struct.pack("=BBH", kind, 0, len(payload)) + payload for kind, payload in packets)


def archive(form, *members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime = kind, 0o755, 1
            if kind == tarfile.REGTYPE:
                info.size = len(content)
            else:
                info.linkname = content
            tar.addfile(info, io.BytesIO(content) if kind == tarfile.REGTYPE else None)
    return out.getvalue()


def seeds():
    start = wire.fields(("GENERATION", 1), ("ARG", "true"), ("ENV", "A=b"), ("CWD", "/tmp"))
    signal = wire.fields(("GENERATION", 1), ("SIGNAL", 9), ("SCOPE", 2))
    path = wire.fields(("PATH", "/workspace/a"))
    yield "init", to_init((wire.START, start, 0, 0), (wire.SIGNAL, signal, 0, 0), (wire.FILES_GET, path, 0, 0),
                          (wire.FILES_PUT, path, 0, 0))
    yield "init", to_init((wire.INPUT, b"x" * 100, 0, 0), (wire.INPUT, b"y" * 100, 50, 0), (wire.ACK, b"", 99, 2),
                          (wire.ACK, b"", 700, 2), (wire.INPUT_EOF, b"", 10, 0), (wire.SHUTDOWN, b"", 0, 0))
    yield "init", to_init((wire.HELLO, wire.fields(("NONCE", bytes(16))), 0, 0), (wire.ACK, b"", 5, 1))
    yield "init", to_init((wire.ADMIT, b"", 3, 0), (wire.ANSWER, b"x" * 40, 0, 8), (wire.ANSWER, b"", 0, 8),
                          (wire.ANSWER, b"", 7, 1), (wire.ADMIT, b"", 1, 1))
    session, block = ("SESSION", "0123456789abcdef" * 2), ("BLOCK", 7)
    nonce = ("NONCE", bytes(16))
    mounts = [("MOUNT", b"/usr/share\0/data/a"), ("MOUNT", b"/etc/hosts\0/data/b"), ("MOUNT", b"/\0/proc")]
    yield "launcher", to_launcher((wire.LAUNCHER_HELLO, b""), (wire.PREPARE, wire.fields(session, block)),
                                  (wire.SPAWN, wire.fields(session, block, nonce, ("LINGER", 5), *mounts)))
    yield "launcher", to_launcher((wire.KILL, wire.fields(("PID", 1), ("START_TIME", 2))), (wire.LIST, b""),
                                  (wire.DESTROY, wire.fields(session)), (wire.MEASURE, wire.fields(session)), (8, b""))
    limits = ("LIMITS", wire.limits(memory=1 << 26, swap=0, pids=64, cpu=50000, io_weight=50))
    yield "launcher", to_launcher((wire.SPAWN, wire.fields(session, block, nonce, limits)),
                                  (wire.USAGE, wire.fields(session)), (wire.SPAWN, wire.fields(session, block, ("LIMITS", b"x"))))
    members = [("d", tarfile.DIRTYPE, ""), ("d/f", tarfile.REGTYPE, b"x" * 600), ("d/l", tarfile.SYMTYPE, "../.."),
               ("d/h", tarfile.LNKTYPE, "d/f"), ("away/f", tarfile.REGTYPE, b"y"), ("../o", tarfile.REGTYPE, b"z"),
               ("/abs", tarfile.REGTYPE, b"z"), ("d/l/x", tarfile.REGTYPE, b"z"), ("p", tarfile.FIFOTYPE, ""),
               ("n" * 150 + "/" + "m" * 120, tarfile.REGTYPE, b"long")]
    for form in tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT:
        data = archive(form, *(members[:-1] if form == tarfile.USTAR_FORMAT else members))
        data = data[:data.rstrip(b"\0").__len__() + 512]
        yield "tar", data
        for target in b"\0\1\2":
            yield "put", bytes([target]) + data
    for member in members:
        data = archive(tarfile.PAX_FORMAT, member)[:2560]
        yield "tar", data
        yield "put", b"\0" + data


def main():
    for number, (name, data) in enumerate(seeds()):
        place = os.path.join(sys.argv[1], name)
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, f"seed-{number:02}"), "wb") as file:
            file.write(data)


if __name__ == "__main__":
    main()
