"""A supervisor in the network of the tests: agents with different policies, and what runs inside of their sessions."""

import base64
import contextlib
import glob
import json
import os
import shutil
import threading

import harness
import internet
from harness import Failure, check, equal, eventually  # noqa: F401

HERE = os.path.dirname(os.path.abspath(__file__))

AGENT = """protocol: exec
command: [/bin/sh, -c, "{message}"]
turn_timeout: 30m
source: tools
env: {PYTHONPATH: /agent/lib, SSL_CERT_FILE: /agent/ca.pem, REQUESTS_CA_BUNDLE: /agent/ca.pem, PYTHONDONTWRITEBYTECODE: "1"}
network: """

STRICT = '{allow: [www.example, "www.example:8443", "*.good.example"], deny: [denied.good.example, "198.51.100.0/24:*"]}'
REACH = ('{allow: [www.example, other.example, "*.good.example", six.example, both.example, alias.example, "tools.example:*",'
         ' "tools.example:7", "tools.example:25", "tools6.example:7", "203.0.113.10", "www.example:8443",'
         ' "tools.example:80", "tools.example:1007"]}')
AGENTS = {
    "strict": STRICT, "reach": REACH, "none": "none", "empty": "{allow: []}",
    "open": '{open: true, deny: [forbidden.example, "198.51.100.0/24:*"]}', "free": "open",
    # What an agent file alone asks for in vain.
    "greedy": '{allow: ["10.9.8.7:*", "169.254.169.254:*", "127.0.0.1:*", "[fd12:3456::7]:*", "192.0.2.2:*",'
              ' private.good.example, metadata.good.example, loopback.good.example, self.good.example]}',
}


class Setting(harness.World):
    def __init__(self, net, programs, user=None, config=""):
        super().__init__(user=user, config=config)
        self.net = net
        self.programs = programs

    def __enter__(self):
        super().__enter__()
        source = os.path.join(self.agents, "tools")
        shutil.copytree(self.programs, source, symlinks=True)
        for part in glob.glob(os.path.join(HERE, "inside*.py")):
            shutil.copy(part, source)
        shutil.copy(os.path.join(self.net.dir, "ca.pem"), source)
        for name, policy in AGENTS.items():
            self.agent(name, AGENT + policy)
        self.kept = {}
        return self

    def session_of(self, agent):
        """One session of an agent, for tests that leave it as it was."""
        if agent not in self.kept:
            self.kept[agent] = self.create(agent)
        return self.kept[agent]

    @contextlib.contextmanager
    def session(self, agent):
        session = self.create(agent)
        try:
            yield session
        finally:
            with contextlib.suppress(OSError, Failure):
                self.post(f"/v1/sessions/{session['id']}/end")

    def sh(self, session, script):
        """The output of a shell script; its failure is one of the test."""
        return self.ask(session, f"exec 2>&1; {script}\ntrue")

    def call(self, session, function, arguments=None, **more):
        """A function of inside.py, run by the agent."""
        data = base64.b64encode(json.dumps(arguments if arguments is not None else more).encode()).decode()
        said = self.ask(session, f"python3 /agent/inside.py {function} {data} 2>&1\ntrue")
        try:
            return json.loads(said.strip().splitlines()[-1])
        except (ValueError, IndexError):
            raise Failure(f"{function}: {said[-1500:]}") from None

    def start_call(self, session, function, **arguments):
        """The same in the background: call the result for its value."""
        outcome = []

        def body():
            try:
                outcome.append((self.call(session, function, arguments), None))
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                outcome.append((None, error))
        thread = threading.Thread(target=body, daemon=True)
        thread.start()

        def result(seconds=120):
            thread.join(seconds * harness.SLOWNESS)
            check(outcome, f"{function} does not end within {seconds} s")
            if outcome[0][1]:
                raise outcome[0][1]
            return outcome[0][0]
        return result

    def table(self, session, rows):
        """Attempts by name -> what each brought."""
        result, names = {}, list(rows)
        for start in range(0, len(names), 60):  # a message is one argument of a shell
            result.update(self.call(session, "table", {name: rows[name] for name in names[start:start + 60]}))
        return result

    def records(self, session, limit=1000):
        return self.get(f"/v1/sessions/{session['id']}/network?limit={limit}").json["records"]

    def wait_record(self, session, what, **fields):
        """A record of the network log with these fields; they are written behind the connections."""
        def found():
            for record in self.records(session):
                if all(record.get(key) == value for key, value in fields.items()):
                    return record
            return None
        return eventually(found, f"{what}: a record with {fields}")

    def memory(self):
        """Bytes of superserved that are in memory, and its descriptors."""
        with open(f"/proc/{self.process.pid}/status") as file:
            size = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        return size << 10, len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def wait_file(self, session, path):
        """Until a file of the session's workspace is there; the agent may be at work meanwhile."""
        eventually(lambda: harness.get_files(self, session, path).status == 200, f"{path} in the session", 30)

    def check_alive(self):
        check(self.process.poll() is None, "superserved ended: " + self.read_log()[-1500:])
        check("Fatal error" not in self.read_log(), "the log: " + self.read_log()[-1500:])

    def read_log(self):
        with open(self.log) as file:
            return file.read()


def opened():
    """The operator's word for every private place of the other side: the control of what is refused without it."""
    places = []
    for address in internet.PRIVATE + internet.PRIVATE6 + internet.HOST_SIDE:
        for port in (80, 443):
            places.append(f'"[{address}]:{port}"' if ":" in address else f'"{address}:{port}"')
    return f"private_destinations: [{', '.join(places)}]"
