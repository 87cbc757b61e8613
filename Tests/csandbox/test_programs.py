"""What agents need every day and must keep working under all measures. Each script ends with the line 42."""

import shutil
import subprocess

import wire
from steps import ENV

# A wheel made by hand: pip needs nothing of the network to install it.
WHEEL = """
import zipfile
with zipfile.ZipFile('/tmp/answer-1-py3-none-any.whl', 'w') as wheel:
    wheel.writestr('answer.py', 'VALUE = 42\\n')
    info = 'answer-1.dist-info/'
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: answer\\nVersion: 1\\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(info + 'RECORD', 'answer.py,,\\n%sMETADATA,,\\n%sWHEEL,,\\n%sRECORD,,\\n' % (info, info, info))
"""

PYTHON = {
    "threads": """
import threading
total, lock = 0, threading.Lock()
def add():
    global total
    with lock: total += 1
threads = [threading.Thread(target=add) for _ in range(42)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(total)
""",
    "processes and shared memory": """
import multiprocessing, multiprocessing.shared_memory as shared
def double(x): return 2 * x
memory = shared.SharedMemory(create=True, size=4096)
memory.buf[0] = 42
with multiprocessing.Pool(4) as pool: assert sum(pool.map(double, range(10))) == 90
other = shared.SharedMemory(memory.name)
print(other.buf[0])
other.close(); memory.close(); memory.unlink()
""",
    "inotify": """
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.inotify_init1(0)
assert libc.inotify_add_watch(fd, b'/workspace', 0x100) >= 0  # IN_CREATE
open('/workspace/seen', 'w').close()
assert b'seen' in os.read(fd, 4096)
print(42)
""",
    "epoll, timerfd, eventfd, signalfd": """
import asyncio, os, select, signal
primary, secondary = os.pipe()
poll = select.epoll()
poll.register(primary, select.EPOLLIN)
os.write(secondary, b'x')
assert poll.poll(5) == [(primary, select.EPOLLIN)]
async def main():
    process = await asyncio.create_subprocess_exec('echo', '42', stdout=asyncio.subprocess.PIPE)
    await asyncio.sleep(0.01)
    return (await process.communicate())[0]
print(asyncio.run(main()).decode().strip())
""",
    "unix sockets": """
import array, os, socket, threading
for name in '/tmp/socket', '\\0abstract', '/run/user/1000/socket':
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        if os.fork() == 0:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(name)
                socket.send_fds(client, [b'x'], [1])
            os._exit(0)
        connection, _ = server.accept()
        _, fds, _, _ = socket.recv_fds(connection, 1, 1)
        os.wait()
os.write(fds[0], b'42\\n')
""",
    "mappings": """
import ctypes, mmap, os
fd = os.memfd_create('x')
os.truncate(fd, 4096)
page = mmap.mmap(fd, 4096)
page[:2] = b'42'
code = mmap.mmap(-1, 4096, prot=7)
code.write(b'\\xb8\\x2a\\0\\0\\0\\xc3' if os.uname().machine == 'x86_64' else b'\\x40\\x05\\x80\\x52\\xc0\\x03\\x5f\\xd6')
print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))())
assert os.pread(fd, 2, 0) == b'42'
""",
    "an agent's own Landlock": """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
version = libc.syscall(444, None, 0, 1)
if version > 0:
    ruleset = libc.syscall(444, ctypes.byref(ctypes.c_uint64(2)), 8, 0)  # writing files
    assert ruleset >= 0 and libc.prctl(38, 1, 0, 0, 0) == 0 and libc.syscall(446, ruleset, 0) == 0
    try: open('/tmp/x', 'w'); raise SystemExit('not refused')
    except PermissionError: pass
print(42)
""",
    "locks, links, moves between directories": """
import fcntl, os, tempfile
with tempfile.TemporaryDirectory(dir='/workspace') as top:
    os.makedirs(top + '/a/b'); os.makedirs(top + '/c')
    with open(top + '/a/b/f', 'w') as file:
        fcntl.flock(file, fcntl.LOCK_EX); file.write('42')
    os.rename(top + '/a/b/f', top + '/c/f'); os.link(top + '/c/f', top + '/a/l'); os.symlink('l', top + '/a/s')
    os.rename(top + '/a', top + '/c/a'); os.truncate(top + '/c/f', 2)
    print(open(top + '/c/a/s').read())
""",
}

