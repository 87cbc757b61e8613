"""Files in and out of a session by the API, as tar streams, and things of the host that must stay as they are."""

import hashlib
import os
import tarfile

from harness import get_files as get, put_files as put  # noqa: F401 - for the tests

SECRET = b"the host's canary\n"


class Canaries:
    """A directory tree of the host that every test looks at afterwards; anybody may write to it."""

    def __init__(self, world):
        self.top = os.path.join(world.dir, "canaries")
        os.makedirs(os.path.join(self.top, "deep"))
        for name in ("f", "deep/f"):
            with open(os.path.join(self.top, name), "wb") as file:
                file.write(SECRET)
        for path in (self.top, os.path.join(self.top, "deep")):
            os.chmod(path, 0o777)
        for name in ("f", "deep/f"):
            os.chmod(os.path.join(self.top, name), 0o666)
        self.before = self.state()

    def state(self):
        """Names, kinds, owners, times and contents."""
        found = []
        for place, directories, files in os.walk(self.top):
            for name in [".", *directories, *files]:
                path = os.path.join(place, name)
                status = os.lstat(path)
                digest = ""
                if name in files:
                    with open(path, "rb") as file:
                        digest = hashlib.sha256(file.read()).hexdigest()
                found.append((path, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, digest))
        return sorted(found)

    def changes(self):
        return sorted(set(self.state()) ^ set(self.before))


def member(name, kind=tarfile.REGTYPE, link="", mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info
