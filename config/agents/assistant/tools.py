"""What the model can do: files and commands of the session. The sandbox is the bound; here are only those of size and
time, because every argument is the model's."""

import json
import os
import select
import signal
import stat
import subprocess
import time

WORKSPACE = "/workspace"
MOST_READ = 64 << 10           # bytes that go to the model of one file
MOST_OUTPUT = 32 << 10         # and of one command
MOST_ENTRIES = 500
MOST_EDITED = 16 << 20         # bytes of a file that is edited
MOST_SECONDS, SECONDS = 600, 120


class Failed(Exception):
    """Told to the model."""


def schema(name, description, required, **more):
    properties = {key: {"type": kind, "description": text} for key, (kind, text) in {**required, **more}.items()}
    return {"type": "function", "function": {
        "name": name, "description": description,
        "parameters": {"type": "object", "properties": properties, "required": list(required)}}}


PATH = ("string", "Path, relative to /workspace or absolute")
SCHEMAS = [
    schema("list_files", "List a directory: names, sizes, kinds.", {}, path=PATH),
    schema("read_file", "Read a text file, or part of it.", {"path": PATH},
           first_line=("integer", "Number of the first line to read, from 1"),
           lines=("integer", "How many lines to read")),
    schema("write_file", "Write a whole text file. Directories are made; what was in it before is gone.",
           {"path": PATH, "content": ("string", "The file's text")}),
    schema("edit_file", "Replace a piece of a text file. The old text must be in it exactly once.",
           {"path": PATH, "old": ("string", "The text to replace, exactly as it is in the file"),
            "new": ("string", "What takes its place")},
           all=("boolean", "Replace every occurrence")),
    schema("run_command", "Run a command with bash in /workspace. Gives output and exit status. There is no terminal.",
           {"command": ("string", "The command")},
           seconds=("integer", f"Time it may take, {SECONDS} unless told, at most {MOST_SECONDS}")),
]
KINDS = {"string": str, "integer": int, "boolean": bool}


def read_arguments(name, text):
    """The arguments of a call, checked against the tool's schema."""
    tool = next((tool["function"] for tool in SCHEMAS if tool["function"]["name"] == name), None)
    if tool is None:
        known = ", ".join(tool["function"]["name"] for tool in SCHEMAS)
        raise Failed(f"There is no tool {name[:100]!r}. There are: {known}")
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failed(f"The arguments are no JSON: {str(error)[:200]}") from None
    if not isinstance(arguments, dict):
        raise Failed("The arguments must be a JSON object")
    result = {}
    for key, property in tool["parameters"]["properties"].items():
        value = arguments.get(key)
        if value is None:
            if key in tool["parameters"]["required"]:
                raise Failed(f"The argument '{key}' is missing")
            continue
        kind = KINDS[property["type"]]
        if kind is int and isinstance(value, str) and value.strip().isdigit() and len(value) < 10:
            value = int(value)  # small models put numbers in quotes
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Failed(f"The argument '{key}' must be a {property['type']}")
        result[key] = clean(value) if kind is str else value
    return result


def clean(text):
    """Without halves of characters, which no file and no line can have."""
    return text.encode("utf-8", "replace").decode()


def place(path):
    if not path or "\0" in path or len(path) > 4096:
        raise Failed("This is no path")
    return os.path.normpath(os.path.join(WORKSPACE, path))


def run(name, arguments, cancel):
    """What a tool gives, as text. `Failed` says what was wrong."""
    try:
        return TOOLS[name](cancel, **arguments)
    except OSError as error:
        raise Failed(f"{error.strerror or error}: {error.filename}" if error.filename else str(error)) from None


def list_files(cancel, path="."):
    where, rows = place(path), []
    with os.scandir(where) as entries:
        for entry in entries:
            if len(rows) == MOST_ENTRIES * 20:
                break
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                rows.append(f"{entry.name}/")
            elif stat.S_ISLNK(status.st_mode):
                rows.append(f"{entry.name} -> {os.readlink(entry.path)}")
            else:
                rows.append(f"{entry.name}  {status.st_size} bytes")
    rows.sort()
    left = len(rows) - MOST_ENTRIES
    more = [f"[{left} more]"] if left > 0 else []
    return clean("\n".join(rows[:MOST_ENTRIES] + more)) or "[empty]"


