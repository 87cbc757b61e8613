"""What compiler and linker did to make a program hard to take over, read from the file with binutils."""

import glob
import os
import re
import subprocess

# A definition as the house style writes it: it begins in the first column and ends in an opening brace.
DEFINITION = re.compile(r"^[a-z_][^;={}()]*?\b(\w+)\([^;{}]*\)\s*\{", re.MULTILINE)
CHECKED = re.compile(r"<_{0,2}(?!stack)\w+_chk(?:@plt)?>")  # a function of FORTIFY
CANARY = re.compile(r"<__stack_chk_fail(?:_local)?(?:@plt)?>")


def tool(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}).stdout


def functions_of(*directories):
    """Names of the C functions that are defined there."""
    names = set()
    for path in (path for directory in directories for path in glob.glob(os.path.join(directory, "*.c"))):
        with open(path, encoding="utf-8") as file:
            names |= set(DEFINITION.findall(file.read()))
    return names


def callers(path, names, callee):
    """Those functions of `names` that call something that `callee` matches."""
    found, current = set(), ""
    for line in tool("objdump", "--disassemble", "--no-show-raw-insn", path).splitlines():
        start = re.match(r"[0-9a-f]+ <(\w+)[^>]*>:$", line)
        if start:
            current = start.group(1)
        elif current in names and callee.search(line):
            found.add(current)
    return found


class Program:
    """An ELF file."""

    def __init__(self, path):
        self.path = path
        self.header = tool("readelf", "--file-header", "--wide", path)
        segments = re.findall(r"^ +([A-Z_]+) +0x\S+ 0x\S+ 0x\S+ 0x\S+ 0x\S+ ([RWE ]{3})",
                              tool("readelf", "--program-headers", "--wide", path), re.MULTILINE)
        self.loaded = [flags for kind, flags in segments if kind == "LOAD"]
        self.segments = dict(segments)
        self.dynamic = re.findall(r"\((\w+)\)\s*(.*)", tool("readelf", "--dynamic", "--wide", path))
        self.imports = set(re.findall(r" UND (\w+)", tool("readelf", "--dyn-syms", "--wide", path)))

    def entries(self, kind):
        return [value for name, value in self.dynamic if name == kind]

    def flags(self):
        return " ".join(self.entries("FLAGS") + self.entries("FLAGS_1")).split()

    def search_path(self):
        """Directories that libraries are looked for in, beside the system's."""
        return [part for value in self.entries("RPATH") + self.entries("RUNPATH")
                for part in re.sub(r".*\[(.*)\]", r"\1", value).split(":")]

    def verdicts(self):
        """name: (it is so, what was found)."""
        flags = self.flags()
        writable = [flags for flags in self.loaded if "W" in flags and "E" in flags]
        return {
            "loaded at a random address": (" DYN " in self.header and "PIE" in flags, flags),
            "no executable stack": ("E" not in self.segments.get("GNU_STACK", "E"), self.segments),
            "nothing writable is executable": (bool(self.loaded) and not writable, self.loaded),
            "relocations are read-only": ("GNU_RELRO" in self.segments, self.segments),
            "all of them, at the start": ("NOW" in flags or "BIND_NOW" in flags, flags),
            "code is not changed at the start": (not self.entries("TEXTREL") and "TEXTREL" not in flags, flags),
            "libraries only from safe places": (all(self.is_safe(part) for part in self.search_path()),
                                                self.search_path()),
        }

    def is_safe(self, directory):
        """Whether only root, or who owns the program itself, can put a library there."""
        if directory in ("$ORIGIN", "${ORIGIN}"):
            return True
        owners = (0, os.stat(self.path).st_uid)
        while directory.startswith("/"):
            try:
                found = os.stat(directory)
            except FileNotFoundError:
                pass  # whoever could make it owns a directory above
            else:
                if found.st_uid not in owners or found.st_mode & 0o022:
                    return False
            if directory == "/":
                return True
            directory = os.path.dirname(directory)
        return False
