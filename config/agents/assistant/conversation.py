"""What was said so far: kept in a file, so that the next process of the session goes on with it, and cut to what a model
takes at once."""

import json
import os

MOST_FILE = 32 << 20


class Conversation:
    """Messages in the form of the endpoint. The file has one a line and is only added to, until it has grown large."""

    def __init__(self, path, budget):
        self.path = path
        self.budget = budget
        self.messages = []
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self.load()

    def load(self):
        try:
            with open(self.path, "rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - MOST_FILE))
                lines = file.read(MOST_FILE).split(b"\n")
        except OSError:
            return
        found = []
        for line in lines:
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                continue  # the first or last one can be a part
            if is_message(message):
                found.append(message)
        self.messages = mended(found)
        if lines and lines[-1]:
            self.rewrite()
        elif end > MOST_FILE // 2:
            self.messages = cut(self.messages, self.budget * 4)
            self.rewrite()

    def add(self, message):
        self.messages.append(message)
        with open(self.path, "ab") as file:
            file.write(json.dumps(message).encode() + b"\n")

    def rewrite(self):
        new = self.path + ".new"
        with open(new, "wb") as file:
            for message in self.messages:
                file.write(json.dumps(message).encode() + b"\n")
        os.replace(new, self.path)

    def settle(self, why):
        """After a turn that ended early: every call has a result."""
        for message in unanswered(self.messages, why):
            self.add(message)

    def request(self, system):
        """What is sent: as much of the newest as fits."""
        kept = cut(self.messages, self.budget)
        if len(kept) < len(self.messages):
            system += "\nThe beginning of this conversation was left out because it is long."
        result = [{"role": "system", "content": system}]
        for message in kept:
            last = result[-1]
            # Two in a row come from a turn that failed; some models take turns strictly.
            if message["role"] == "user" and last["role"] == "user":
                result[-1] = {"role": "user", "content": last["content"] + "\n\n" + message["content"]}
            else:
                result.append(message)
        return result


def is_message(message):
    if not isinstance(message, dict) or not isinstance(message.get("content"), str):
        return False
    calls = message.get("tool_calls", [])
    return (message.get("role") in ("user", "assistant", "tool") and isinstance(calls, list)
            and all(isinstance(call, dict) and isinstance(call.get("id"), str) for call in calls)
            and (message["role"] != "tool" or isinstance(message.get("tool_call_id"), str)))


def unanswered(messages, why):
    """Results for the calls of the last answer that have none."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index]["role"] == "assistant":
            have = {message.get("tool_call_id") for message in messages[index + 1:]}
            return [{"role": "tool", "tool_call_id": call["id"], "content": why}
                    for call in messages[index].get("tool_calls", []) if call["id"] not in have]
    return []


def mended(messages):
    """Every call has its result and every result its call: endpoints refuse anything else."""
    result, open_calls = [], []

    def close():
        for call in open_calls:
            result.append({"role": "tool", "tool_call_id": call, "content": "[interrupted]"})
        open_calls.clear()
    for message in messages:
        if message["role"] == "tool":
            if message["tool_call_id"] in open_calls:
                open_calls.remove(message["tool_call_id"])
                result.append(message)
            continue
        close()
        result.append(message)
        open_calls.extend(call["id"] for call in message.get("tool_calls", []))
    close()
    return result


def size(message):
    return len(json.dumps(message))


def cut(messages, budget):
    """The newest whole exchanges that fit. The last one stays; where it is too long alone, results of its tools are left
    out, oldest first."""
    starts = [index for index, message in enumerate(messages)
              if message["role"] == "user" and (index == 0 or messages[index - 1]["role"] != "user")]
    first, total = len(messages), 0
    for start in reversed(starts):
        weight = sum(size(message) for message in messages[start:first])
        if first < len(messages) and total + weight > budget:
            break
        first, total = start, total + weight
    kept = messages[first:]
    if not starts:
        kept, total = messages, sum(map(size, messages))
    if total <= budget:
        return kept
    kept = list(kept)
    for index, message in enumerate(kept[:-1]):
        if total <= budget:
            break
        smaller = short(message)
        total -= size(message) - size(smaller)
        kept[index] = smaller
    if kept and total > budget:
        last = kept[-1]
        kept[-1] = {**last, "content": last["content"][:max(1000, len(last["content"]) - (total - budget))]}
    return kept


def short(message):
    """The same with its bulk left out."""
    if message["role"] == "tool" and len(message["content"]) > 200:
        return {**message, "content": f"{message['content'][:100]} [{len(message['content']) - 100} characters left out]"}
    if message["role"] == "user" and len(message["content"]) > 4000:
        return {**message, "content": f"{message['content'][:4000]} [{len(message['content']) - 4000} characters left out]"}
    calls = message.get("tool_calls")
    if calls and size(message) > 500:
        return {**message, "tool_calls": [
            {**call, "function": {**call["function"], "arguments": "{}"}} for call in calls]}
    return message
