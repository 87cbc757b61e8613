"""Agents for tests, in Python without buffering surprises."""

NATIVE = '''
import json, os, sys, time

def say(**message):
    sys.stdout.write(json.dumps(message) + "\\n")
    sys.stdout.flush()

say(type="ready")
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "cancel":
        say(type="text", content="[cancelled]")
        say(type="turn_done", turn=message["turn"])
        continue
    text = message["content"]
    word, _, rest = text.partition(" ")
    if word == "pid":
        say(type="text", content=str(os.getpid()))
    elif word == "tool":
        say(type="status", content="working")
        say(type="tool_start", tool="ls", input={"path": rest})
        say(type="tool_end", tool="ls", output="a b", success=True)
    elif word == "garbage":
        sys.stdout.write("this is not JSON\\n{}\\n[1,2]\\n\\0\\x1b[2J\\n")
        sys.stdout.flush()
        os.write(1, b"\\xff\\xfe\\n")
    elif word == "long":
        chunk = "x" * (1 << 20)
        for _ in range(int(rest)):
            sys.stdout.write(chunk)
        sys.stdout.write("\\n")
        sys.stdout.flush()
    elif word == "error":
        say(type="error", message=rest)
        continue
    elif word == "exit":
        sys.stderr.write("going away\\n")
        sys.stderr.flush()
        os._exit(int(rest))
    elif word == "wait":
        say(type="text", content="waiting")
        continue
    elif word == "stuck":
        import signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        say(type="text", content="stuck")
        time.sleep(600)
    elif word == "count":
        for i in range(int(rest)):
            say(type="text", content=f"{i}\\n")
            time.sleep(0.01)
    elif word == "escape":
        say(type="text", content="\\x1b[31mred\\x1b]0;title\\x07 \\u009b2J")
    else:
        say(type="text", content=text)
    say(type="turn_done")
'''
