"""Requests to an OpenAI-compatible endpoint: what they say, when they are tried again, how answers are read.

Everything that comes back is foreign: each size has a bound, each type is looked at.
"""

import contextlib
import email.utils
import http.client
import json
import os
import random
import re
import ssl
import threading
import time
import urllib.parse

import models

LOCAL = "http://127.0.0.1:11434/v1"
TRIES = 6                      # of one request
LONGEST_WAIT = 60.0            # seconds between two of them; who is told to wait longer says so and stops
SILENCE = 300.0                # seconds without a byte; local models take their time before the first
MOST_TEXT = 1 << 20            # bytes of one answer, and of all arguments of its calls
MOST_CALLS = 32
MOST_LINE = 4 << 20
MOST_BODY = 8 << 20
NO_KEY = "secret_not_set"      # what superserve's gateway says while nobody has given it the key


class Problem(Exception):
    """Ends the turn; its text is for a person."""


class Refused(Problem):
    """The endpoint refuses the request itself: the same again would not help."""

    def __init__(self, status, message, kind=""):
        super().__init__(message)
        self.status = status
        self.kind = kind


class Unreached(Problem):
    """There was no answer of the endpoint."""


class Broken(Exception):
    """The connection ended in the middle of an answer."""


class Cancelled(Exception):
    """The user does not want it any more."""


class Cancel:
    """The end of one turn from outside: wakes whatever it waits for."""

    def __init__(self):
        self.event = threading.Event()
        self.lock = threading.Lock()
        self.ways = []

    def set(self):
        with self.lock:
            self.event.set()
            ways = list(self.ways)
        for way in ways:
            way()

    def check(self):
        if self.event.is_set():
            raise Cancelled

    def sleep(self, seconds):
        if self.event.wait(seconds):
            raise Cancelled

    def add(self, way):
        with self.lock:
            self.ways.append(way)
        self.check()

    def drop(self, way):
        with self.lock:
            if way in self.ways:
                self.ways.remove(way)


class Answer:
    """What the model said: text and calls of tools."""

    def __init__(self):
        self.text = []
        self.size = 0
        self.calls = {}
        self.finish = None
        self.usage = None

    def message(self):
        message = {"role": "assistant", "content": "".join(self.text)}
        calls = self.tool_calls()
        if calls:
            message["tool_calls"] = calls
        return message

    def tool_calls(self):
        """In a form that every endpoint takes back: names of letters, ids that differ."""
        result, ids = [], set()
        for number, call in enumerate(self.calls.values()):
            mine = call["id"]
            if not mine or mine in ids:
                mine = f"call_{number}_{random.getrandbits(40):x}"
            ids.add(mine)
            name = re.sub(r"[^A-Za-z0-9_-]", "_", "".join(call["name"]))[:64] or "nothing"
            result.append({"id": mine, "type": "function",
                           "function": {"name": name, "arguments": "".join(call["arguments"]) or "{}"}})
        return result

    def grow(self, text):
        self.size += len(text)
        if self.size > MOST_TEXT:
            raise Problem(f"The model's answer is longer than {MOST_TEXT} characters")

    def take(self, event, on_text):
        """One piece of a stream, or a whole answer."""
        if not isinstance(event, dict):
            return
        if event.get("error"):
            raise Problem(f"The model endpoint says: {reason(event)}")
        if isinstance(event.get("usage"), dict):
            self.usage = event["usage"]
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return
        if isinstance(choice.get("finish_reason"), str):
            self.finish = choice["finish_reason"]
        delta = choice.get("delta") or choice.get("message")
        if not isinstance(delta, dict):
            return
        text = delta.get("content")
        if isinstance(text, str) and text:
            self.grow(text)
            self.text.append(text)
            on_text(text)
        calls = delta.get("tool_calls")
        for position, call in enumerate(calls if isinstance(calls, list) else []):
            if isinstance(call, dict):
                self.take_call(call, position)

    def take_call(self, call, position):
        index = call.get("index")
        if not isinstance(index, int):
            index = position
        if index not in self.calls:
            if len(self.calls) >= MOST_CALLS:
                raise Problem(f"The model calls more than {MOST_CALLS} tools at once")
            self.calls[index] = {"id": None, "name": [], "arguments": []}
        mine = self.calls[index]
        if isinstance(call.get("id"), str) and call["id"]:
            mine["id"] = call["id"][:200]
        function = call.get("function")
        if not isinstance(function, dict):
            return
        name, arguments = function.get("name"), function.get("arguments")
        if isinstance(arguments, dict):  # some servers do not encode them
            arguments = json.dumps(arguments)
        for key, text in (("name", name), ("arguments", arguments)):
            if isinstance(text, str):
                self.grow(text)
                mine[key].append(text)


