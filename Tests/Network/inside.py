"""What the tests do inside of a session: /agent/inside.py, with the files that it imports beside it. For controls it also
runs on the host. Standard library only.

    python3 inside.py FUNCTION JSON-ARGUMENTS       prints JSON
    python3 inside.py table JSON-ROWS               many of them at once
"""

import base64
import concurrent.futures
import json
import socket
import sys

import inside_attempts
import inside_budget
import inside_tools
import inside_ways

FUNCTIONS = {name: value for module in (inside_ways, inside_attempts, inside_tools, inside_budget)
             for name, value in vars(module).items() if callable(value)}


def guarded(function, arguments):
    """What an attempt brought: `said` by the other side, or why it did not get there."""
    try:
        said = FUNCTIONS[function](**arguments)
        return {"said": (said or b"").decode("latin-1")}
    except Exception as error:  # noqa: BLE001 - part of the result
        return {"said": "", "error": f"{type(error).__name__}: {error}"[:300]}


def table(rows):
    socket.setdefaulttimeout(inside_ways.PATIENCE)
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        return dict(zip(rows, pool.map(lambda row: guarded(*row), rows.values())))


FUNCTIONS["table"] = table


def main():
    function = FUNCTIONS[sys.argv[1]]
    arguments = json.loads(base64.b64decode(sys.argv[2]) if sys.argv[2] != "-" else sys.stdin.read())
    result = function(arguments) if function is table else function(**arguments)
    print(json.dumps(result.decode("latin-1") if isinstance(result, bytes) else result))


if __name__ == "__main__":
    main()
