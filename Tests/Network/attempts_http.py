"""Attempts to get around a policy inside of HTTP and TLS; see attempts.py."""

from attempts import get, row

CLOSE = "Connection: close\r\n\r\n"


def request(host, target="/WORD"):
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\n" + CLOSE


# --- one name for the way out, another one for the server ---

for _way in ("connect", "socks", "itself"):
    row(f"Host of another site, {_way}", "get", get("www.example:80", _way, host="forbidden.example"),
        ("strict", {"host": "www.example"}))
    row(f"a second request for another site, {_way}", "second", {"way": _way, "authority": "www.example:80",
        "first": "GET /before HTTP/1.1\r\nHost: www.example\r\n\r\n", "then": request("forbidden.example")},
        ("strict", {"then": request("www.example")}))
    row(f"TLS to another site, {_way}", "tls",
        {"way": _way, "authority": "www.example:443", "name": "forbidden.example", "token": "WORD"},
        ("strict", {"name": "www.example"}))
    row(f"TLS without a name, {_way}", "tls", {"way": _way, "authority": "www.example:443", "name": None, "token": "WORD"},
        ("strict", {"name": "www.example"}))
    row(f"TLS with two names, {_way}", "hello",
        {"way": _way, "authority": "www.example:443", "names": ["www.example", "forbidden.example"], "token": "WORD"},
        ("strict", {"names": ["www.example"]}))
    row(f"TLS with a name with NUL, {_way}", "hello",
        {"way": _way, "authority": "www.example:443", "names": ["www.example\0.evil"], "token": "WORD"},
        ("strict", {"names": ["www.example"]}))
    row(f"HTTP/2 without TLS, {_way}", "say", {"way": _way, "authority": "www.example:80",
        "data": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0" + request("forbidden.example")},
        ("strict", {"data": request("www.example")}))
    # Servers forgive much; what they would take for a request must be looked at.
    for _title, _start in {
            "an empty line": "\r\nGET /WORD HTTP/1.1", "a newline": "\nGET /WORD HTTP/1.1", "a blank": " GET /WORD HTTP/1.1",
            "two blanks between": "GET  /WORD HTTP/1.1", "a tab between": "GET\t/WORD HTTP/1.1",
            "a long method": "A" * 40 + " /WORD HTTP/1.1", "a blank at the end": "GET /WORD HTTP/1.1 ",
            "another digit": "GET /WORD HTTP/1.10", "an odd method": "G!T /WORD HTTP/1.1", "a small version": "GET /WORD http/1.1",
            "a NUL": "GET /WORD\0 HTTP/1.1", "version 2": "GET /WORD HTTP/2.0", "no version": "GET /WORD"}.items():
        row(f"a request line with {_title}, {_way}", "say", {"way": _way, "authority": "www.example:80",
            "data": f"{_start}\r\nHost: forbidden.example\r\n{CLOSE}" + request("forbidden.example")},
            ("strict", {"data": request("www.example")}))
    row(f"a PROXY line before the request, {_way}", "say", {"way": _way, "authority": "www.example:80",
        "data": "PROXY TCP4 192.0.2.1 192.0.2.1 1 80\r\n" + request("forbidden.example")},
        ("strict", {"data": request("www.example")}))
row("a synthetic address of no name, HTTP", "get", get("198.18.77.77:80", "itself", host="forbidden.example"),
    ("strict", {"host": "www.example"}))
row("a synthetic address of no name, TLS", "tls",
    {"way": "itself", "authority": "198.18.77.77:443", "name": "forbidden.example", "token": "WORD"},
    ("strict", {"name": "www.example"}))
row("a synthetic address of no name, TLS without a name", "tls",
    {"way": "itself", "authority": "198.18.77.77:443", "name": None, "token": "WORD", "host": "forbidden.example"},
    ("strict", {"name": "www.example"}))
row("a synthetic address of no name, no protocol", "say",
    {"way": "itself", "authority": "198.18.77.77:80", "data": "\x01WORD\r\n"},
    ("strict", {"data": request("www.example")}))
row("loopback inside, Host of another site", "get", get("127.0.0.1:80", "itself", host="forbidden.example"),
    ("strict", {"authority": "www.example:80", "host": "www.example"}))

# --- absolute form ---

WELL = {"data": request("www.example", "http://www.example/WORD")}
for _title, _data in {
        "without a rule": request("forbidden.example", "http://forbidden.example/WORD"),
        "Host of another site": request("forbidden.example", "http://www.example/WORD"),
        "Host that is allowed": request("www.example", "http://forbidden.example/WORD"),
        "two Hosts": "GET http://www.example/WORD HTTP/1.1\r\nHost: www.example\r\nHost: forbidden.example\r\n" + CLOSE,
        "two Hosts in one": "GET http://www.example/WORD HTTP/1.1\r\nHost: www.example, forbidden.example\r\n" + CLOSE,
        "a folded Host": "GET http://www.example/WORD HTTP/1.1\r\nHost: www.example\r\n forbidden.example\r\n" + CLOSE,
        "a folded first header": "GET http://www.example/WORD HTTP/1.1\r\n Host: forbidden.example\r\n" + CLOSE,
        "a blank before the colon": "GET http://www.example/WORD HTTP/1.1\r\nHost : forbidden.example\r\n" + CLOSE,
        "a NUL in a header": "GET http://www.example/WORD HTTP/1.1\r\nHost: www.example\r\nX: a\0b\r\n" + CLOSE,
        "NUL in Host": "GET http://www.example/WORD HTTP/1.1\r\nHost: www.example\0.evil\r\n" + CLOSE,
        "https": request("www.example", "https://www.example/WORD"),
        "https without a rule": request("forbidden.example", "https://forbidden.example/WORD"),
        "another scheme": request("www.example", "ftp://www.example/WORD"), "file": request("www.example", "file:///WORD"),
        "no scheme": request("www.example", "www.example/WORD"), "one slash": request("www.example", "http:/www.example/WORD"),
        "three slashes": request("www.example", "http:///www.example/WORD"),
        "two slashes only": request("forbidden.example", "//forbidden.example/WORD"),
        "only a path": request("www.example"), "only a path, another site": request("forbidden.example"),
        "upper case": request("forbidden.example", "HTTP://FORBIDDEN.EXAMPLE/WORD"),
        "a user name": request("www.example", "http://www.example@forbidden.example/WORD"),
        "a user name, Host": request("forbidden.example", "http://www.example:80@forbidden.example/WORD"),
        "a backslash": request("www.example", "http://forbidden.example\\@www.example/WORD"),
        "a fragment": request("www.example", "http://forbidden.example#@www.example/WORD"),
        "a port without a rule": request("www.example:22", "http://www.example:22/WORD"),
        "a blank in the target": request("www.example", "http://www.example/ http://forbidden.example/WORD"),
        "a tab in the target": request("www.example", "http://www.example\t@forbidden.example/WORD"),
        "NUL in the target": request("www.example", "http://forbidden.example\0.good.example/WORD"),
        "another line in the target": "GET http://forbidden.example/WORD\r\nHost: www.example HTTP/1.1\r\n" + CLOSE,
        "a bare CR": "GET http://www.example/x HTTP/1.1\rHost: forbidden.example\r\rGET /WORD HTTP/1.1\r\n" + CLOSE,
        "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + request("forbidden.example", "http://forbidden.example/WORD"),
        "version 2": "GET http://www.example/WORD HTTP/2.0\r\nHost: www.example\r\n" + CLOSE,
        "version 3": "GET http://www.example/WORD HTTP/3\r\nHost: www.example\r\n" + CLOSE,
        "no version": "GET http://www.example/WORD\r\n\r\n", "CONNECT of a URL": "CONNECT http://forbidden.example/WORD HTTP/1.1\r\n\r\n",
        "CONNECT with Host of another": "CONNECT www.example:80 HTTP/1.1\r\nHost: forbidden.example:80\r\n\r\n"
            + request("forbidden.example"),
        "CONNECT, then another site at once": "CONNECT www.example:80 HTTP/1.1\r\nHost: www.example:80\r\n\r\n"
            + request("forbidden.example"),
        "CONNECT with a body": "CONNECT www.example:80 HTTP/1.1\r\nHost: www.example:80\r\nContent-Length: 5\r\n\r\n12345"
            + request("forbidden.example"),
        "a name with a rule, trailing text": request("www.example", "http://www.example.evil/WORD")}.items():
    row(f"absolute: {_title}", "exchange", {"data": _data}, ("strict", WELL))
row("absolute: 'Connection: host'", "exchange", {
    "data": "GET http://www.example/x HTTP/1.1\r\nHost: www.example\r\nConnection: host\r\n\r\n"
            + request("forbidden.example", "http://forbidden.example/WORD")}, ("strict", WELL))
row("absolute: a second request for another site", "second", {"way": "proxy", "authority": "",
    "first": "GET http://www.example/before HTTP/1.1\r\nHost: www.example\r\n\r\n",
    "then": request("forbidden.example", "http://forbidden.example/WORD")},
    ("strict", {"then": request("www.example", "http://www.example/WORD")}))
row("absolute: the second request only a path", "second", {"way": "proxy", "authority": "",
    "first": "GET http://www.example/before HTTP/1.1\r\nHost: www.example\r\n\r\n", "then": request("www.example")},
    ("strict", {"then": request("www.example", "http://www.example/WORD")}))

# --- two readers of one body ---

INNER = "GET /WORD HTTP/1.1\r\nHost: forbidden.example\r\n\r\n"
SIZE = len(INNER.replace("WORD", "w" * 20))
POST = "POST http://www.example/ok HTTP/1.1\r\nHost: www.example\r\n"
for _title, _data in {
        "both lengths": f"Content-Length: {SIZE + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "both lengths, the other way round": "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "two lengths": f"Content-Length: 0\r\nContent-Length: {SIZE}\r\n\r\n",
        "two equal lengths": "Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "a list of lengths": f"Content-Length: 0, {SIZE}\r\n\r\n", "a length with a sign": "Content-Length: +0\r\n\r\n",
        "a negative length": "Content-Length: -1\r\n\r\n", "a hexadecimal length": "Content-Length: 0x0\r\n\r\n",
        "a length with a blank": "Content-Length: 0 0\r\n\r\n", "an empty length": "Content-Length:\r\n\r\n",
        "a huge length": "Content-Length: 18446744073709551616\r\n\r\n",
        "an unknown coding": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "two codings": "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "identity": "Transfer-Encoding: identity\r\n\r\n",
        "two coding headers": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "chunked twice": "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "a blank before the colon": "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "a vertical tab": "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        "a folded coding": "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "a bare newline in the head": "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "a chunk size with a sign": "Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n",
        "a hexadecimal chunk size": "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
        "a huge chunk size": "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n",
        "a negative chunk size": "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        "a chunk without its end": "Transfer-Encoding: chunked\r\n\r\n1\r\naX0\r\n\r\n",
        "a bare newline after a chunk": "Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\n0\r\n\r\n",
        "a bare CR after a size": "Transfer-Encoding: chunked\r\n\r\n0\r\r\n",
        "a trailer that is a Host": "Transfer-Encoding: chunked\r\n\r\n0\r\nHost: forbidden.example\r\n\r\n",
        "a length taken away": "Connection: content-length\r\nContent-Length: 0\r\n\r\n",
        "a coding taken away": "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "an upgrade that nobody answers": "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\n",
        }.items():
    row(f"smuggling: {_title}", "exchange", {"data": POST + _data + INNER, "end": True},
        ("strict", {"data": POST + "Content-Length: 0\r\n\r\n" + request("www.example", "http://www.example/WORD")}))
    row(f"smuggling in a tunnel: {_title}", "say",
        {"way": "connect", "authority": "www.example:80", "data": POST.replace("http://www.example", "") + _data + INNER},
        ("strict", {"data": POST.replace("http://www.example", "") + "Content-Length: 0\r\n\r\n" + request("www.example")}))
row("smuggling: a coding in HTTP/1.0", "exchange",
    {"data": POST.replace("1.1", "1.0") + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER, "end": True},
    ("strict", {"data": POST + "Content-Length: 0\r\n\r\n" + request("www.example", "http://www.example/WORD")}))
row("smuggling: a body of GET", "exchange", {"data": "GET http://www.example/ok HTTP/1.1\r\nHost: www.example\r\n"
    f"Content-Length: {SIZE}\r\n\r\n" + INNER, "end": True}, ("strict", WELL))

# --- too much ---

row("a giant header", "fill", {"data": "GET http://www.example/WORD HTTP/1.1\r\nHost: www.example\r\nX: ", "more": "a" * 1000,
    "count": 2000}, ("strict", {"more": "a\r\n" + CLOSE, "count": 1}))
row("many headers", "fill", {"data": "GET http://www.example/WORD HTTP/1.1\r\nHost: www.example\r\n",
    "more": "X-Header: value\r\n", "count": 100000}, ("strict", {"more": CLOSE, "count": 1}))
row("a request line without an end", "fill", {"data": "GET http://www.example/WORD", "more": "a" * 1000, "count": 2000},
    ("strict", {"more": " HTTP/1.1\r\nHost: www.example\r\n" + CLOSE, "count": 1}))
row("a method without an end", "fill", {"data": "WORD", "more": "A" * 1000, "count": 2000},
    ("strict", "exchange", WELL))

# --- SOCKS ---

SOCKS = ("strict", "exchange",
         {"data": "\x05\x01\0\x05\x01\0\x03\x0bwww.example\0\x50" + request("www.example"), "end": False})
for _title, _data in {
        "version 4": "\x04\x01\0\x50\xcb\0\x71\x14me\0", "version 4a": "\x04\x01\0\x50\0\0\0\1me\0evil.example\0",
        "BIND": "\x05\x01\0\x05\x02\0\x03\x0bwww.example\0\x50", "UDP": "\x05\x01\0\x05\x03\0\x03\x0bwww.example\0\x50",
        "an unknown command": "\x05\x01\0\x05\x09\0\x03\x0bwww.example\0\x50",
        "NUL": "\x05\x01\0\x05\x01\0\x03\x1aevil.example\0.good.example\0\x50",
        "an empty name": "\x05\x01\0\x05\x01\0\x03\0\0\x50", "a name that is too short": "\x05\x01\0\x05\x01\0\x03\xffwww.example\0\x50",
        "an unknown kind of address": "\x05\x01\0\x05\x01\0\x02\x0bwww.example\0\x50",
        "port 0": "\x05\x01\0\x05\x01\0\x03\x0bwww.example\0\0", "no port": "\x05\x01\0\x05\x01\0\x03\x0bwww.example",
        "an address": "\x05\x01\0\x05\x01\0\x01\xcb\0\x71\x14\0\x50", "the address 0": "\x05\x01\0\x05\x01\0\x01\0\0\0\0\0\x50",
        "an address as a name": "\x05\x01\0\x05\x01\0\x03\x0c203.0.113.20\0\x50",
        "another reserved byte": "\x05\x01\0\x05\x01\x01\x03\x0bwww.example\0\x50",
        "a password": "\x05\x01\x02\x01\x01a\x01b\x05\x01\0\x03\x0bwww.example\0\x50",
        "no methods": "\x05\0\x05\x01\0\x03\x0bwww.example\0\x50",
        "another version in the request": "\x05\x01\0\x04\x01\0\x03\x0bwww.example\0\x50",
        "two requests": "\x05\x01\0\x05\x01\0\x01\xcb\0\x71\x14\0\x50\x05\x01\0\x03\x0bwww.example\0\x50"}.items():
    row(f"SOCKS: {_title}", "exchange", {"data": _data + request("forbidden.example"), "end": True}, SOCKS)
