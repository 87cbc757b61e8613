"""A model server that does what the prompt says, for programs that are made for real ones: OpenAI's chat completions and
Anthropic's messages, with streams and calls of tools.

The last user message has `script:[STEP, …]` in it. The answer number N after that message is step N:

    {"say": "some words", "pause": 0.05}       text, word by word
    {"call": [["tool", {…}], …], "say": "…"}   calls of tools; arguments that are text go out as they are
    {"history": 1} {"results": 1}              text: all user messages as JSON; the results of the last tools
    {"status": 429, "headers": {…}, "body": {…}, "times": 2, "name": "…"}   refuses so often, then goes on behind it
    {"cut": 3, "times": 1, "name": "…", "say": "…"}   the connection ends after so many words, then goes on behind it
    {"raw": ["data: …", …]}                    lines as they are
    {"wait": 5, "say": "…"}                    silence before it
    {"plain": 1, "say": "…"}                   one JSON object although a stream was asked for

It is a peer for tests: whatever it gets is checked, and what is wrong is refused and kept in `violations`. Each accepted
request is in `requests`.
"""

import http.server
import json
import re
import threading
import time

MOST_BODY = 32 << 20
NAME = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")
CHAT_KEYS = {"model", "messages", "stream", "stream_options", "tools", "tool_choice", "temperature", "max_tokens",
             "max_completion_tokens", "top_p", "stop", "seed", "n", "user", "response_format", "parallel_tool_calls",
             "presence_penalty", "frequency_penalty", "logit_bias", "reasoning_effort"}
MESSAGES_KEYS = {"model", "messages", "system", "max_tokens", "stream", "tools", "tool_choice", "temperature", "metadata",
                 "thinking", "stop_sequences", "top_p", "top_k", "service_tier", "context_management", "output_config",
                 "container", "mcp_servers", "betas", "speed", "diagnostics"}
MODELS = ["text-embedding-first", "scripted", "other", "talker", "short", "old", "gpt-4o-mini"]


class Wrong(Exception):
    """A request that a real endpoint refuses, or should."""


def need(condition, what):
    if not condition:
        raise Wrong(what)


def script(*steps, text=""):
    """A message that makes the model do these steps."""
    return f"{text} script:{json.dumps(list(steps))}".strip()


