# SPDX-License-Identifier: BSD-2-Clause
"""
`bufscope run` and `attach -p` by a plain user where the service runs: it is asked, and nothing is raised.
A program called sudo in their PATH tells when it was called after all.
"""
import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess

import pytest

import harness
from harness import Program
from service import Connection, Server, ask, checked, user
from test_plain_user import USER, FakeSudo, finish, place  # noqa: F401
from test_ttnn import real

UID = pwd.getpwnam(USER).pw_uid
TWO = "mesh m 2\nalloc a m DRAM 8192 2048\nalloc b m L1 4096 2048\n"       # 24 KB over both chips


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    if server.popen.poll() is None:
        server.stop()


@pytest.fixture
def ground(place):  # noqa: F811
    """The plain user's folder, with a sudo that must not be called, and the stand-in workload."""
    shutil.copy(harness.WORKLOAD, place / "standin-workload")
    (place / "sudo").write_text(f"#!/bin/sh\necho called > {place}/out/sudo\nexit 1\n")
    for name in ("standin-workload", "sudo"):
        (place / name).chmod(0o755)
    yield place
    assert not (place / "out" / "sudo").exists()


def standin(place, script):  # noqa: F811
    return [place / "standin-workload", "--library", place / "tests" / "standin" / "pimpl" / "libstandin_tt_metal.so", script]


def environment(place, server):  # noqa: F811
    return {"PATH": f"{place}:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/",
            "BUFSCOPE_SOCKET": server.socket if server else "/nonexistent/control"}


def as_user():
    return {"user": UID, "group": pwd.getpwnam(USER).pw_gid, "extra_groups": []}


def start(place, server, *arguments, stdin=subprocess.DEVNULL):  # noqa: F811
    return subprocess.Popen([place / "bufscope", *arguments], env=environment(place, server), cwd="/", stdin=stdin,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **as_user())


class Client(harness.Bufscope):
    """A plain user's bufscope whose stdin and stdout are those of the command, with a JSON report."""

    def __init__(self, place, server, command, *arguments):  # noqa: F811
        arguments = [command, "--format", "json", "-o", str(place / "out" / "report.json"), *map(str, arguments)]
        super().__init__(arguments, place / "out", "report", program=(place / "bufscope",),
                         env=environment(place, server), **as_user())


def test_run(ground, server):
    report = ground / "out" / "report.json"
    status, output, errors = finish(start(ground, server, "run", "--format", "json", "-o", report, "--",
                                          ground / "demo-workload", "--kill"))
    assert status == 128 + signal.SIGKILL, errors
    assert "demo: killed" in output and not errors
    assert report.stat().st_uid == UID
    process = harness.only_process(harness.load_report(str(report)))
    # Its library was attached to before its first instruction.
    assert process["exact"], process["inexact_reasons"]
    assert process["user"] == UID and process["live"] == process["cleared"] == 381
    assert process["command"] == [str(ground / "demo-workload"), "--kill"]


def test_text_and_which_way(ground, server):
    status, _, errors = finish(start(ground, server, "run", "-v", "--buffers", "2", "--", ground / "demo-workload", "--kill"))
    assert status == 128 + signal.SIGKILL
    assert f"through the service at {server.socket}\n" in errors
    assert "Removed 381 buffers" in errors and "379 more" in errors
    assert errors.endswith("Exact: every allocation and free was seen.\n")


def test_the_command_runs_as_the_user_in_that_environment(ground, server):
    status, output, errors = finish(start(ground, server, "run", "--", "sh", "-c", "id -u; pwd; exit 7"))
    assert status == 7
    assert output.split() == [str(UID), "/"]
    assert "No device runtime was seen in this process" in errors


def test_command_not_found(ground, server):
    status, _, errors = finish(start(ground, server, "run", "--", "no-such-command"))
    assert status == 127
    assert errors.strip() == 'bufscope: cannot run "no-such-command": command not found'


def test_output_that_cannot_be_written(ground, server):
    status, _, errors = finish(start(ground, server, "run", "-o", ground / "report", "--", "touch", ground / "out" / "x"))
    assert status == 125 and "Permission denied" in errors
    assert not (ground / "out" / "x").exists()


