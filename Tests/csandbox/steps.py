"""Small steps that the tests share."""

import contextlib

from wire import Disconnected, Failed

ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp"}


@contextlib.contextmanager
def refused(*errnos):
    """The block must end in FAILED with one of these errnos."""
    try:
        yield
    except Failed as failure:
        assert failure.errno in errnos, failure
        return
    raise AssertionError("was not refused")


@contextlib.contextmanager
def disconnects():
    try:
        yield
    except Disconnected:
        return
    raise AssertionError("stayed connected")


def shell(script):
    return ["bash", "-c", script]


def python(script):
    return ["python3", "-c", script]
