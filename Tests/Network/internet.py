"""Another side to talk to: a network namespace with public, private and link-local addresses, a server behind each.

The tests' own process is in the namespace of the "host", where superserved runs too. Both, and the mounts, are gone
when the process is.
"""

import contextlib
import ctypes
import os
import shutil
import ssl
import subprocess
import tempfile
import threading
import time

import harness
import model
import servers

HOST4, GATEWAY4 = "192.0.2.2", "192.0.2.1"
HOST6, GATEWAY6 = "2001:db8:ffff::2", "2001:db8:ffff::1"
WEB, WEB6 = "203.0.113.10", "2001:db8:1::10"       # nginx, many names
EVIL, EVIL6 = "203.0.113.20", "2001:db8:1::20"     # public, but no rule allows it
TOOLS, TOOLS6 = "203.0.113.30", "2001:db8:1::30"   # echo and the like
MODEL = "203.0.113.40"                             # model.py
OTHER = "198.51.100.7"                             # a second public network
RESOLVER = "198.51.100.53"
PRIVATE = ["10.9.8.7", "172.16.5.5", "192.168.7.7", "169.254.169.254", "169.254.5.5", "100.64.0.9", "100.100.100.200",
           "192.0.0.192", "198.18.5.5"]
PRIVATE6 = ["fd00:ec2::254", "fd12:3456::7", "64:ff9b::a09:807", "2002:a09:807::1", "fec0::7", "3fff::a09:807"]
HOST_SIDE = ["127.0.0.1", "127.9.9.9", HOST4, "::1", HOST6]
FORBIDDEN_PORTS = [22, 25, 53, 80, 443, 1080, 3128, 8080]

NAMES = {
    "www.example": [("A", WEB)], "other.example": [("A", WEB)], "forbidden.example": [("A", WEB)],
    "a.good.example": [("A", WEB)], "good.example": [("A", WEB)], "badgood.example": [("A", EVIL)],
    "www.example.evil": [("A", EVIL)], "evilwww.example": [("A", EVIL)], "evil.example": [("A", EVIL)],
    "xn--bcher-kva.example": [("A", WEB)], "under_score.good.example": [("A", WEB)],
    "six.example": [("AAAA", WEB6)], "both.example": [("A", WEB), ("AAAA", WEB6)],
    "tools.example": [("A", TOOLS)], "tools6.example": [("AAAA", TOOLS6)],
    "alias.example": [("CNAME", "www.example")],
    "api.example": [("A", TOOLS)], "caught.example": [("A", TOOLS)],
    "private.good.example": [("A", "10.9.8.7")], "metadata.good.example": [("A", "169.254.169.254")],
    "loopback.good.example": [("A", "127.0.0.1")], "self.good.example": [("A", HOST4)],
    "self6.good.example": [("AAAA", HOST6)], "loopback6.good.example": [("AAAA", "::1")],
    "local6.good.example": [("AAAA", "fd12:3456::7")], "mapped.good.example": [("AAAA", "::ffff:10.9.8.7")],
    "nat64.good.example": [("AAAA", "64:ff9b::a09:807")], "sixtofour.good.example": [("AAAA", "2002:a09:807::1")],
    "benchmark.good.example": [("A", "198.18.5.5")], "zero.good.example": [("A", "0.0.0.0")],
    "carrier.good.example": [("A", "100.64.0.9")], "cname.good.example": [("CNAME", "inner.corp.example")],
    "inner.corp.example": [("A", "10.9.8.7")],
    "mixed.good.example": [("A", "10.9.8.7"), ("A", WEB)],
    "denied.good.example": [("A", WEB)], "intodenied.good.example": [("A", OTHER)],
    "dead.good.example": [("A", "203.0.113.99")],
    "model.example": [("A", MODEL)], "mirror.example": [("A", WEB)],
    "many.good.example": [("A", f"10.9.8.{n}") for n in range(1, 40)],
}

