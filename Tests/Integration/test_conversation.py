"""The main job: a conversation with the shell agent that ships."""

import os

from harness import check, equal, eventually, text_of


def test_shell_answers(world):
    world.start()
    session = world.create("shell")
    events = world.say(session, "echo hello; id -u; pwd")
    equal([e["type"] for e in events][0], "run.started")
    equal(events[-1]["type"], "run.completed", str(events[-1]))
    equal(text_of(events), "hello\n1000\n/workspace\n")
    equal([e["seq"] for e in events], list(range(1, len(events) + 1)), "numbers")


def test_files_persist_across_messages_and_processes(world):
    """data.txt with 42, then 10 more: across messages, agent processes and supervisors."""
    world.start()
    session = world.create("shell")
    equal(world.ask(session, "echo 42 > data.txt"), "")
    equal(world.ask(session, "n=$(cat data.txt); echo $((n + 10)) | tee data.txt"), "52\n")
    world.kill()
    world.start()
    equal(world.ask(session, "cat data.txt; echo $n"), "52\n42\n", "after a new supervisor")


def test_directory_and_variables_carry_over(world):
    world.start()
    session = world.create("shell")
    world.ask(session, "mkdir -p a/b; cd a/b; word='two  words'; f() { echo f:$1; }")
    equal(world.ask(session, "pwd; echo \"$word\"; f 1"), "/workspace/a/b\ntwo  words\nf:1\n")
    equal(world.ask(session, "false"), "[exit status 1]\n")


def test_counts_title_and_history(world):
    world.start()
    session = world.create("shell")
    world.ask(session, "echo   first\n")
    world.ask(session, "echo second")
    shown = world.show(session)
    equal(shown["messages"], 4)
    equal(shown["title"], "echo first")
    equal(shown["status"], "idle")
    history = world.get(f"/v1/sessions/{session['short_id']}/messages").json["messages"]
    equal([m["content"] for m in history], ["echo   first\n", "first\n", "echo second", "second\n"])
    equal([m["role"] for m in history], ["user", "agent"] * 2)


def test_events_can_be_read_again_from_any_number(world):
    world.start()
    session = world.create("shell")
    world.ask(session, "for i in 1 2 3; do echo $i; sleep 0.05; done")
    path = f"/v1/sessions/{session['id']}/events"
    whole = list(world.stream("GET", f"{path}?follow=0"))
    equal([e["seq"] for e in whole], list(range(1, len(whole) + 1)))
    equal(list(world.stream("GET", f"{path}?follow=0&after=2")), whole[2:])
    equal(list(world.stream("GET", f"{path}?follow=0", headers={"Last-Event-ID": "3"})), whole[3:])


def test_sessions_are_separate(world):
    world.start()
    one, two = world.create("shell"), world.create("shell")
    world.ask(one, "echo secret > /workspace/a; echo secret > /tmp/a; echo secret > ~/a")
    answer = world.ask(two, "cat /workspace/a /tmp/a ~/a; ls /workspace | wc -l")
    check("secret" not in answer, answer)
    check(answer.startswith("cat:") and "0\n" in answer, answer)
    equal(world.ask(two, "ls /proc | grep -c '^[0-9]'") != "", True)


def test_a_message_while_active_is_refused(world):
    world.start()
    session = world.create("shell")
    stream = world.send(session, "echo start; read -t 30 x < <(sleep 3); echo end")
    iterator = iter(stream)
    next(iterator), next(iterator)
    equal(world.show(session)["status"], "active")
    refused = world.post(f"/v1/sessions/{session['id']}/messages", {"content": "echo two"})
    equal(refused.status, 409)
    equal(refused.error["message"], f"Session '{session['short_id']}' is processing a message")
    check(list(iterator)[-1]["type"] == "run.completed", "the first turn goes on")


def test_cancel_ends_the_turn_and_nothing_else(world):
    world.start()
    session = world.create("shell")
    world.ask(session, "echo kept > file")
    iterator = iter(world.send(session, "echo start; sleep 60; echo never"))
    next(iterator), next(iterator)
    equal(world.post(f"/v1/sessions/{session['id']}/cancel").status, 202)
    rest = list(iterator)
    equal(rest[-1]["type"], "run.cancelled", str(rest))
    equal(world.ask(session, "cat file"), "kept\n")


def test_output_of_background_children_is_out_of_turn(world):
    world.start()
    session = world.create("shell")
    events = world.say(session, "(sleep 1; echo late) & echo now")
    equal(text_of(events), "now\n")
    path = f"/v1/sessions/{session['id']}/events?after={events[-1]['seq']}"
    late = next(iter(world.stream("GET", path)))
    equal((late["type"], late["content"], late.get("turn")), ("background.output", "late\n", None))


def test_detached_message(world):
    world.start()
    session = world.create("shell")
    answer = world.post(
        f"/v1/sessions/{session['id']}/messages", {"content": "sleep 0.3; echo done", "detach": True})
    equal(answer.status, 202)
    eventually(lambda: world.show(session)["status"] == "idle", "the turn ends")
    history = world.get(f"/v1/sessions/{session['id']}/messages").json["messages"]
    equal(history[1]["content"], "done\n")


def test_a_client_that_goes_away_does_not_cancel(world):
    world.start()
    session = world.create("shell")
    stream = world.send(session, "echo a; sleep 1; echo b > done; echo c")
    next(iter(stream))
    stream.close()
    eventually(lambda: world.show(session)["status"] == "idle", "the turn ends")
    equal(world.ask(session, "cat done"), "b\n")


def test_end_destroys_workspace_and_history(world):
    world.start()
    session = world.create("shell")
    world.ask(session, "echo x > file; mkdir -p deep/er; ln -s /etc link; chmod 000 deep/er")
    check(os.path.isdir(world.tree(session)), "the tree is there")
    ended = world.post(f"/v1/sessions/{session['short_id'][:6]}/end")
    equal((ended.status, ended.json["status"], ended.json["reason"]), (200, "ended", "ended_by_user"))
    check(not os.path.exists(world.tree(session)), "the tree is gone from the disk")
    equal(world.get(f"/v1/sessions/{session['id']}/messages").status, 409)
    again = world.post(f"/v1/sessions/{session['id']}/end")
    equal((again.status, again.error["code"]), (409, "session_already_ended"))
    resumed = world.post(f"/v1/sessions/{session['id']}/resume")
    equal(
        resumed.error["message"],
        f"Session '{session['short_id']}' has status 'ended' and cannot be resumed")
    equal([s["status"] for s in world.sessions()], ["ended"])
