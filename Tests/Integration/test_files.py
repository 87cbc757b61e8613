"""Files in and out of a session, and archives that want more."""

import io
import os
import tarfile

from harness import check, equal, get_files, put_files


def tar_of(answer):
    return tarfile.open(fileobj=io.BytesIO(answer.body))


def member(name, kind=tarfile.REGTYPE, link="", mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def test_download_a_file_and_a_directory(world):
    world.start()
    session = world.create("shell")
    world.ask(session, "mkdir -p d/e; printf abc > d/e/f; ln -s e/f d/l; head -c 3000000 /dev/zero > big")
    with tar_of(get_files(world, session, "d/e/f")) as archive:
        equal(archive.getnames(), ["f"])
        equal(archive.extractfile("f").read(), b"abc")
    with tar_of(get_files(world, session, "/workspace/d")) as archive:
        equal(sorted(archive.getnames()), ["d", "d/e", "d/e/f", "d/l"])
        equal(archive.getmember("d/l").linkname, "e/f")
    with tar_of(get_files(world, session, "big")) as archive:
        equal(archive.getmember("big").size, 3_000_000)


def test_download_errors(world):
    world.start()
    session = world.create("shell")
    answer = get_files(world, session, "nope")
    equal((answer.status, answer.error["code"]), (404, "file_not_found"))
    equal(get_files(world, session, "").status, 400)
    equal(get_files(world, session, "a%00b").status, 400)
    equal(get_files(world, session, "/proc/1/root").status // 100, 4, "not init's root")
    world.ask(session, "mkfifo pipe")
    check(get_files(world, session, "pipe").status != 500, "a FIFO does not hang")


def test_paths_are_resolved_inside_the_session(world):
    """Links that lead out lead to the session's own files, never to the host's."""
    canary = world.write(os.path.join(world.dir, "canary"), "host secret")
    world.start()
    session = world.create("shell")
    world.ask(session, f"ln -s {canary} out; ln -s / root; ln -s /etc/hostname name")
    equal(get_files(world, session, "out").status, 404)
    equal(get_files(world, session, "root" + canary).status, 404)
    with tar_of(get_files(world, session, "name")) as archive:
        equal(archive.extractfile(archive.getnames()[0]).read().strip(), b"superserve")


def test_upload(world):
    world.start()
    session = world.create("shell")
    equal(put_files(world, session, "new.txt", [(member("x"), b"content")]).status, 204)
    equal(world.ask(session, "cat new.txt; stat -c %u:%a new.txt"), "content1000:644\n")
    tree = [
        (member("t", tarfile.DIRTYPE, mode=0o755), None), (member("t/a"), b"1"),
        (member("t/s", tarfile.DIRTYPE, mode=0o700), None), (member("t/s/b", mode=0o755), b"2"),
    ]
    equal(put_files(world, session, "/workspace", tree).status, 204)
    equal(world.ask(session, "cat t/a t/s/b; test -x t/s/b && echo x"), "12x\n")


def test_hostile_uploads_stay_where_they_are_sent(world):
    world.start()
    session = world.create("shell")
    for name in ("../escape", "/etc/escape", "a/../../escape"):
        answer = put_files(world, session, "/workspace", [(member(name), b"x")])
        check(answer.status >= 400 or answer.status == 204, answer.status)
    equal(world.ask(session, "ls -A /workspace/.. /etc | grep -c escape || true"), "0\n")
    answer = put_files(world, session, "/usr/bin", [(member("evil"), b"x")])
    equal(answer.status, 409, "the system is read-only")
    equal(world.request("PUT", f"/v1/sessions/{session['id']}/files?path=x", b"not a tar" * 100).status, 409)


def test_cp_both_ways(world):
    world.start()
    session = world.create("shell")
    short = session["short_id"]
    local = os.path.join(world.dir, "local")
    os.makedirs(os.path.join(local, "sub"))
    world.write(os.path.join(local, "a.txt"), "alpha")
    world.write(os.path.join(local, "sub", "b.txt"), "beta")
    os.chmod(local, 0o755)
    for path in (local, os.path.join(local, "sub")):
        os.chmod(path, 0o755)
    sent = world.cli("sessions", "cp", local, f"{short}:copied")
    equal(sent.returncode, 0, sent.stderr)
    equal(world.ask(session, "cat copied/a.txt copied/sub/b.txt"), "alphabeta")
    target = os.path.join(world.home, "back")
    fetched = world.cli("sessions", "cp", f"{short}:/workspace/copied", target)
    equal(fetched.returncode, 0, fetched.stderr)
    equal(open(os.path.join(target, "sub", "b.txt")).read(), "beta")
    equal(world.cli("sessions", "cp", f"{short}:copied/a.txt", "-").stdout, "alpha")
    piped = world.cli("sessions", "cp", "-", f"{short}:piped", input="from stdin")
    equal(piped.returncode, 0, piped.stderr)
    equal(world.ask(session, "cat piped"), "from stdin")


def test_cp_of_a_hostile_tree_writes_nothing_outside(world):
    world.start()
    session = world.create("shell")
    canary = os.path.join(world.home, "canary")
    world.write(canary, "intact")
    world.ask(session, f"mkdir d; ln -s {world.home} d/home; ln -s ../../canary d/up; echo x > d/ok")
    target = os.path.join(world.home, "in")
    result = world.cli("sessions", "cp", f"{session['short_id']}:d", target)
    equal(open(canary).read(), "intact")
    equal(open(os.path.join(target, "ok")).read(), "x\n", result.stderr)
    check(not os.path.lexists(os.path.join(target, "home")), "a link out of the tree is left out")
    check(not os.path.lexists(os.path.join(target, "up")), "a link above the tree is left out")


def test_deploy_uploads_and_sandboxes_the_source(world):
    world.start()
    project = os.path.join(world.home, "project")
    os.makedirs(os.path.join(project, "lib"))
    world.write(os.path.join(project, "superserve.yaml"),
                "name: mine\nprotocol: exec\ncommand: [sh, /agent/run.sh]\nsource: .\n")
    world.write(os.path.join(project, "run.sh"), "cat /agent/lib/data; ls -A /agent; touch /agent/x")
    world.write(os.path.join(project, "lib", "data"), "v1\n", mode=0o600)
    world.write(os.path.join(project, ".env"), "SECRET=1")
    os.symlink("lib/data", os.path.join(project, "inside"))
    os.symlink("/etc/shadow", os.path.join(project, "outside"))
    done = world.cli("deploy", project)
    equal(done.returncode, 0, done.stderr)
    check("Deployed 'mine'" in done.stdout + done.stderr, done.stdout)
    events = world.say(world.create("mine"), "x")
    text = "".join(e.get("content") or "" for e in events if e["type"] == "message.delta")
    equal(text.splitlines()[0], "v1")
    names = text.splitlines()[1:]
    check("inside" in names and ".env" not in names, names)
    check("Read-only file system" in events[-1]["error"]["message"], events[-1])
    equal(world.cli("agents", "delete", "mine").returncode, 0)
    equal(world.post("/v1/sessions", {"agent": "mine"}).status, 404)


def test_deploy_above_the_ceiling_is_refused(world):
    world.start()
    project = os.path.join(world.home, "greedy")
    os.mkdir(project)
    for line in (f"mounts: ['{world.state}:/data']", f"root: {world.dir}"):
        world.write(os.path.join(project, "superserve.yaml"), f"name: greedy\ncommand: [x]\n{line}\n")
        result = world.cli("deploy", project)
        equal(result.returncode, 1, line)
        check("the supervisor's own state" in result.stderr, result.stderr)
    world.write(os.path.join(project, "superserve.yaml"), "name: greedy\ncommand: [x]\ncolour: red\n")
    result = world.cli("deploy", project)
    check("superserve.yaml:3: unknown key 'colour'" in result.stderr, result.stderr)
