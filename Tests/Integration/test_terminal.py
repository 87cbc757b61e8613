"""Every example of the reference page, typed into a real terminal (tmux)."""

import os
import subprocess
import time

from harness import BIN, SLOWNESS, check, equal, eventually

# Answers like the page's: the agent is a script, the conversation around it is real.
CAPITAL = """
IFS= read -r -d '' message || true
case "$message" in
*capital*) echo -n "The capital of France is Paris." ;;
*population*) echo -n "Paris has approximately 2.1 million people in the city proper." ;;
*"number 42"*) echo 42 > data.txt; echo -n "I've created data.txt with the content \\"42\\"." ;;
*"add 10"*) n=$(cat data.txt); echo $((n + 10)) > data.txt
  echo -n "The file contains $n. Adding 10 gives us $((n + 10)). I've updated data.txt." ;;
*"2+2"*) echo -n 4 ;;
*long*) for i in $(seq 1 12); do echo "step $i"; sleep 0.5; done ;;
*) echo -n "You said: $message" ;;
esac
"""


class Terminal:
    """One tmux session of its own server."""

    def __init__(self, world, columns=100, rows=50, user=None):
        self.world = world
        self.user = user or world.user
        self.name = os.path.basename(world.dir) + (user or "")
        self.base = ["tmux", "-L", self.name]
        # tmux keeps the sockets of its servers: they belong to what the world removes.
        self.environment = dict(os.environ, TMUX_TMPDIR=world.dir)
        environment = dict(world.environment(), PS1="$ ", PATH=f"{BIN}:" + world.environment()["PATH"])
        self.run("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows),
                 "env", "-i", *[f"{k}={v}" for k, v in environment.items()],
                 *self.prefix(), "bash", "--norc", "--noprofile", "-i")
        world.stack.callback(self.close)
        self.wait("$ ")

    def prefix(self):
        if not self.user:
            return []
        return ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups"]

    def run(self, *arguments):
        return subprocess.run(
            [*self.base, *arguments], capture_output=True, text=True, check=False,
            env=self.environment).stdout

    def close(self):
        self.run("kill-server")

    def type(self, text, enter=True):
        self.run("send-keys", "-l", text)
        if enter:
            self.run("send-keys", "Enter")

    def key(self, name):
        self.run("send-keys", name)

    def paste(self, text):
        """As a terminal with bracketed paste does it."""
        subprocess.run(
            [*self.base, "load-buffer", "-"], input=text, text=True, check=True, env=self.environment)
        self.run("paste-buffer", "-p")

    def screen(self):
        return self.run("capture-pane", "-p", "-N", "-S", "-500").rstrip("\n")

    def wait(self, text, count=1, seconds=30):
        eventually(lambda: self.screen().count(text) >= count, f"{count} x {text!r} on\n" + "…", seconds)
        return self.screen()


def agents(world):
    for name in ("my-agent", "code-agent", "data-agent", "analyst", "writer", "reviewer",
                 "research-agent"):
        world.agent(name, "protocol: exec\ncommand: [bash, /agent/a.sh]", {"a.sh": CAPITAL})
    world.start()


def session_id(screen):
    return screen.split("Session ID: ")[1].split()[0]


def test_interactive(world):
    agents(world)
    terminal = Terminal(world)
    terminal.type("superserve run my-agent")
    terminal.wait("You > ")
    terminal.type("What is the capital of France?")
    terminal.wait("Completed in")
    terminal.wait("You > ", 2)
    terminal.type("And what's its population?")
    terminal.wait("Completed in", 2)
    terminal.wait("You > ", 3)
    terminal.type("exit")
    screen = terminal.wait("saved. Resume with")
    lines = [line.rstrip() for line in screen.splitlines()]
    first = lines.index("You > What is the capital of France?")
    equal(lines[first + 1], "")
    equal(lines[first + 2], "Agent > The capital of France is Paris.")
    equal(lines[first + 3], "")
    check(lines[first + 4].startswith("Completed in "), lines[first + 4])
    equal(lines[first + 5], "")
    equal(lines[first + 6], "You > And what's its population?")
    short = session_id(screen)
    check(f"Session {short} saved. Resume with: superserve sessions resume {short}" in screen, screen)


