"""The agent of the crash tests: says lines and writes the same lines to a file of its own first.

A message is `say COUNT MILLISECONDS`; anything else is said back. What it says in turn N is what
/workspace/log-N holds, byte for byte.
"""

import json
import os
import sys
import time


def say(**message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


say(type="ready")
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "cancel":
        continue
    turn, text = message["turn"], message["content"]
    word, *numbers = text.split()
    lines = [text]
    pause = 0.0
    if word == "say":
        count, pause = int(numbers[0]), int(numbers[1]) / 1000
        lines = [f"{turn}:{number}:" + "abcdefgh" * (number * 7 % 60) + "\n" for number in range(count)]
    # A turn that is delivered twice would be seen: the file would hold everything twice.
    log = os.open(f"/workspace/log-{turn}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for piece in lines:
        os.write(log, piece.encode())
        say(type="text", content=piece)
        time.sleep(pause)
    os.close(log)
    say(type="turn_done", turn=turn)