def open_file(path):
    """A regular file: others could make this program wait for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Failed(f"{path} is no regular file")
    return os.fdopen(descriptor, "rb")


def read_file(cancel, path, first_line=1, lines=None):
    where, last = place(path), None if lines is None else max(1, first_line) + max(0, lines) - 1
    taken, size, number = [], 0, 0
    with open_file(where) as file:
        while line := file.readline(MOST_READ + 1):
            number += 1
            cancel.check()
            if b"\0" in line:
                raise Failed(f"{where} is no text; look at it with a command")
            if number < first_line:
                continue
            if last is not None and number > last:
                break
            if size + len(line) > MOST_READ:
                taken.append(line[:MOST_READ - size])
                taken.append(f"\n[cut off in line {number}; go on with first_line]".encode())
                break
            size += len(line)
            taken.append(line)
    return b"".join(taken).decode(errors="replace") or "[empty]"


def write_file(cancel, path, content):
    where = place(path)
    os.makedirs(os.path.dirname(where), exist_ok=True)
    if os.path.exists(where) and not os.path.isfile(where):
        raise Failed(f"{where} is no regular file")
    with open(where, "w", encoding="utf-8", newline="") as file:
        file.write(content)
    return f"{where}: {len(content.encode())} bytes written"


def edit_file(cancel, path, old, new, all=False):
    where = place(path)
    with open_file(where) as file:
        data = file.read(MOST_EDITED + 1)
    if len(data) > MOST_EDITED:
        raise Failed(f"{where} is larger than {MOST_EDITED} bytes")
    piece = old.encode()
    count = data.count(piece) if piece else 0
    if count == 0 or (count > 1 and not all):
        raise Failed(f"The old text is in {where} {count} times" if piece else "The old text is empty")
    if len(data) + count * (len(new.encode()) - len(piece)) > MOST_EDITED:
        raise Failed(f"{where} would be larger than {MOST_EDITED} bytes")
    with open(where, "wb") as file:
        file.write(data.replace(piece, new.encode()))
    return f"{where}: {count} replaced"


class Ends:
    """The beginning and the end of an output; what was in between is counted."""

    def __init__(self, most):
        self.half = most // 2
        self.first, self.last, self.total = bytearray(), bytearray(), 0

    def add(self, data):
        self.total += len(data)
        room = self.half - len(self.first)
        self.first += data[:max(0, room)]
        self.last += data[max(0, room):]
        del self.last[:-self.half]

    def text(self):
        left = self.total - len(self.first) - len(self.last)
        between = f"\n[{left} bytes left out]\n".encode() if left else b""
        return (bytes(self.first) + between + bytes(self.last)).decode(errors="replace")


def run_command(cancel, command, seconds=SECONDS):
    if "\0" in command or len(command.encode()) > 96 << 10:
        raise Failed("This is no command")
    seconds = min(max(1, seconds), MOST_SECONDS)
    process = subprocess.Popen(
        ["/bin/bash", "-c", command], cwd=WORKSPACE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True)

    def kill():
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    ends, deadline, late = Ends(MOST_OUTPUT), time.monotonic() + seconds, False
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    try:
        cancel.add(kill)
        # Until the command itself ends: what it left in the background may keep the pipe.
        while process.poll() is None:
            if time.monotonic() > deadline:
                late = True
                kill()
                process.wait()
                break
            if select.select([pipe], [], [], 0.05)[0] and not drain(pipe, ends, once=True):
                wait_for(process, deadline)
        drain(pipe, ends)
        cancel.check()
    finally:
        cancel.drop(kill)
        if process.poll() is None:
            kill()
            process.wait()
        process.stdout.close()
    status = process.returncode
    if late:
        end = f"[killed after {seconds} s]"
    elif status < 0:
        end = f"[killed by signal {-status}]"
    else:
        end = f"[exit status {status}]"
    text = ends.text()
    result = text + ("" if not text or text.endswith("\n") else "\n") + end
    if late or status != 0:
        raise Failed(result)
    return result


def wait_for(process, deadline):
    """The pipe has ended, the command has not."""
    try:
        process.wait(max(0.05, min(1.0, deadline - time.monotonic())))
    except subprocess.TimeoutExpired:
        pass


def drain(pipe, ends, once=False):
    """What there is, within a bound; false at the end of the pipe."""
    for _ in range(1 if once else 256):
        try:
            data = os.read(pipe, 1 << 16)
        except BlockingIOError:
            return True
        if not data:
            return False
        ends.add(data)
    return True


TOOLS = {"list_files": list_files, "read_file": read_file, "write_file": write_file, "edit_file": edit_file,
         "run_command": run_command}


def shown(arguments):
    """A call as people see it: short."""
    return {key: value if not isinstance(value, str) or len(value) <= 500 else value[:500] + "…"
            for key, value in arguments.items() if key not in ("content", "old", "new")}