def test_resume_by_four_characters_and_files(world):
    agents(world)
    terminal = Terminal(world)
    terminal.type("superserve run my-agent")
    terminal.wait("You > ")
    terminal.type("Create a file called data.txt with the number 42")
    terminal.wait('I\'ve created data.txt with the content "42".')
    terminal.wait("You > ", 2)
    terminal.key("C-d")
    short = session_id(terminal.wait("saved. Resume with"))
    terminal.type("clear", True)
    terminal.type(f"superserve sessions resume {short[:4]}")
    terminal.wait("You > ")
    terminal.type("Read the file and add 10 to the number")
    terminal.wait("The file contains 42. Adding 10 gives us 52. I've updated data.txt.")
    terminal.wait("You > ", 2)  # before that, Ctrl+C would be for the turn
    terminal.key("C-c")
    terminal.wait("saved. Resume with")


def test_prompt_argument_then_conversation(world):
    agents(world)
    terminal = Terminal(world)
    terminal.type('superserve run my-agent "What is the capital of France?"')
    terminal.wait("Agent > The capital of France is Paris.")
    terminal.wait("You > ")
    terminal.key("C-c")
    terminal.wait("saved. Resume with")


def test_single_list_get_end_and_errors(world):
    agents(world)
    single = world.cli("run", "my-agent", "What is 2+2?", "--single")
    equal((single.returncode, single.stdout), (0, "4"), single.stderr)
    one = session_id(single.stderr)
    two = session_id(world.cli("run", "code-agent", "What is the capital of France? " * 3, "--single").stderr)
    listed = world.cli("sessions", "list")
    lines = listed.stdout.splitlines()
    equal(lines[0], "ID            Agent          Title                    Status  Msgs  Last Active")
    equal(lines[1], "─" * 80)
    equal(len(lines), 4)
    row = lines[2]
    equal((row[0:12], row[14:24], row[54:58], row[62], row[68:]), (two, "code-agent", "IDLE", "2", "just now"))
    check(row[29:53].rstrip().endswith("..."), row)
    equal(lines[3][29:53].rstrip(), "What is 2+2?")
    only = world.cli("sessions", "list", "--agent", "my-agent").stdout
    check(one in only and two not in only, only)
    equal(world.cli("sessions", "list", "--status", "active").stdout, "")
    shown = world.cli("sessions", "get", one).stdout.splitlines()
    check(shown[0].startswith("Agent:        my-agent (agt_"), shown)
    check(shown[1].startswith(f"ID:           ses_{one[:8]}-{one[8:]}"), shown)
    equal(shown[2], "Status:       IDLE")
    equal(shown[3], "Messages:     2")
    check(shown[4].startswith("Created:      20") and shown[4].endswith(" UTC"), shown)
    equal(shown[5], "Title:        What is 2+2?")
    check(shown[6].startswith("Last Active:  20") and shown[6].endswith(" UTC (just now)"), shown)
    ended = world.cli("sessions", "end", one)
    equal(ended.stdout, f"✓ Session {one} ended (status: ENDED)\n")
    for arguments, message in (
        (("sessions", "get", "fff123fff123"), "Error: No session found matching 'fff123fff123'"),
        (("sessions", "resume", one),
         f"Error: Session '{one}' has status 'ended' and cannot be resumed"),
        (("run", "nobody", "x"), "Error: No agent named 'nobody'"),
    ):
        result = world.cli(*arguments)
        equal(result.returncode, 1, str(arguments))
        check(result.stderr.startswith(message), result.stderr)
        equal(result.stdout, "")
    equal(world.cli("sessions", "frobnicate").returncode, 64)


def test_three_background_runs_none_stopped(world):
    agents(world)
    terminal = Terminal(world)
    for name, task in (("analyst", "Analyze sales data"), ("writer", "Generate monthly report"),
                       ("reviewer", "Review PR #456")):
        terminal.type(f'superserve run {name} "{task}" &')
    terminal.wait("You said:", 3)
    time.sleep(0.3)
    terminal.type("jobs; echo end-of-jobs")
    screen = terminal.wait("end-of-jobs", 2)
    check("Stopped" not in screen, screen)


