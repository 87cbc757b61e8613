"""The table of attempts.py and attempts_http.py: refused where it must be, and each with a control that succeeds."""

import json
import secrets

import attempts
import attempts_http  # noqa: F401 - adds its rows
import setting
from harness import check


class Try:
    """One attempt or control, with a word of its own."""

    def __init__(self, label, agent, function, arguments, wanted):
        self.label, self.agent, self.wanted = label, agent, wanted
        self.word = "w" + secrets.token_hex(8) + "xyz"
        self.row = [function, json.loads(json.dumps(arguments).replace("WORD", self.word)
                                         .replace("HALF", self.word.removesuffix("xyz")))]
        self.came = {}

    def verdict(self, net):
        said = self.came.get("said", "")
        back = self.word in said and "x-superserve-refusal" not in said  # which repeats what was asked for
        arrived = net.reached(self.word)
        if self.wanted and not (back or arrived):
            return f"the control did not succeed: {self.came}"
        if not self.wanted and (back or arrived):
            return f"reached {'a server' if arrived else 'its answer'}: {self.came}"
        return None


def tries(suite):
    result = []
    for row in attempts.ROWS:
        control = Try(f"control: {row.name}", row.control_agent, row.control_function, row.control_arguments, True)
        result.append(control)
        for agent in row.agents:
            title = row.name if agent == "strict" else f"{row.name} ({agent})"
            result.append(Try(title, agent, row.function, row.arguments, False))
    return [one for one in result if suite.only in f"test_bypass.{one.label}" or suite.only in "test_bypass.test_table"]


def run_in(suite, world, agents, chosen):
    for agent in agents:
        mine = {str(number): one for number, one in enumerate(chosen) if one.agent == agent}
        if not mine:
            continue
        found = world.table(world.session_of(agent), {key: one.row for key, one in mine.items()})
        for key, one in mine.items():
            one.came = found[key]


def test_table(suite):
    chosen = tries(suite)
    run_in(suite, suite.main, ("strict", "open", "greedy"), chosen)
    suite.main.check_alive()
    with suite.world(config=setting.opened()) as free:
        free.agent("open2", setting.AGENT + "open")
        free.start()
        run_in(suite, free, ("free", "open2"), chosen)
        free.check_alive()
    on_host(chosen)
    suite.net.settle()
    for one in chosen:
        suite.result(f"bypass: {one.label}", one.verdict(suite.net))
    check(len([one for one in chosen if not one.wanted]) >= 60 or suite.only, "fewer than 60 attempts")


test_table.counts_itself = True


def on_host(chosen):
    """The same functions without a sandbox, in the network of the host."""
    import inside
    mine = {str(number): one for number, one in enumerate(chosen) if one.agent == "host"}
    for key, came in inside.table({key: one.row for key, one in mine.items()}).items():
        mine[key].came = came
