"""What must go on working in a session, beside the attacks."""

import shutil

SECONDS = 40  # for one of them, on a busy machine
# name: (program that must be installed, script, what it must print at the end)
PROGRAMS = {
    "python, venv and pip": ("python3", """
mkdir -p pkg && cd pkg && printf '%s\\n' '[build-system]' 'requires = []' 'build-backend = "backend"' 'backend-path = ["."]' > pyproject.toml
cat > backend.py <<'END'
import base64, hashlib, zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = 'answer-1.0-py3-none-any.whl'
    files = {'answer.py': 'value = 42\\n', 'answer-1.0.dist-info/METADATA': 'Metadata-Version: 2.1\\nName: answer\\nVersion: 1.0\\n',
             'answer-1.0.dist-info/WHEEL': 'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'}
    files['answer-1.0.dist-info/RECORD'] = ''.join(f'{n},,\\n' for n in files) + 'answer-1.0.dist-info/RECORD,,\\n'
    with zipfile.ZipFile(directory + '/' + name, 'w') as wheel:
        for path, text in files.items(): wheel.writestr(path, text)
    return name
END
cd .. && PATH=/usr/bin:/bin python3 -m venv env && env/bin/pip install -q --no-index --no-build-isolation ./pkg && env/bin/python -c 'import answer; print(answer.value)'
""", "42"),
    "git": ("git", """
git init -q r && cd r && git config user.name a && git config user.email a@b && echo 42 > f && git add f && git commit -qm x
git clone -q . ../c && cat ../c/f""", "42"),
    "gcc and make": ("gcc", """
printf 'int puts(const char *); int main(void) { puts("42"); return 0; }\\n' > a.c
printf 'a: a.c\\n\\tgcc -O2 -o a a.c\\n' > Makefile && make -s && ./a""", "42"),
    "a static program": ("gcc", """
printf '#include <stdio.h>\\nint main(void) { puts("42"); return 0; }\\n' > s.c && gcc -static -o s s.c && ./s""", "42"),
    "node": ("node", "node -e 'setTimeout(() => require(\"fs\").readFile(\"/etc/hosts\", () => console.log(42)), 10)'", "42"),
    "bash job control": ("bash", """
bash -c 'set -m; sleep 5 & kill -STOP %1; sleep 0.1; jobs | grep -c Stopped; kill -CONT %1; kill %1; wait; echo 42'""", "42"),
    "sqlite": ("python3", """python3 -c '
import sqlite3
db = sqlite3.connect("d.sqlite"); db.execute("pragma journal_mode = wal"); db.execute("create table t (x)")
with db: db.executemany("insert into t values (?)", [(i,) for i in range(1000)])
print(db.execute("select count(*) - 958 from t").fetchone()[0])'""", "42"),
    "tmux": ("tmux", """
tmux -L t new-session -d 'echo 42 > shown; sleep 5' && while [ ! -s shown ]; do sleep 0.05; done; tmux -L t kill-server; cat shown""", "42"),
    "threads": ("python3", """python3 -c '
import threading
sums = []
def work(): sums.append(sum(range(1000)))
threads = [threading.Thread(target=work) for _ in range(200)]
[t.start() for t in threads]; [t.join() for t in threads]
print(42 if len(sums) == 200 else sums)'""", "42"),
    "processes and pools": ("python3", """python3 -c '
import multiprocessing
with multiprocessing.Pool(4) as pool: print(sum(pool.map(abs, [-20, -22])))'""", "42"),
    "mmap": ("python3", """python3 -c '
import mmap
with open("m", "w+b") as f:
    f.truncate(1 << 20)
    with mmap.mmap(f.fileno(), 0) as m: m[1000:1002] = b"42"; m.flush()
    f.seek(1000); print(f.read(2).decode())'""", "42"),
    "inotify": ("python3", """python3 -c '
import ctypes, os
libc = ctypes.CDLL(None)
fd = libc.inotify_init1(0)
assert libc.inotify_add_watch(fd, b".", 0x100) > 0
open("made", "w").close()
print(42 if b"made" in os.read(fd, 4096) else 0)'""", "42"),
    "epoll": ("python3", """python3 -c '
import os, select
r, w = os.pipe(); poll = select.epoll(); poll.register(r, select.EPOLLIN); os.write(w, b"x")
print(42 if poll.poll(5) == [(r, select.EPOLLIN)] else 0)'""", "42"),
    "unix sockets": ("python3", """python3 -c '
import array, os, socket, threading
s = socket.socket(socket.AF_UNIX); s.bind("sock"); s.listen()
c = socket.socket(socket.AF_UNIX); c.connect("sock"); a, _ = s.accept()
r, w = os.pipe(); socket.send_fds(c, [b"x"], [r]); _, fds, _, _ = socket.recv_fds(a, 1, 1)
os.write(w, b"42"); print(os.read(fds[0], 2).decode())'""", "42"),
    "TCP on loopback": ("python3", """python3 -c '
import socket
s = socket.create_server(("127.0.0.1", 0)); c = socket.create_connection(s.getsockname()); a, _ = s.accept()
c.sendall(b"42"); print(a.recv(2).decode())'""", "42"),
    "terminals": ("python3", """python3 -c '
import os, pty
pid, fd = pty.fork()
if pid == 0: os.execvp("sh", ["sh", "-c", "tty >/dev/null && echo 42"])
print(os.read(fd, 100).decode().strip())'""", "42"),
    "System V memory": ("python3", """python3 -c '
import ctypes
libc = ctypes.CDLL(None); libc.shmat.restype = ctypes.c_void_p
i = libc.shmget(0, 4096, 0o1600); p = libc.shmat(i, None, 0); ctypes.memset(p, 42, 1)
print(ctypes.string_at(p, 1)[0]); libc.shmctl(i, 0, None)'""", "42"),
    "debuggers": ("strace", "strace -f -o t true && grep -q execve t && echo 42", "42"),
    "tar and compression": ("tar", "echo 42 > f && tar czf a.tgz f && rm f && tar xzf a.tgz && cat f", "42"),
    "locks and renames": ("python3", """python3 -c '
import fcntl, os
with open("l", "w") as f: fcntl.flock(f, fcntl.LOCK_EX); fcntl.lockf(f, fcntl.LOCK_EX)
os.makedirs("x/y"); os.makedirs("z"); os.rename("x/y", "z/y"); os.link("l", "z/l"); print(42)'""", "42"),
}


def test_keep(suite):
    ran = 0
    with suite.running() as world, world.session() as session:
        for name, (program, script, expected) in PROGRAMS.items():
            if shutil.which(program, path="/usr/bin:/bin:/usr/local/bin") is None:
                suite.skip(f"keep: {name}", f"{program} is not installed")
                continue
            quoted = script.replace("'", "'\\''")
            said = world.run(session, f"rm -rf t && mkdir t && cd t && timeout {SECONDS} bash -c '{quoted}'")
            suite.check(f"keep: {name}", said.strip().splitlines()[-1:] == [expected], said[-600:])
            ran += 1
    suite.check("enough programs to keep", ran >= 12, ran)