def reason(body):
    """What an error's body says, in one line."""
    found = body
    for key in ("error", "message"):
        if isinstance(found, dict) and found.get(key):
            found = found[key]
    if isinstance(found, dict):
        found = found.get("detail") or found.get("code") or json.dumps(found)
    return " ".join(str(found).split())[:500]


class Endpoint:
    """One base URL with its key."""

    def __init__(self, base, key):
        parts = urllib.parse.urlsplit(base.strip())
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise Problem(f"OPENAI_BASE_URL '{base[:200]}' is no http or https address")
        self.base = base.strip()
        self.secure = parts.scheme == "https"
        self.host = parts.hostname
        self.port = port or (443 if self.secure else 80)
        self.path = parts.path.rstrip("/") or "/v1"
        # What cannot stand in a header would be refused with a message that shows it.
        self.key = key.strip()
        if not self.key.isascii() or not (self.key.isprintable() or not self.key):
            raise Problem("OPENAI_API_KEY has characters that no key has")

    @property
    def is_gateway(self):
        """superserve's own, which adds the key: at the proxy's port."""
        via = urllib.parse.urlsplit(os.environ.get("HTTP_PROXY", ""))
        return "SUPERSERVE" in os.environ and (via.hostname, via.port) == (self.host, self.port)

    def connect(self):
        """In a session the way out is the proxy: for what is called loopback too, which means that of the host. Only the
        proxy's own port is the session's."""
        proxy = os.environ.get("HTTPS_PROXY" if self.secure else "HTTP_PROXY") if "SUPERSERVE" in os.environ else None
        via = urllib.parse.urlsplit(proxy) if proxy else None
        if via is None or (via.hostname, via.port) == (self.host, self.port):
            kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
            return kind(self.host, self.port, timeout=SILENCE), ""
        if self.secure:
            connection = http.client.HTTPSConnection(via.hostname, via.port, timeout=SILENCE)
            connection.set_tunnel(self.host, self.port)
            return connection, ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return http.client.HTTPConnection(via.hostname, via.port, timeout=SILENCE), f"http://{host}:{self.port}"

    def send(self, cancel, method, path, payload):
        """One request, once: the answer's head has come. Call the second value when done with it."""
        connection, prefix = self.connect()

        def cut():
            with contextlib.suppress(OSError, AttributeError):
                connection.sock.shutdown(2)

        def done():
            cancel.drop(cut)
            connection.close()
        headers = {"Accept": "text/event-stream, application/json", "User-Agent": "superserve-assistant"}
        body = None
        if payload is not None:
            body = json.dumps(payload).encode()
            headers["Content-Type"] = "application/json"
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        try:
            cancel.add(cut)
            connection.request(method, prefix + self.path + path, body=body, headers=headers)
            return connection.getresponse(), done
        except BaseException:
            done()
            cancel.check()
            raise

    def ask(self, cancel, method, path, payload=None, note=lambda text: None):
        """The same until it is answered with success, or further tries are of no use."""
        for attempt in range(TRIES):
            cancel.check()
            wait = min(LONGEST_WAIT, 2.0 ** attempt) * random.uniform(0.5, 1.0)
            try:
                response, done = self.send(cancel, method, path, payload)
            except ssl.SSLCertVerificationError as error:
                raise Problem(f"{self.base}: the server's certificate is not trusted: {error.verify_message}") from None
            except (OSError, http.client.HTTPException, ValueError) as error:
                refusal = str(error)
                if "Tunnel connection failed: 403" in refusal:
                    raise Unreached(f"{self.base}: the network of this session does not allow it") from None
                if attempt + 1 == TRIES or (method == "GET" and attempt == 1):
                    raise Unreached(f"{self.base} does not answer: {refusal or type(error).__name__}") from None
                note(f"the model endpoint does not answer ({refusal[:100] or type(error).__name__}), trying again")
                cancel.sleep(wait)
                continue
            if response.status == 200:
                return response, done
            try:
                refused = self.refusal(response)
            finally:
                done()
            own = response.getheader("x-superserve-refusal")
            if own == "policy":
                raise Unreached(f"{self.base}: the network of this session does not allow it ({refused})")
            if not (refused.status in (408, 425, 429) or refused.status >= 500) or refused.kind in (
                    "budget_exceeded", "insufficient_quota", NO_KEY):
                raise refused
            asked = retry_after(response)
            if asked is not None and asked > LONGEST_WAIT:
                raise Refused(refused.status, f"{refused} (it asks to wait {int(asked)} s)")
            if attempt + 1 == TRIES or (method == "GET" and attempt == 1):
                raise Unreached(f"{self.base}: {refused}") if own else refused
            wait = wait if asked is None else asked
            note(f"the model endpoint says {refused.status}, trying again in {wait:.0f} s")
            cancel.sleep(wait)

    def refusal(self, response):
        try:
            data = response.read(1 << 16)
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            data = b""
        kind = ""
        try:
            body = json.loads(data)
            said = reason(body)
            error = body.get("error") if isinstance(body, dict) else None
            if isinstance(error, dict):
                kind = next((error[key] for key in ("code", "type") if isinstance(error.get(key), str)), "")
                if error.get("type") == "budget_exceeded":
                    kind = "budget_exceeded"
        except (ValueError, RecursionError):
            said = " ".join(data.decode(errors="replace").split())[:300]
        status = response.status
        if response.getheader("x-superserve-refusal"):
            pass  # our own word
        elif status == 401:
            said = (f"The model endpoint refuses the key: {said}" if self.key else
                    f"The model endpoint wants a key (OPENAI_API_KEY): {said}")
        elif status == 429:
            said = f"The model endpoint has had enough for now (429): {said}"
        elif status == 404:
            said = f"{self.base} has no such model or path (404): {said}"
        else:
            said = f"The model endpoint answers {status}: {said}"
        return Refused(status, said, kind)

    def models(self, cancel):
        """Names of models that can talk, as the endpoint lists them, each with the time it was made at."""
        response, done = self.ask(cancel, "GET", "/models")
        try:
            listed = json.loads(response.read(MOST_BODY)).get("data")
        except (ValueError, RecursionError, AttributeError, OSError, http.client.HTTPException):
            raise Problem(f"{self.base}/models gives no list of models") from None
        finally:
            done()
        return models.named(listed)

    def complete(self, cancel, payload, on_text, note):
        """One answer of the model; its text is handed over as it comes. `Broken` when it is not whole."""
        response, done = self.ask(cancel, "POST", "/chat/completions", payload, note)
        answer = Answer()
        try:
            if "event-stream" in response.getheader("Content-Type", ""):
                for event in events(response, cancel):
                    answer.take(event, on_text)
            else:
                body = response.read(MOST_BODY + 1)
                if len(body) > MOST_BODY:
                    raise Problem(f"The model's answer is longer than {MOST_BODY} bytes")
                answer.take(json.loads(body), on_text)
                answer.finish = answer.finish or "stop"
        except RecursionError:
            raise Problem("The model endpoint's answer nests too deep") from None
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            cancel.check()
            if not isinstance(error, ValueError) or isinstance(error, (ssl.SSLError, http.client.HTTPException)):
                raise Broken(str(error) or type(error).__name__) from None
            raise Problem(f"The model endpoint's answer cannot be read: {str(error)[:200]}") from None
        finally:
            done()
        cancel.check()
        if answer.finish is None and not answer.calls:
            raise Broken("the answer has no end")
        return answer


def events(response, cancel):
    """The JSON values of a stream of Server-Sent Events."""
    data, size, began, total = [], 0, time.monotonic(), 0
    while True:
        line = response.readline(MOST_LINE + 1)
        cancel.check()
        total += len(line)
        if len(line) > MOST_LINE or total > 64 * MOST_TEXT or time.monotonic() - began > 3600:
            raise Problem("The model endpoint's answer is too long")
        if not line:
            return
        line = line.rstrip(b"\r\n")
        if line.startswith(b"data:"):
            data.append(line[5:].strip())
            size += len(line)
            if size > MOST_LINE:
                raise Problem("The model endpoint's answer is too long")
        elif not line and data:
            text, data, size = b"\n".join(data), [], 0
            if text == b"[DONE]":
                return
            yield json.loads(text)


def retry_after(response):
    """Seconds, or nil: a number or a date (RFC 9110, section 10.2.3)."""
    text = response.getheader("Retry-After")
    if not text:
        return None
    if text.strip().isdecimal():
        return float(text.strip()[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