class Model:
    """What all connections of one server share. `key` is the only one that is let in; with None, there must be none."""

    def __init__(self, key, models=MODELS):
        self.key = key
        self.models = models
        self.lock = threading.Lock()
        self.requests = []
        self.violations = []
        self.counts = {}
        self.cut_off = 0

    def serve(self, connection):
        """All requests of one connection."""
        connection.settimeout(120)
        Handler(connection, ("", 0), self)

    def served_over(self, context):
        """The same over TLS."""
        def serve(connection):
            with context.wrap_socket(connection, server_side=True) as secured:
                self.serve(secured)
        return serve

    def first(self, name, times):
        """True for the first so many calls with a name."""
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + 1
            return self.counts[name] <= times

    def note(self, **request):
        with self.lock:
            self.requests.append({"time": time.monotonic(), **request})

    def take(self):
        """Requests so far, which are forgotten."""
        with self.lock:
            requests, self.requests = self.requests, []
            return requests


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "scripted", ""
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    # Requests

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        self.answered(self.get)

    def do_POST(self):
        self.answered(self.post)

    def answered(self, function):
        model = self.server
        try:
            need(self.headers.get("Host"), "no Host")
            function()
        except Wrong as error:
            with model.lock:
                model.violations.append(f"{self.command} {self.path}: {error}")
            self.fail(400, str(error), "invalid_request_error")
        except (BrokenPipeError, ConnectionResetError):
            model.cut_off += 1
            self.close_connection = True

    def fail(self, status, message, kind, headers=()):
        self.send_json(status, {"type": "error", "error": {"type": kind, "code": kind, "message": message}}, headers)

    def is_known(self):
        """The key, in the one header that belongs to the API."""
        given = self.headers.get_all("Authorization", []) + self.headers.get_all("x-api-key", [])
        need(len(given) <= 1, f"{len(given)} keys")
        bearer = self.headers.get("Authorization")
        if self.server.key is None:
            need(not given, "a key that nobody asked for")
            return True
        if "/messages" in self.path and bearer is None:
            good = self.headers.get("x-api-key") == self.server.key
        else:
            good = bearer == f"Bearer {self.server.key}"
        if not good:
            self.server.note(path=self.path, refused=True, given=given)
            self.fail(401, "this is no key" if given else "no key was given", "authentication_error")
        return good

    def get(self):
        if not self.is_known():
            return
        need(self.path.split("?")[0] == "/v1/models", "no such path")
        self.server.note(path=self.path)
        self.send_json(200, {"object": "list", "data": [
            {"id": name, "object": "model", "created": number, "owned_by": "test"}
            for number, name in enumerate(self.server.models)]})

    def post(self):
        length = self.headers.get("Content-Length", "")
        need(length.isdigit() and int(length) <= MOST_BODY, f"Content-Length {length!r}")
        data = self.rfile.read(int(length))
        if not self.is_known():
            return
        need(self.headers.get_content_type() == "application/json", "the body is not said to be JSON")
        try:
            body = json.loads(data)
        except ValueError as error:
            raise Wrong(f"the body is no JSON: {error}") from None
        need(isinstance(body, dict), "the body is no object")
        path = self.path.split("?")[0]
        if path == "/v1/chat/completions":
            check_chat(body)
            need(body["model"] in self.server.models, f"no model {body['model']}")
            talk = Chat(self, body)
        elif path == "/v1/messages":
            need(self.headers.get("anthropic-version"), "no anthropic-version")
            check_messages(body)
            talk = Messages(self, body)
        elif path == "/v1/messages/count_tokens":
            return self.send_json(200, {"input_tokens": len(data) // 4})
        else:
            raise Wrong("no such path")
        self.server.note(path=self.path, body=body, tools=bool(body.get("tools")), stream=bool(body.get("stream")))
        if self.refused_by_kind(body, len(data)):
            return
        self.play(talk)

    def refused_by_kind(self, body, size):
        """Models that cannot do everything."""
        if body["model"] == "talker" and body.get("tools"):
            self.fail(400, "registry/talker does not support tools", "api_error")
        elif body["model"] == "short" and size > 8000:
            self.fail(400, "This model's maximum context length is exceeded", "context_length_exceeded")
        elif body["model"] == "old" and "stream_options" in body:
            self.fail(400, "Unrecognized request argument supplied: stream_options", "invalid_request_error")
        else:
            return False
        return True

    # Answers

    def play(self, talk):
        step = self.step(talk.user_texts(), talk.place())
        if "status" in step:
            body = step.get("body") or {"error": {"message": f"refused by script: {step['status']}", "type": "scripted"}}
            return self.send_json(step["status"], body, step.get("headers", {}).items())
        time.sleep(step.get("wait", 0))
        if "history" in step:
            step = {"say": json.dumps(talk.user_texts())}
        elif "results" in step:
            step = {"say": json.dumps(talk.results())}
        if "raw" in step:
            self.begin_stream()
            for line in step["raw"]:
                self.chunk(line.encode() + b"\n\n")
            return self.chunk(b"")
        words = re.findall(r"\s*\S+\s*$|\s*\S+", step.get("say", "")) if "say" in step else []
        if step.get("count"):
            words = words * step["count"]
        calls = step.get("call", [])
        if not talk.body.get("stream") or step.get("plain"):
            return self.send_json(200, talk.whole("".join(words), calls))
        self.begin_stream()
        for number, event in enumerate(talk.events(words, calls)):
            if step.get("cut") == number:
                self.close_connection = True
                self.connection.shutdown(2)
                return
            self.chunk(event)
            time.sleep(step.get("pause", 0))
        self.chunk(b"")

    def step(self, texts, place):
        text = texts[-1] if texts else ""
        at = text.rfind("script:[")
        if at < 0:
            return {"say": f"you said: {text[-200:]}"}
        try:
            steps, _ = json.JSONDecoder().raw_decode(text[at + len("script:"):])
        except ValueError as error:
            raise Wrong(f"the script is no JSON: {error}") from None
        later = []
        for index, step in enumerate(steps):
            if "times" not in step:
                later.append(step)
            elif len(later) == place and self.server.first(step["name"], step["times"]):
                return step
        return later[min(place, len(later) - 1)]

    def send_json(self, status, body, headers=()):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, str(value))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def begin_stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def pieces(text, size=7):
    return [text[start:start + size] for start in range(0, len(text), size)]


def encoded(arguments):
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


class Chat:
    """OpenAI's chat completions."""

    def __init__(self, handler, body):
        self.handler = handler
        self.body = body
        self.messages = body["messages"]

    def last_user(self):
        return max(index for index, message in enumerate(self.messages) if message["role"] == "user")

    def user_texts(self):
        return [text_of(message["content"]) for message in self.messages if message["role"] == "user"]

    def place(self):
        return sum(message["role"] == "assistant" for message in self.messages[self.last_user():])

    def results(self):
        return [text_of(message["content"]) for message in self.messages[self.last_user():] if message["role"] == "tool"]

    def usage(self):
        return {"prompt_tokens": len(json.dumps(self.messages)) // 4, "completion_tokens": 7, "total_tokens": 7}

    def calls(self, calls):
        return [{"index": index, "id": f"call_{len(self.messages)}_{index}", "type": "function",
                 "function": {"name": name, "arguments": encoded(arguments)}}
                for index, (name, arguments) in enumerate(calls)]

    def base(self, kind):
        return {"id": "chatcmpl-test", "object": kind, "created": 1, "model": self.body["model"]}

    def whole(self, text, calls):
        message = {"role": "assistant", "content": text or None}
        if calls:
            message["tool_calls"] = [{key: value for key, value in call.items() if key != "index"}
                                     for call in self.calls(calls)]
        finish = "tool_calls" if calls else "stop"
        return {**self.base("chat.completion"), "usage": self.usage(),
                "choices": [{"index": 0, "message": message, "finish_reason": finish}]}

    def events(self, words, calls):
        def event(delta, finish=None):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return self.line({**self.base("chat.completion.chunk"), "choices": [choice]})
        yield event({"role": "assistant", "content": ""})
        for word in words:
            yield event({"content": word})
        calls = self.calls(calls)
        for call in calls:
            yield event({"tool_calls": [{**call, "function": {**call["function"], "arguments": ""}}]})
        # Those of several calls come in turns.
        parts = [(call["index"], pieces(call["function"]["arguments"])) for call in calls]
        for number in range(max((len(list_) for _, list_ in parts), default=0)):
            for index, list_ in parts:
                if number < len(list_):
                    yield event({"tool_calls": [{"index": index, "function": {"arguments": list_[number]}}]})
        yield event({}, "tool_calls" if calls else "stop")
        if (self.body.get("stream_options") or {}).get("include_usage"):
            yield self.line({**self.base("chat.completion.chunk"), "choices": [], "usage": self.usage()})
        yield b"data: [DONE]\n\n"

    @staticmethod
    def line(value):
        return b"data: " + json.dumps(value).encode() + b"\n\n"


class Messages:
    """Anthropic's messages."""

    def __init__(self, handler, body):
        self.handler = handler
        self.body = body
        self.messages = body["messages"]

    @staticmethod
    def is_result(message):
        content = message["content"]
        return isinstance(content, list) and any(block["type"] == "tool_result" for block in content)

    def user_texts(self):
        return [text_of(message["content"]) for message in self.messages
                if message["role"] == "user" and not self.is_result(message)]

    def last_user(self):
        return max(index for index, message in enumerate(self.messages)
                   if message["role"] == "user" and not self.is_result(message))

    def place(self):
        return sum(message["role"] == "assistant" for message in self.messages[self.last_user():])

    def results(self):
        return [text_of(block.get("content") or "") for message in self.messages[self.last_user():]
                if isinstance(message["content"], list)
                for block in message["content"] if block["type"] == "tool_result"]

    def blocks(self, text, calls):
        result = [{"type": "text", "text": text}] if text else []
        for index, (name, arguments) in enumerate(calls):
            result.append({"type": "tool_use", "id": f"toolu_{len(self.messages)}_{index}", "name": name,
                           "input": arguments})
        return result

    def head(self, content):
        # Clients take messages with one id for one message.
        return {"id": f"msg_{time.monotonic_ns()}", "type": "message", "role": "assistant", "model": self.body["model"], "content": content,
                "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 25, "output_tokens": 1}}

    def whole(self, text, calls):
        return {**self.head(self.blocks(text, calls)), "stop_reason": "tool_use" if calls else "end_turn"}

    def events(self, words, calls):
        yield self.line("message_start", message=self.head([]))
        for index, block in enumerate(self.blocks("".join(words), calls)):
            if block["type"] == "text":
                yield self.line("content_block_start", index=index, content_block={"type": "text", "text": ""})
                for word in words:
                    yield self.line("content_block_delta", index=index, delta={"type": "text_delta", "text": word})
            else:
                yield self.line("content_block_start", index=index, content_block={**block, "input": {}})
                for piece in pieces(json.dumps(block["input"])):
                    yield self.line("content_block_delta", index=index,
                                    delta={"type": "input_json_delta", "partial_json": piece})
            yield self.line("content_block_stop", index=index)
        reason = "tool_use" if calls else "end_turn"
        yield self.line("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 7})
        yield self.line("message_stop")

    @staticmethod
    def line(kind, **fields):
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def text_of(content):
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or [] if part.get("type") == "text")


# What a request must be

def check_chat(body):
    unknown = set(body) - CHAT_KEYS
    need(not unknown, f"unknown: {sorted(unknown)}")
    need(isinstance(body.get("model"), str), "no model")
    need(isinstance(body.get("stream", False), bool), "stream")
    need("stream_options" not in body or body.get("stream"), "stream_options without stream")
    if "tools" in body:
        need(isinstance(body["tools"], list) and body["tools"], "tools are an empty list")
        for tool in body["tools"]:
            need(tool.get("type") == "function", "a tool's type")
            function = tool.get("function", {})
            need(NAME.match(function.get("name", "")), f"a tool's name: {function.get('name')!r}")
            check_schema(function.get("parameters", {"type": "object"}))
    messages = body.get("messages")
    need(isinstance(messages, list) and messages, "no messages")
    need(any(message.get("role") == "user" for message in messages), "no message of a user")
    waiting = []
    for index, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        need(role in ("system", "developer", "user", "assistant", "tool"), f"message {index}: role {role!r}")
        need(role != "system" or index == 0, f"message {index}: a system message in the middle")
        need(isinstance(content, (str, list)) or (role == "assistant" and content is None), f"message {index}: content")
        if isinstance(content, str):
            content.encode()  # halves of characters are none
        if role == "tool":
            need(message.get("tool_call_id") in waiting, f"message {index}: the result of no call")
            waiting.remove(message["tool_call_id"])
            continue
        need(not waiting, f"message {index}: calls {waiting} have no result")
        if "tool_calls" in message:
            need(role == "assistant" and message["tool_calls"], f"message {index}: tool_calls")
            for call in message["tool_calls"]:
                check_call(call, index, waiting)
    need(not waiting, f"calls {waiting} have no result")
    need(messages[-1]["role"] != "assistant", "the last message is an answer")


def check_call(call, index, waiting):
    function = call.get("function", {})
    need(call.get("type") == "function" and isinstance(call.get("id"), str) and call["id"], f"message {index}: a call")
    need(call["id"] not in waiting, f"message {index}: two calls with one id")
    need(NAME.match(function.get("name", "")), f"message {index}: a call of {function.get('name')!r}")
    try:
        need(isinstance(json.loads(function.get("arguments")), dict), f"message {index}: arguments are no object")
    except (TypeError, ValueError):
        raise Wrong(f"message {index}: arguments are no JSON") from None
    waiting.append(call["id"])


def check_schema(schema):
    need(isinstance(schema, dict) and schema.get("type") == "object", "a tool's parameters")
    properties = schema.get("properties", {})
    need(isinstance(properties, dict), "a tool's properties")
    need(set(schema.get("required", [])) <= set(properties), "a tool requires what it has not")


def check_messages(body):
    unknown = set(body) - MESSAGES_KEYS
    need(not unknown, f"unknown: {sorted(unknown)}")
    need(isinstance(body.get("model"), str), "no model")
    need(isinstance(body.get("max_tokens"), int) and body["max_tokens"] > 0, "max_tokens")
    for tool in body.get("tools", []):
        if "input_schema" in tool:
            check_schema(tool["input_schema"])
    messages = body.get("messages")
    need(isinstance(messages, list) and messages and messages[0].get("role") == "user", "the first message")
    waiting = set()
    for index, message in enumerate(messages):
        need(message.get("role") in ("user", "assistant", "system"), f"message {index}: role")
        content = message.get("content")
        need(content, f"message {index}: no content")
        blocks = [] if isinstance(content, str) else content
        results = {block.get("tool_use_id") for block in blocks if block.get("type") == "tool_result"}
        if message["role"] == "user":
            need(results == waiting, f"message {index}: results {results} of calls {waiting}")
            waiting = set()
        elif message["role"] == "assistant":
            waiting = {block["id"] for block in blocks if block.get("type") == "tool_use"}
