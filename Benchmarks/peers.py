"""What the benchmarks need to run other sandboxes."""

import os
import shutil


class Unavailable(Exception):
    """A peer cannot run here; the text says why."""


def find(program, package):
    path = shutil.which(program)
    if path is None:
        raise Unavailable(f"not installed (apt-get install {package})")
    return path


def system_directories():
    """What of / leads to programs: directories and links."""
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = "/" + name
        if os.path.islink(path):
            yield path, os.readlink(path)
        elif os.path.isdir(path):
            yield path, None
