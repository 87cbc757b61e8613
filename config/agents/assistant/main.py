"""The agent `assistant`: a language model that works with files and commands in /workspace.

Speaks superserve's native protocol on standard input and output (docs/agents.md) and that of OpenAI-compatible endpoints
on the other side. Standard library only.
"""

import json
import os
import signal
import sys
import threading
import time

import endpoint
import models
import tools
from conversation import Conversation

HOME = os.path.join(os.environ.get("HOME", "/home/agent"), ".assistant")
MOST_PIECE = 16 << 10          # characters of one line to the supervisor
LEAST_CONTEXT = 4000
INSTRUCTIONS = """You are an assistant who works in a Linux sandbox that belongs to this conversation alone. Its working \
directory is /workspace; files there stay until the conversation ends. You have tools to list, read, write and edit files \
and to run commands. Use them to do what is asked instead of saying how it could be done, look at results, and go on until \
it is done. Then say briefly what you did. You are user 'agent' without any right to administer the system. The network \
may be closed or open for few hosts only."""
CUT = "[the connection to the model broke; it is asked again]"


def setting(name, default, least, most):
    """A number from the environment."""
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdigit() or not least <= int(text[:12]) <= most:
        raise endpoint.Problem(f"{name} must be a number from {least} to {most}")
    return int(text)


