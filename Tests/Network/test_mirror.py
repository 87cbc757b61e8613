"""pip and git over HTTPS from a mirror that a company could have, with a certificate of its own authority: the agent's
file mounts the authority's certificate and names it to the programs."""

import hashlib
import os
import subprocess
import zipfile

from harness import check, equal
from test_reach import NO_PROXY

INDEX = "https://mirror.example/mirror/simple/"
REPOSITORY = "https://mirror.example/mirror/repository.git"
AGENT = """protocol: exec
command: [/bin/sh, -c, "{{message}}"]
mounts: ["{ca}:/opt/company/ca.pem"]
env: {{PIP_CERT: /opt/company/ca.pem, GIT_SSL_CAINFO: /opt/company/ca.pem, SSL_CERT_FILE: /opt/company/ca.pem}}
network: {{allow: [mirror.example]}}"""


def wheel(directory, name, module, requires=""):
    """A package of one module, as the wheel format wants it."""
    path = os.path.join(directory, f"{name}-1.0-py3-none-any.whl")
    info = f"{name}-1.0.dist-info"
    files = {f"{name}.py": module,
             f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}",
             f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file, text)
    return path


def make_mirror(net):
    """An index of two packages, one of which needs the other, and a repository; nginx serves both as files."""
    root = os.path.join(net.dir, "www", "mirror")
    if os.path.exists(root):
        return
    os.makedirs(os.path.join(root, "files"))
    packages = {"mirrored": ("import needed\nprint('mirrored and', needed.word)\n", "Requires-Dist: needed\n"),
                "needed": ("word = 'needed'\n", "")}
    for name, (module, requires) in packages.items():
        path = wheel(os.path.join(root, "files"), name, module, requires)
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        os.makedirs(os.path.join(root, "simple", name))
        with open(os.path.join(root, "simple", name, "index.html"), "w") as file:
            base = os.path.basename(path)
            file.write(f'<!DOCTYPE html><html><body><a href="/mirror/files/{base}#sha256={digest}">{base}</a></body></html>')
    source = os.path.join(net.dir, "source")
    git("init", "-q", "-b", "main", source)
    with open(os.path.join(source, "large"), "wb") as file:
        file.write(os.urandom(3 << 20))
    with open(os.path.join(source, "README"), "w") as file:
        file.write("cloned\n")
    git("-C", source, "add", ".")
    git("-C", source, "-c", "user.name=test", "-c", "user.email=test@example", "commit", "-q", "-m", "first")
    git("clone", "-q", "--bare", source, os.path.join(root, "repository.git"))
    git("-C", os.path.join(root, "repository.git"), "update-server-info")


def git(*arguments):
    subprocess.run(["git", *arguments], check=True, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"})


def builder(suite, world):
    make_mirror(suite.net)
    world.agent("builder", AGENT.format(ca=os.path.join(suite.net.dir, "ca.pem")))
    return world.create("builder")


def test_pip_installs_from_a_mirror(suite):
    with suite.world() as world:
        world.start()
        session = builder(suite, world)
        said = world.sh(session, "python3 -m venv /workspace/v && ls /workspace/v/bin/pip")
        check(said.strip().endswith("/pip"), said)
        install = f"/workspace/v/bin/pip install -q --no-cache-dir --index-url {INDEX} --target /workspace/{{0}} mirrored"
        for name, before in (("proxied", ""), ("itself", NO_PROXY)):
            world.sh(session, before + install.format(name))
            equal(world.sh(session, f"PYTHONPATH=/workspace/{name} python3 -c 'import mirrored'"),
                  "mirrored and needed\n", name)
        for name, before in (("untrusted", "unset PIP_CERT; "), ("untrusted", NO_PROXY + "unset PIP_CERT; ")):
            said = world.sh(session, before + install.format(name).replace("-q", "--retries 0"))
            check("CERTIFICATE_VERIFY_FAILED" in said, f"without the authority: {said}")
        for before in ("", NO_PROXY):
            said = world.sh(session, before + install.format("other").replace("mirror.example", "www.example")
                            + " --retries 0")
            check("ERROR" in said and "No matching distribution" in said, f"from elsewhere: {said}")
        world.check_alive()


def test_git_clones_from_a_mirror(suite):
    with suite.world() as world:
        world.start()
        session = builder(suite, world)
        with open(os.path.join(suite.net.dir, "source", "large"), "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        for name, before in (("proxied", ""), ("itself", NO_PROXY)):
            said = world.sh(session, before + f"git clone -q {REPOSITORY} {name} && cd {name} && git fsck && cat README && "
                            "sha256sum large && git fetch && echo fetched")
            check("cloned\n" in said and digest in said and said.endswith("fetched\n"), f"{name}: {said}")
            said = world.sh(session, before + f"unset GIT_SSL_CAINFO SSL_CERT_FILE; git clone -q {REPOSITORY} untrusted{name}")
            check("certificate" in said, f"without the authority: {said}")
            said = world.sh(session, before + f"git clone -q {REPOSITORY.replace('mirror', 'www', 1)} elsewhere{name}")
            check("fatal" in said, f"from elsewhere: {said}")
        world.check_alive()