NGINX = """
user root; daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 4096; }}
http {{
    log_format told '$server_addr $host "$ssl_server_name" $request_method $request_uri';
    access_log {dir}/access.log told;
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
    uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
    keepalive_timeout 60; keepalive_requests 10000; client_max_body_size 0;
    ssl_certificate {dir}/site.pem; ssl_certificate_key {dir}/site.key;
    server {{
        listen {web}:80 default_server; listen [{web6}]:80 default_server;
        listen {web}:443 ssl default_server; listen [{web6}]:443 ssl default_server;
        listen {web}:8443 ssl; listen {web}:8080;
        root {dir}/www;
        location /big {{ }}
        location /mirror/ {{ }}
        location /away {{ return 302 "http://forbidden.example/${{args}}xyz"; }}
        location /inward {{ return 302 "http://169.254.169.254/${{args}}xyz"; }}
        location / {{ return 200 "host=$host uri=$request_uri ssl=$ssl_server_name\n"; }}
    }}
}}
"""


class Internet:
    """Made once for all tests."""

    def __init__(self):
        # One with a key, in clear and over TLS, and one of this host, which wants none.
        self.model, self.local_model = model.Model("sk-test-0123456789"), model.Model(None)
        self.stack = contextlib.ExitStack()
        self.record = servers.Record()
        self.names = servers.Names(self.record)
        self.names.table.update(NAMES)
        self.held = servers.Held()
        self.counted = servers.Counted()

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="superserve-network-", dir="/tmp")
        self.stack.callback(shutil.rmtree, self.dir, ignore_errors=True)
        os.chmod(self.dir, 0o755)
        try:
            self.make_namespaces()
            self.make_resolver_files()
            self.make_certificates()
            self.start_servers()
            self.start_nginx()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_):
        self.stack.close()

    def make_namespaces(self):
        run("ip", "link", "set", "lo", "up")
        holder = subprocess.Popen(["unshare", "--net", "sleep", "1d"])
        self.stack.callback(lambda: (holder.kill(), holder.wait()))
        own = os.readlink("/proc/self/ns/net")
        harness.eventually(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own, "another network namespace")
        self.pid = holder.pid
        self.handle = os.open(f"/proc/{holder.pid}/ns/net", os.O_RDONLY)
        self.stack.callback(os.close, self.handle)
        run("ip", "link", "add", "inside", "type", "veth", "peer", "name", "outside", "netns", str(holder.pid))
        run("ip", "addr", "add", f"{HOST4}/24", "dev", "inside")
        run("ip", "-6", "addr", "add", f"{HOST6}/64", "dev", "inside", "nodad")
        run("ip", "link", "set", "inside", "up")
        self.outside("ip", "link", "set", "lo", "up")
        self.outside("ip", "addr", "add", f"{GATEWAY4}/24", "dev", "outside")
        self.outside("ip", "-6", "addr", "add", f"{GATEWAY6}/64", "dev", "outside", "nodad")
        self.outside("ip", "link", "set", "outside", "up")
        for address in [WEB, EVIL, TOOLS, MODEL, OTHER, RESOLVER, *PRIVATE]:
            self.outside("ip", "addr", "add", f"{address}/32", "dev", "lo")
        for address in [WEB6, EVIL6, TOOLS6, *PRIVATE6]:
            self.outside("ip", "-6", "addr", "add", f"{address}/128", "dev", "lo", "nodad")
        run("ip", "route", "add", "default", "via", GATEWAY4)
        run("ip", "-6", "route", "add", "default", "via", GATEWAY6, "dev", "inside")

    def outside(self, *command):
        run("nsenter", f"--net=/proc/{self.pid}/ns/net", *command)

    def make_resolver_files(self):
        """Over those of the host, in this mount namespace alone."""
        files = {"/etc/resolv.conf": f"nameserver {RESOLVER}\noptions timeout:2 attempts:2\n",
                 "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
                 "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"}
        for number, (target, text) in enumerate(files.items()):
            path = os.path.join(self.dir, f"etc{number}")
            with open(path, "w") as file:
                file.write(text)
            os.chmod(path, 0o644)
            run("mount", "--bind", path, os.path.realpath(target))

    def make_certificates(self):
        """An authority, and one certificate for every name."""
        where = {"cwd": self.dir}
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
            "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=authority of the test", **where)
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
            "site.key", "-out", "site.csr", "-subj", "/CN=www.example", **where)
        names = ",".join(f"DNS:{name}" for name in NAMES if "_" not in name)
        with open(os.path.join(self.dir, "ext"), "w") as file:
            file.write(f"subjectAltName={names},IP:{WEB}\n")
        run("openssl", "x509", "-req", "-in", "site.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", "ext", "-out", "site.pem", **where)
        os.chmod(os.path.join(self.dir, "ca.pem"), 0o644)

    def there(self, function):
        """Calls a function in the other network namespace: sockets belong to where they were made."""
        outcome = []

        def body():
            libc = ctypes.CDLL(None, use_errno=True)
            try:
                if libc.setns(self.handle, 0x40000000) != 0:  # CLONE_NEWNET
                    raise OSError(ctypes.get_errno(), "setns")
                outcome.append((function(), None))
            except BaseException as error:  # noqa: BLE001 - raised again in the caller
                outcome.append((None, error))
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        value, error = outcome[0]
        if error:
            raise error
        return value

    def start_servers(self):
        acceptor = servers.Acceptor()
        recorder = servers.recorder(self.record)
        for address in [EVIL, EVIL6, OTHER, GATEWAY4, GATEWAY6, *PRIVATE, *PRIVATE6]:
            for port in FORBIDDEN_PORTS:
                acceptor.add(self.there(lambda a=address, p=port: servers.listen(a, p)), recorder)
        acceptor.add(self.there(lambda: servers.listen(WEB, 22)), recorder)
        for address in HOST_SIDE:
            for port in (80, 443, 8080):
                acceptor.add(servers.listen(address, port), recorder)
        for address in (TOOLS, TOOLS6):
            for port, serve in {
                    7: servers.echo(self.record), 25: servers.greet, 1007: self.held.serve, 1008: servers.hashing,
                    1009: servers.flooding, 1010: servers.slow_sink, 1011: servers.resetting,
                    1012: self.counted.serve,
                    80: servers.origin(self.record), 443: servers.echo(self.record)}.items():
                acceptor.add(self.there(lambda a=address, p=port: servers.listen(a, p, backlog=4096)), serve)
        for address in (EVIL, EVIL6, WEB):
            self.echo_datagrams(self.there(lambda a=address: servers.listen(a, 7, servers.socket.SOCK_DGRAM)))
        self.names.serve_datagrams(self.there(lambda: servers.listen(RESOLVER, 53, servers.socket.SOCK_DGRAM)))
        acceptor.add(self.there(lambda: servers.listen(RESOLVER, 53)), self.names.serve_stream)
        secured = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        secured.load_cert_chain(os.path.join(self.dir, "site.pem"), os.path.join(self.dir, "site.key"))
        for port, serve in {80: self.model.serve, 443: self.model.served_over(secured)}.items():
            acceptor.add(self.there(lambda p=port: servers.listen(MODEL, p)), serve)
        acceptor.add(servers.listen("127.0.0.1", 11434), self.local_model.serve)

    def echo_datagrams(self, server):
        def loop():
            while True:
                data, client = server.recvfrom(65536)
                self.record.note(data)
                server.sendto(data, client)
        threading.Thread(target=loop, daemon=True).start()

    def start_nginx(self):
        os.makedirs(os.path.join(self.dir, "www"))
        with open(os.path.join(self.dir, "www", "big"), "wb") as file:
            for block in servers.pattern(50 << 20):
                file.write(block)
        with open(os.path.join(self.dir, "nginx.conf"), "w") as file:
            file.write(NGINX.format(dir=self.dir, web=WEB, web6=WEB6))
        process = subprocess.Popen(
            ["nsenter", f"--net=/proc/{self.pid}/ns/net", "nginx", "-p", self.dir, "-c", f"{self.dir}/nginx.conf"],
            stderr=open(os.path.join(self.dir, "nginx.out"), "w"))
        self.stack.callback(lambda: (process.kill(), process.wait()))
        harness.eventually(lambda: process.poll() is not None or os.path.exists(f"{self.dir}/nginx.pid"), "nginx")
        harness.check(process.poll() is None, "nginx does not start: " + self.read("error.log") + self.read("nginx.out"))

    def read(self, name):
        with contextlib.suppress(FileNotFoundError), open(os.path.join(self.dir, name)) as file:
            return file.read()
        return ""

    def reached(self, token):
        """Whether a request, a datagram or a name query with this word came to any server of the other side, or to
        one of the host's own."""
        return self.record.has(token) or token in self.read("access.log")

    def settle(self):
        """Gives what is under way the time to arrive: used before a "nothing came" is believed."""
        time.sleep(0.3)


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise harness.Failure(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