class Assistant:
    def __init__(self):
        self.lock = threading.Lock()
        self.cancel = endpoint.Cancel()
        self.thread = None
        self.turn = 0
        self.where = None
        self.model = None
        self.has_tools = True
        self.with_usage = True
        self.conversation = None
        self.is_default = False
        self.waits_for_key = False
        self.budget = 0

    # The supervisor

    def say(self, **line):
        data = json.dumps(line).encode() + b"\n"
        with self.lock:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def text(self, text):
        text = tools.clean(text)
        for start in range(0, len(text), MOST_PIECE):
            self.say(type="text", content=text[start:start + MOST_PIECE])

    def note(self, text):
        self.say(type="status", content=tools.clean(text)[:1000])

    def listen(self):
        """Turns run in a thread, so that a cancel is heard meanwhile."""
        self.say(type="ready")
        for line in sys.stdin.buffer:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if not isinstance(message, dict):
                continue
            if message.get("type") == "cancel":
                if message.get("turn") in (None, self.turn):
                    self.cancel.set()
            elif message.get("type") == "message" and isinstance(message.get("content"), str):
                if self.thread:
                    self.thread.join()
                self.cancel, self.turn = endpoint.Cancel(), message.get("turn")
                self.thread = threading.Thread(target=self.serve, args=(message["content"],), daemon=True)
                self.thread.start()
        self.cancel.set()
        if self.thread:
            self.thread.join(2)
        # A thread that is still at work would make an orderly end fail.
        os._exit(0)

    def serve(self, content):
        """One turn; it ends with exactly one line that says so."""
        problem = None
        try:
            words = content.split()
            if words and words[0] == "/model":
                self.choose(" ".join(words[1:]))
            else:
                self.answer(content)
        except endpoint.Cancelled:
            pass
        except endpoint.Unreached as error:
            problem = f"{error}. {self.hint()}"
        except endpoint.Problem as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - the next message is served all the same
            problem = f"{type(error).__name__}: {error}"
            print(problem, file=sys.stderr, flush=True)
        if self.conversation:
            try:
                self.conversation.settle("[cancelled by the user]" if self.cancel.event.is_set() else "[interrupted]")
            except OSError as error:
                problem = problem or f"The conversation cannot be kept: {error}"
        if problem and not self.cancel.event.is_set():
            self.say(type="error", message=tools.clean(problem)[:2000])
        else:
            self.say(type="turn_done", turn=self.turn)

    # The endpoint

    def prepare(self):
        """What needs the environment or the disk: a mistake in it is said in the turn."""
        if self.conversation is None:
            self.budget = setting("ASSISTANT_CONTEXT", 120_000, LEAST_CONTEXT, 100_000_000)
            self.conversation = Conversation(os.path.join(HOME, "conversation.jsonl"), self.budget)
        if self.where is None or self.waits_for_key:
            base = os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE")
            self.is_default, self.waits_for_key = not base, False
            self.where = endpoint.Endpoint(base or endpoint.LOCAL, os.environ.get("OPENAI_API_KEY", ""))
            if self.where.is_gateway:
                self.look_for_key()

    def look_for_key(self):
        """The gateway is there whether somebody has given it a key or not; without one, a local server is asked."""
        try:
            self.where.models(self.cancel)
        except endpoint.Refused as error:
            if error.kind == endpoint.NO_KEY:
                self.is_default, self.waits_for_key = True, True
                self.where = endpoint.Endpoint(endpoint.LOCAL, "")
        except endpoint.Problem:
            pass  # said when it is needed

    def hint(self):
        """What to do where the endpoint is not reached."""
        if not self.is_default:
            return "See: superserve sessions network " + os.environ.get("SUPERSERVE_SESSION_ID", "ID")
        name = os.environ.get("SUPERSERVE_AGENT", "assistant")
        why = (f"No key is set (superserve secrets set {name} OPENAI_API_KEY)" if self.waits_for_key
               else "No OPENAI_BASE_URL is set")
        return (f"{why}, so a model server at {endpoint.LOCAL} is asked. If one runs there, let sessions reach it: "
                'private_destinations: ["127.0.0.1:11434"] in the supervisor\'s configuration, then: superserve supervisor '
                "stop")

    def current_model(self):
        if self.model is None:
            try:
                with open(os.path.join(HOME, "model"), encoding="utf-8") as file:
                    self.model = file.read(200).strip() or None
            except (OSError, ValueError):
                pass
        if self.model is None:
            self.model = os.environ.get("OPENAI_MODEL") or None
        if self.model is None:
            names = self.where.models(self.cancel)
            if not names:
                raise endpoint.Problem(f"{self.where.base} has no model")
            self.model = models.preferred(names)
            self.note(f"model {self.model}")
        return self.model

    def choose(self, name):
        """`/model` lists, `/model NAME` takes another one for the rest of the session."""
        self.prepare()
        names = self.where.models(self.cancel)
        if not name:
            mine = self.current_model()
            return self.text("".join(f"{'*' if one == mine else ' '} {one}\n" for one in list(names)[:200]))
        if name not in names:
            raise endpoint.Problem(f"{self.where.base} has no model '{name[:200]}'; /model lists them")
        with open(os.path.join(HOME, "model"), "w", encoding="utf-8") as file:
            file.write(name)
        self.model, self.has_tools, self.with_usage, self.conversation.budget = name, True, True, self.budget
        self.text(f"From here on {name} answers.\n")

    def payload(self):
        system = INSTRUCTIONS + "\n" + os.environ.get("ASSISTANT_INSTRUCTIONS", "")
        payload = {"model": self.model, "stream": True, "messages": self.conversation.request(system.strip())}
        if self.has_tools:
            payload["tools"] = tools.SCHEMAS
        else:
            payload["messages"] = without_tools(payload["messages"])
        if self.with_usage:
            payload["stream_options"] = {"include_usage": True}
        return payload

    def complete(self):
        """One answer. What an endpoint cannot do is done without, and what was cut off is asked for again."""
        broken, heard = 0, []

        def on_text(text):
            heard.append(text)
            self.text(text)
        while True:
            heard.clear()
            try:
                return self.where.complete(self.cancel, self.payload(), on_text, self.note)
            except endpoint.Refused as error:
                said = str(error).lower()
                if error.status in (400, 404, 422) and self.has_tools and "tool" in said and "support" in said:
                    self.has_tools = False
                    self.note(f"{self.model} cannot use tools: it can only talk. /model shows others")
                elif error.status in (400, 422) and self.with_usage and "stream_options" in said:
                    self.with_usage = False
                elif error.status in (400, 413) and self.conversation.budget > LEAST_CONTEXT and is_too_long(said):
                    self.conversation.budget = max(LEAST_CONTEXT, self.conversation.budget // 2)
                    self.note("the conversation is too long for this model; its beginning is left out")
                else:
                    raise
            except endpoint.Broken as error:
                broken += 1
                if broken == 3:
                    raise endpoint.Problem(f"The connection to the model broke: {error}") from None
                if heard:
                    self.text(f"\n{CUT}\n")
                else:
                    self.note(CUT)
                self.cancel.sleep(broken)
            except endpoint.Cancelled:
                if heard:
                    self.conversation.add(
                        {"role": "assistant", "content": tools.clean("".join(heard)) + " [cancelled by the user]"})
                raise

    def answer(self, content):
        """The turn: answers and calls of tools, until there is an answer without any."""
        self.prepare()
        steps = setting("ASSISTANT_STEPS", 50, 1, 1000)
        self.current_model()
        self.conversation.add({"role": "user", "content": content})
        for _ in range(steps):
            answer = self.complete()
            message = answer.message()
            message["content"] = tools.clean(message["content"])
            calls = [(call, *read(call["function"])) for call in message.get("tool_calls", [])]
            self.conversation.add(message)
            if answer.usage:
                self.say(type="metadata", data={"model": self.model, "usage": numbers(answer.usage)})
            if answer.finish == "length":
                self.text("\n[cut off: the longest answer that this model gives]\n")
            elif answer.finish == "content_filter":
                self.text("\n[cut off by the endpoint's filter]\n")
            elif not calls and not message["content"]:
                self.text("[the model said nothing]\n")
            if not calls:
                return
            if message["content"] and not message["content"].endswith("\n"):
                self.text("\n")
            for call, arguments, problem in calls:
                self.use(call, arguments, problem)
        self.text(f"[stopped after {steps} requests to the model; say something to go on]\n")

    def use(self, call, arguments, problem):
        """One call after the other: each may need what the one before it did."""
        self.cancel.check()
        name, began = call["function"]["name"], time.monotonic()
        self.say(type="tool_start", tool=name, input=tools.shown(arguments))
        output = problem
        try:
            if problem is None:
                output = tools.run(name, arguments, self.cancel)
        except tools.Failed as error:
            output = problem = str(error)
        except endpoint.Cancelled:
            output = problem = "[cancelled by the user]"
        output = tools.clean(output)
        took = int((time.monotonic() - began) * 1000)
        self.say(type="tool_end", tool=name, output=output[:2000], success=problem is None, duration_ms=took)
        self.conversation.add({
            "role": "tool", "tool_call_id": call["id"], "content": output if problem is None else f"Error: {output}"})


def read(function):
    """The arguments of a call and what is wrong with them. What is no JSON would be refused when it is sent back."""
    try:
        return tools.read_arguments(function["name"], function["arguments"]), None
    except tools.Failed as error:
        function["arguments"] = "{}"
        return {}, str(error)


def is_too_long(said):
    return "context" in said or "too long" in said or "too large" in said or "maximum" in said and "token" in said


def numbers(usage):
    """Of what the endpoint says, only counts."""
    return {key[:50]: value for key, value in list(usage.items())[:20]
            if isinstance(key, str) and isinstance(value, int) and abs(value) < 1 << 53}


def without_tools(messages):
    """The same conversation for a model that knows no tools."""
    result = []
    for message in messages:
        if message["role"] == "tool":
            message = {"role": "user", "content": "[result of a tool] " + message["content"]}
        else:
            message = {key: value for key, value in message.items() if key != "tool_calls"}
        if result and result[-1]["role"] == message["role"]:
            message = {**message, "content": result.pop()["content"] + "\n\n" + message["content"]}
        result.append(message)
    return result


def main():
    os.umask(0o022)
    assistant = Assistant()
    # The supervisor's second word after a cancel.
    signal.signal(signal.SIGINT, lambda *_: assistant.cancel.set())
    assistant.listen()


if __name__ == "__main__":
    main()