def test_descendants(ground, server):
    """Over fork and exec, in every order; what is no runtime's process is not in the report."""
    script = (TWO + "fork\nalloc c m DRAM 2048 2048\nendfork\nwait-child\n"
              "exec self mesh m 1 | alloc d m L1 4096 2048 | alloc e m L1 4096 2048")
    opener = Program(harness.standin("load\nwait x", lib=standin(ground, "")[2], load=False), ground / "out", "opener")
    opener.ready("x")
    server.observing(opener.pid)
    client = Client(ground, server, "run", "--", "sh", "-c", '/bin/true; "$@"; exit 9', "sh", *standin(ground, script))
    report = client.finish(9)
    assert report["exact"], report["inexact_reasons"]
    users = [process for process in report["processes"] if process["runtimes"]]
    assert [process["cleared"] for process in users] == [2, 1, 2]
    assert [process["end"]["how"] for process in users] == ["exec", "exit", "exit"]
    assert len(report["processes"]) == 4                    # and the shell, which was named


@pytest.mark.parametrize("options, status", ((["--fail-if-any"], 3), (["--fail-above", "24K"], 0), ([], 0)))
def test_gates(ground, server, options, status):
    client = Client(ground, server, "run", *options, "--", *standin(ground, "load\nwait loaded\n" + TWO))
    loaded(client, server)
    client.finish(status)
    said = [line for line in client.stderr().splitlines() if "--fail" in line]
    assert said == (["bufscope: --fail-if-any: 2 buffers (24.0 KB) still allocated"] if status else [])


def loaded(client, server):
    client.ready("loaded")
    client.observing(child_of(client))
    client.go()


def child_of(client):
    with open(f"/proc/{client.pid}/task/{client.pid}/children") as file:
        pid, = file.read().split()
    return int(pid)


def test_snapshots(ground, server):
    """SIGUSR1, as often as one likes; then the report."""
    client = Client(ground, server, "run", "--", *standin(ground, "load\nwait loaded\n" + TWO + "books x\nwait x"))
    loaded(client, server)
    books = client.ready("x")
    for _ in range(3):
        process = harness.process_of(client.snapshot(), books["pid"])
        harness.assert_equals_books(process, books)
        assert process["end"]["how"] == "running"
    client.go()
    assert harness.only_process(client.finish())["end"]["how"] == "exit"


def test_signals_are_for_the_command(ground, server):
    process = start(ground, server, "run", "--", "sh", "-c", "trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 1; done")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    status, output, errors = finish(process)
    assert (status, output) == (5, "got\n"), errors


@pytest.mark.parametrize("options", ([], ["--no-wait"]), ids=("wait", "no-wait"))
def test_descendants_that_outlive_the_command(ground, server, options):
    fifo = ground / "out" / "fifo"
    os.mkfifo(fifo)
    os.chmod(fifo, 0o666)
    client = Client(ground, server, "run", *options, "--", "sh", "-c", '("$@" < "$0" > "$0.out") & exit 4', fifo,
                    *standin(ground, "load\nwait loaded\n" + TWO))
    with open(fifo, "wb", buffering=0) as stdin:
        if not options:
            with contextlib.suppress(subprocess.TimeoutExpired):
                client.popen.wait(1)                       # it could end, and does not
            assert client.popen.poll() is None
            stdin.write(b"\n")
        report = client.finish(4)
    runtime = [process for process in report["processes"] if process["runtimes"]]
    if not options:
        assert runtime[0]["cleared"] == 2