SHELL = {
    "venv": ("/usr/bin/python3", "python3 -m venv /tmp/venv && python3 -c \"$WHEEL\" && . /tmp/venv/bin/activate && "
             "pip install -q --no-index --disable-pip-version-check /tmp/answer-1-py3-none-any.whl && "
             "python -c 'import answer; print(answer.VALUE)'"),
    "git": ("/usr/bin/git", "git init -q a && cd a && git config user.name a && git config user.email a@b && "
            "echo 42 >f && git add f && git commit -qm x && git checkout -qb y && git mv f g && git commit -qam z && "
            "git gc -q && cd .. && git clone -q a b && git -C b show HEAD:g"),
    "make and a static binary": (
        "/usr/bin/gcc", "printf 'int puts(const char *);int main(void){puts(\"42\");}' >m.c && "
        "printf 'm: m.c\\n\\t@gcc -static -o m m.c 2>/dev/null || gcc -o m m.c\\n' >Makefile && make -s && ./m"),
    "job control": ("/bin/bash", "set -m; sleep 1000 & kill -STOP %1; jobs -l | grep -q Stopped; kill -CONT %1; "
                    "kill %1; wait %1; test $? = 143 && (trap 'echo 42; exit' TERM; kill $BASHPID; sleep 5)"),
    "sqlite": ("/usr/bin/sqlite3", "sqlite3 t.db 'pragma journal_mode=wal; create table t(x); insert into t values(42)' "
               ">/dev/null && sqlite3 t.db 'select x from t'"),
    "tmux": ("/usr/bin/tmux", "export TERM=xterm; tmux -f /dev/null new-session -d -s s 'cat >/tmp/typed'; "
             "tmux send-keys -t s 42 Enter C-d; until grep -q 42 /tmp/typed 2>/dev/null; do sleep 0.05; done; "
             "cat /tmp/typed; tmux kill-server 2>/dev/null || true"),
    "script": ("/usr/bin/script", "TERM=xterm script -qec 'tty >/dev/null && stty size >/dev/null; echo 42' /dev/null"),
    "node": ("/usr/bin/node", "node -e 'const w = require(\"worker_threads\"); require(\"http\").createServer((q, s) => "
             "s.end(\"42\")).listen(0, function () { require(\"http\").get({port: this.address().port}, r => "
             "r.on(\"data\", d => { console.log(String(d)); process.exit() })) })'"),
    "system calls of the shell": ("/bin/bash", "exec 3<>/dev/tcp/127.0.0.1/1 2>/dev/null; ulimit -c 0; ulimit -n 100; "
                                  "cat <(echo 42) | tee /dev/stderr 2>/dev/null"),
    "nested namespaces' absence": ("/usr/bin/unshare", "unshare -r true 2>/dev/null || echo 42"),
}


def has_venv():
    """Distributions leave parts of it to a package of its own."""
    command = ["/usr/bin/python3", "-c", "import ensurepip, venv"]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


def check(init, generation, name, arguments, environment):
    result, out, err = init.run(generation, arguments, environment, timeout=120 * wire.SLOWNESS)
    lines = out.replace(b"\r", b"").strip().splitlines()
    assert result[:2] == (0, 0) and lines[-1:] == [b"42"], (name, result, out[-500:], err[-1000:])


def test_python_under_all_measures(world):
    with world.init() as init:
        for generation, (name, script) in enumerate(PYTHON.items(), 1):
            check(init, generation, name, ["python3", "-c", script], ENV)


def test_programs_under_all_measures(world):
    ran = []
    with world.init() as init:
        for generation, (name, (program, script)) in enumerate(SHELL.items(), 1):
            if shutil.which(program) is None:
                continue
            if name == "venv" and not has_venv():
                continue
            check(init, generation, name, ["bash", "-c", script], {**ENV, "WHEEL": WHEEL})
            ran.append(name)
    print(f"        {', '.join(ran)}")
    assert len(ran) >= 4, ran