def test_leaving_a_long_task_by_hang_up(world):
    agents(world)
    terminal = Terminal(world)
    terminal.type('superserve run data-agent "a long migration"')
    terminal.wait("step 2")
    terminal.close()  # the terminal is gone: SIGHUP
    listed = eventually(
        lambda: [l for l in world.cli("sessions", "list", "--agent", "data-agent").stdout.splitlines()
                 if "ACTIVE" in l], "ACTIVE in the list")
    second = Terminal(world)
    second.type(f"superserve sessions resume {listed[0][:12]}")
    second.wait("step 12")
    screen = second.wait("You > ")
    lines = [line.strip().removeprefix("Agent > ") for line in screen.splitlines()]
    for i in range(1, 13):
        equal(lines.count(f"step {i}"), 1, f"step {i}")


def test_cancel_in_the_terminal(world):
    agents(world)
    terminal = Terminal(world)
    terminal.type('superserve run data-agent "a long migration"')
    terminal.wait("step 2")
    terminal.key("C-c")
    eventually(lambda: world.sessions()[0]["status"] == "idle", "cancelled")
    terminal.wait("You > ")
    terminal.type("hello")
    terminal.wait("You said: hello")
    single = subprocess.Popen(
        [f"{BIN}/superserve", "run", "data-agent", "long one", "--single"], env=world.environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        **world.demoted())
    single.stdout.readline()
    single.send_signal(2)
    equal(single.wait(20 * SLOWNESS), 130)


def test_multi_line_paste_is_one_message(world):
    agents(world)
    terminal = Terminal(world)
    terminal.type("superserve run my-agent")
    terminal.wait("You > ")
    terminal.paste("first line\nsecond line\nthird")
    terminal.key("Enter")
    terminal.wait("You said: first line")
    terminal.wait("Completed in")
    equal(world.sessions()[0]["messages"], 2)


def test_the_other_terminal_sees_the_turn(world):
    agents(world)
    one = Terminal(world)
    one.type('superserve run research-agent "Research quantum computing"')
    short = session_id(one.wait("You > "))
    resumed = world.cli("sessions", "resume", short, "Expand on entanglement", "--single")
    equal(resumed.returncode, 0, resumed.stderr)
    one.wait("Expand on entanglement")
    one.wait("You said: Expand on entanglement")


def test_history_formats_and_json(world):
    agents(world)
    short = session_id(world.cli("run", "my-agent", "What is the capital of France?", "--single").stderr)
    text = world.cli("sessions", "history", short).stdout
    check("What is the capital of France?" in text and "Paris" in text, text)
    check("Paris" in world.cli("sessions", "history", short, "--markdown").stdout, "markdown")
    import json
    equal(len(json.loads(world.cli("sessions", "history", short, "--json").stdout)["messages"]), 2)
    events = [json.loads(l) for l in world.cli("run", "my-agent", "2+2", "--json").stdout.splitlines()]
    equal([e["type"] for e in events], ["run.started", "message.delta", "run.completed"])
    for arguments in (("sessions", "list"), ("sessions", "get", short), ("agents", "list"),
                      ("agents", "get", "shell"), ("supervisor", "status")):
        json.loads(world.cli(*arguments, "--json").stdout)


def test_piped_input_is_one_message(world):
    agents(world)
    result = world.cli("run", "my-agent", input="line one\nline two")
    equal((result.returncode, result.stdout), (0, "You said: line one\nline two"), result.stderr)
    left = world.cli("run", "my-agent", input="")
    check(left.returncode in (0, 1, 64), left.stderr)


def test_detach_rm_upload_and_idle_timeout(world):
    agents(world)
    detached = world.cli("run", "data-agent", "long", "--detach")
    equal(detached.returncode, 0, detached.stderr)
    check(any(s["status"] == "active" for s in world.sessions()), "it runs")
    removed = world.cli("run", "my-agent", "hello", "--rm", "--single")
    equal((removed.returncode, removed.stdout), (0, "You said: hello"), removed.stderr)
    equal(world.sessions("&agent=my-agent")[0]["status"], "ended")
    data = world.write(os.path.join(world.home, "data.txt"), "42\n")
    uploaded = world.cli("run", "my-agent", "add 10", "--upload", data, "--idle-timeout", "10m", "--single")
    check("Adding 10 gives us 52" in uploaded.stdout, uploaded.stderr)
    equal(world.sessions("&agent=my-agent")[0]["idle_timeout_seconds"], 600)