@pytest.mark.parametrize("options, status", (([], 6), (["--fail-if-any"], 3)), ids=("", "gate"))
def test_the_service_ends_in_between(ground, server, options, status):
    process = start(ground, server, "run", *options, "--", "sh", "-c", "echo ready; read x; exit 6", stdin=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    server.stop()
    line = process.stderr.readline()
    assert line == f"bufscope: the bufscope service at {server.socket} has ended: there will be no report\n"
    assert process.poll() is None
    got, _, errors = finish_with(process, "\n")
    assert got == status
    assert errors == ("bufscope: --fail-if-any cannot be confirmed: there is no report\n" if options else "")


def finish_with(process, text):
    output, errors = process.communicate(text, timeout=harness.HANG_SECONDS)
    return process.returncode, output, errors


@pytest.mark.parametrize("arguments, why", ((["--no-service"], "--no-service was given"),
                                            (["--events", "/dev/null"], "it does not serve --events"),
                                            ([], "no bufscope service answers at ")), ids=("told", "beyond", "none"))
def test_sudo_where_the_service_cannot(place, server, arguments, why):  # noqa: F811
    FakeSudo(place)
    at = server if arguments else None
    status, _, errors = finish(start(place, at, "run", "-v", *arguments, "--", place / "demo-workload", "--kill"))
    assert status == 128 + signal.SIGKILL, errors
    assert f"not through the service: {why}" in errors
    assert "Removed 381 buffers" in errors


def test_sudo_where_the_service_refuses(place, server):  # noqa: F811
    """One user follows 16 at most: all that they keep is bounded."""
    sleeper = subprocess.Popen(["sleep", "1000"], **as_user())
    with contextlib.ExitStack() as stack:
        stack.callback(sleeper.wait)
        stack.callback(sleeper.kill)
        with user(UID):
            for _ in range(16):
                connection = stack.enter_context(Connection(server.socket))
                connection.request("follow", pids=[sleeper.pid], client_pid=os.getpid())
                assert connection.answer()[0]["exit"] == 0
        FakeSudo(place)
        status, _, errors = finish(start(place, server, "run", "-v", "--", "sh", "-c", "exit 3"))
    assert status == 3
    assert "the service follows too many already: try again\n" in errors


# ---- attach ----

def attached(ground, server, script):  # noqa: F811
    program = Program(standin(ground, "load\nwait loaded\n" + script), ground / "out", "program", **as_user())
    program.ready("loaded")
    server.observing(program.pid)
    client = Client(ground, server, "attach", "-p", program.pid)
    client.wait_stderr("attached, through the service")
    program.go()
    return program, client


def test_attach_until_it_ends(ground, server):
    program, client = attached(ground, server, TWO + "free a\nexit 3")
    assert program.wait() == 3
    process = harness.only_process(client.finish())
    assert process["exact"], process["inexact_reasons"]
    harness.counts(process, allocated=2, freed=1, cleared=1)
    assert process["end"]["code"] == 3


def test_attach_until_interrupted(ground, server):
    program, client = attached(ground, server, TWO + "books x\nwait x")
    books = program.ready("x")
    os.kill(client.pid, signal.SIGINT)
    process = harness.only_process(client.finish())
    harness.assert_equals_books(process, books)
    assert process["end"]["how"] == "running"
    program.go()
    assert program.wait() == 0


def test_attach_descendants_by_exec(ground, server):
    """A child of a child that calls exec, with a shell between: the service finds it by what it does."""
    launch = ground / "out" / "launch"
    words = standin(ground, "mesh n 1;alloc b n DRAM 4096 2048;books child;wait child")
    launch.write_text("#!/bin/sh\n" + " ".join(f"'{word}'" for word in words) + "\nexit 0\n")
    launch.chmod(0o755)
    program, client = attached(ground, server, TWO + f"fork\nexec {launch}\nendfork\nwait-child\nexit 3")
    books = program.ready("child")
    server.observing(books["pid"])
    program.go()
    assert program.wait() == 3
    processes = {process["pid"]: process for process in client.finish()["processes"]}
    assert set(processes) == {program.pid, books["pid"]}
    harness.counts(processes[books["pid"]], allocated=1, cleared=1)


def test_attach_to_a_process_of_another_user(ground, server):
    sleeper = subprocess.Popen(["sleep", "1000"])
    try:
        status, output, errors = finish(start(ground, server, "attach", "-v", "-p", str(sleeper.pid)))
    finally:
        sleeper.kill()
        sleeper.wait()
    assert status == 1 and not output
    assert f"process {sleeper.pid} is not there, or it is not yours\n" in errors
    assert "bufscope: process" not in errors.replace("debug: ", "")


# ---- what the service keeps ----

def follow(connection, pids, **options):
    connection.request("follow", pids=pids, client_pid=os.getpid(), **options)
    end, text = connection.answer()
    assert not text
    return end


def test_kept_for_who_asked_alone(tmp_path, server):
    program = Program(harness.standin(TWO), tmp_path)
    program.ready("loaded")
    server.observing(program.pid)
    with Connection(server.socket) as connection:
        assert follow(connection, [program.pid])["exit"] == 0
        program.go()
        assert program.wait() == 0
        connection.request("wait")
        assert connection.answer()[0]["exit"] == 0
        assert server.process(program.pid) is None
        for _ in range(2):                                  # until the connection is closed
            connection.request("report", format="json")
            process, = checked(connection.answer()[1])["processes"]
            harness.counts(process, cleared=2, pid=program.pid)
        with Connection(server.socket) as other:
            other.request("report", format="json")
            assert other.answer()[0]["message"] == "this connection follows nothing"


def test_no_longer_followed(tmp_path, server):
    """Who uses no device is not followed any more when nobody asks for it: its children cost nothing."""
    program = Program(["sh", "-c", "echo ready x; read x; sh -c 'echo ready y; read x' & wait"], tmp_path)
    program.ready("x")
    with Connection(server.socket) as connection:
        assert follow(connection, [program.pid])["exit"] == 0
        assert followed(program.pid)
        connection.request("wait")
    ask(server.socket, "dump")                             # the closed connection came first
    assert not followed(program.pid)
    assert server.process(program.pid) is None


def followed(pid):
    """Does any bufscope's map of processes on this machine have it?"""
    tool = shutil.which("bpftool") or "/usr/sbin/bpftool"
    maps = json.loads(subprocess.run([tool, "-j", "map", "list"], capture_output=True, text=True, check=True).stdout)
    key = [f"0x{byte:02x}" for byte in pid.to_bytes(4, "little")]
    for entry in maps:
        if entry.get("name") == "processes" and not subprocess.run(
                [tool, "map", "lookup", "id", str(entry["id"]), "key", *key], capture_output=True).returncode:
            return True
    return False


def test_too_many_that_ended(tmp_path, server):
    """The first 512 are in the report, which says that it is not all."""
    count = 518
    script = "mesh m 1\n" + "fork\nalloc a m DRAM 2048 2048\nendfork\nwait-child\n" * count
    program = Program(harness.standin(script), tmp_path)
    program.ready("loaded")
    server.observing(program.pid)
    with Connection(server.socket) as connection:
        assert follow(connection, [program.pid])["exit"] == 0
        program.go()
        assert program.wait() == 0
        connection.request("wait")
        assert connection.answer()[0]["exit"] == 0
        connection.request("report", format="json", fail_if_any=False, fail_above=1 << 40)
        end, text = connection.answer()
    report = checked(text)
    assert len(report["processes"]) == 512
    left_out, = report["inexact_reasons"]
    assert left_out["reason"] == "process-limit" and left_out["text"].startswith("7 processes"), left_out
    assert end["exit"] == 3 and "cannot be confirmed" in end["message"]


BAD = (
    ("wait", {}, "this connection follows nothing"),
    ("report", {}, "this connection follows nothing"),
    ("follow", {}, '"follow" takes'),
    ("follow", {"pids": [], "client_pid": 1}, '"follow" takes'),
    ("follow", {"pids": [1] * 257, "client_pid": 1}, '"follow" takes'),
    ("follow", {"pids": [1], "client_pid": 1, "arguments": "x"}, '"follow" takes'),
    ("follow", {"pids": [1], "client_pid": 1}, "the service numbers processes in another way"),
    ("follow", {"pids": [1], "more": 1}, "does not know an option"),
    ("follow", {"pids": [0]}, "process 0 is not there"),
    ("follow", {"pids": ["x"]}, "process 0 is not there"),
    ("follow", {"pids": [4194305]}, "process 4194305 is not there"),
    ("follow", {"pids": [1]}, "process 1 is not there, or it is not yours"),
    ("follow", {"pids": [2]}, "process 2 is not there, or it is not yours"),
)


def test_bad_requests(server):
    """Refused, and the connection goes on."""
    with user(UID), Connection(server.socket) as connection:
        for command, options, message in BAD:
            if "pids" in options:
                options = {"client_pid": os.getpid(), **options}
            connection.send({"protocol": 1, "client": "test", "command": command, "options": options})
            end, text = connection.answer()
            assert end["exit"] == 1 and message in end["message"] and not text, (command, options, end)
        connection.request("dump")
        assert connection.answer()[0]["exit"] == 0


def test_real_runtime(tmp_path, server):
    """From before its import to its end by a signal, as the runtime's own books say."""
    command, env = real("0.79.0", "n150", "hold", 12)
    program = Program(command, tmp_path, env=env)
    with Connection(server.socket) as connection:
        assert follow(connection, [program.pid])["exit"] == 0
        books = program.ready("holding")
        connection.request("wait")
        connection.request("report", format="json")         # ends the waiting
        assert connection.answer()[0]["exit"] == 0
        process = harness.process_of(checked(connection.answer()[1]), program.pid)
        harness.assert_equals_runtime_books(process, books)
        assert process["exact"], process["inexact_reasons"]
        os.kill(program.pid, signal.SIGKILL)
        connection.request("wait")
        assert connection.answer()[0]["exit"] == 0
        connection.request("report", format="json")
        process = harness.process_of(checked(connection.answer()[1]), program.pid)
        assert process["end"]["signal"] == signal.SIGKILL and process["cleared"] == process["live"] >= 12
