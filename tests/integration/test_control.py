# SPDX-License-Identifier: BSD-2-Clause
"""
The control socket when things go wrong: who may have the socket, clients of every bad kind, servers of
every bad kind, and either side gone in the middle. Meanwhile the tracing goes on and nothing grows.
"""
import contextlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import threading
import time

import pytest

import harness
import service
from harness import BUFSCOPE, HANG_SECONDS
from service import Connection, Server, ask, user

ALICE, BOB = 61001, 61002
BIG = "mesh m 2\nmany a 8000 m DRAM 2048 2048\nbooks x\nwait x"     # some MB of JSON: no socket holds that


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "libstandin_tt_metal.so"
    shutil.copy(harness.library("pimpl"), path)
    return str(path)


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    if server.popen.poll() is None:
        server.stop()


@pytest.fixture
def big(tmp_path, server, library):
    """A program whose dump no socket holds, so that who does not read keeps a child busy."""
    program = server.start(BIG, tmp_path, lib=library)
    program.ready("x")
    return program


@pytest.fixture
def place(tmp_path):
    """A folder for sockets, with a short name."""
    server = service.Place()
    yield server.path
    server.remove()


def serve(path, **kwargs):
    return subprocess.run([BUFSCOPE, "serve", "--socket", str(path)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=HANG_SECONDS, **kwargs)


def one_line(done, status=1):
    """What a command that failed has to say."""
    assert done.returncode == status and not done.stdout, done
    line, = done.stderr.splitlines()
    return line


def dump(path, *options, **kwargs):
    return subprocess.run([BUFSCOPE, "dump", "--socket", str(path), *map(str, options)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=HANG_SECONDS, **kwargs)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


def until(condition, what):
    """Waits for what the kernel or the server does soon and tells nobody of."""
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


# ---- who may have the socket ----

def test_a_second_server(tmp_path, server):
    assert f"another bufscope serves at {server.socket}" in one_line(serve(server.socket))
    assert server.dump()["processes"] is not None
    assert os.path.exists(server.socket + ".lock")


def test_what_a_killed_server_left_is_replaced(tmp_path):
    first = Server(tmp_path)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert stat.S_ISSOCK(os.stat(first.socket).st_mode)
    assert f"no bufscope service answers at {first.socket}" in one_line(dump(first.socket))
    second = Server(tmp_path, name="second", path=first.socket)
    second.dump()
    second.stop()


@pytest.mark.parametrize("kind", ("file", "folder", "link", "other"))
def test_something_else_of_that_name(place, kind):
    """It is left alone, above all a socket that another program listens at."""
    path = os.path.join(place, "x")
    other = socket.socket(socket.AF_UNIX)
    if kind == "file":
        with open(path, "w") as file:
            file.write("mine")
    elif kind == "folder":
        os.mkdir(path)
    elif kind == "link":
        os.symlink("/etc/passwd", path)
    else:
        other.bind(path)
        other.listen()
    before = os.lstat(path)
    assert one_line(serve(path)) == f"bufscope: cannot serve at {path}: there is something else of that name"
    after = os.lstat(path)
    assert (before.st_ino, before.st_size, before.st_mode) == (after.st_ino, after.st_size, after.st_mode)
    assert os.listdir(place) == ["x"]
    other.close()


@pytest.mark.parametrize("path, why", (
    ("/tmp/" + "x" * 104, "is too long for the path of a socket"),
    ("", "is too short for the path of a socket"),
    ("/proc/control", "No such file or directory"),
    ("/tmp/bufscope-none/none/control", "No such file or directory"),
    ("/etc/passwd/control", "Not a directory"),
), ids=("long", "empty", "proc", "folders", "file"))
def test_no_place_for_a_socket(path, why):
    assert why in one_line(serve(path))
    assert not os.path.exists("/tmp/bufscope-none")


def test_a_folder_is_made_and_everyone_can_connect(tmp_path, place):
    """Also with a strict umask."""
    path = os.path.join(place, "folder", "control")
    server = Server(tmp_path, path=path, preexec_fn=lambda: os.umask(0o077))
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o755
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
    assert stat.S_IMODE(os.stat(path + ".lock").st_mode) == 0o600
    with user(ALICE):
        assert ask(path, "dump")[0]["exit"] == 0
    server.stop()
    assert os.listdir(os.path.dirname(path)) == []


def test_a_plain_user_cannot_serve(place):
    copy = os.path.join(place, "bufscope")
    shutil.copy(BUFSCOPE, copy)
    done = subprocess.run([copy, "serve", "--socket", os.path.join(place, "x")], capture_output=True, text=True,
                          user=ALICE, group=65534, extra_groups=[], cwd="/")
    assert one_line(done) == "bufscope: only root can watch all processes: sudo bufscope serve"


def test_wrong_use():
    assert "unexpected argument" in one_line(subprocess.run([BUFSCOPE, "serve", "x"], capture_output=True, text=True), 2)
    for wrong in (["--sort", "colour"], ["--format", "xml"], ["--type", "L3"], ["--min-size", "much"], ["--older", "long"],
                  ["--fail-above", "-1"], ["--buffers", "few"], ["-p", "0"], ["-p", "me"], ["--device", "-1"],
                  ["--user", "nosuchuser"], ["more"]):
        line = one_line(dump("/nonexistent", *wrong), 2)
        assert line.startswith("bufscope dump: ") and (wrong[-1] in line), line


# ---- clients without a good server ----

def test_no_server(place):
    path = os.path.join(place, "control")
    said = (f'bufscope: no bufscope service answers at {path} ("systemctl status bufscope"; without the unit: '
            '"sudo bufscope serve")')
    assert one_line(dump(path)) == said
    done = subprocess.run([BUFSCOPE, "dump"], env=dict(os.environ, BUFSCOPE_SOCKET=path), capture_output=True, text=True)
    assert one_line(done) == said
    assert "is too long" in one_line(dump("/tmp/" + "x" * 200))
    assert "is too short" in one_line(dump(""))


@pytest.mark.parametrize("how, command", [("never_lets_in", ["dump"]), ("says_nothing", ["dump"]),
                                          ("says_nothing", ["top", "--once"])], ids=lambda v: "-".join(v) if isinstance(v, list) else v)
def test_a_service_that_hangs(tmp_path, how, command):
    """It is given up, with one line that says so."""
    path = str(tmp_path / "control")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as before:
        listener.bind(path)
        listener.listen(0)
        if how == "never_lets_in":
            before.connect(path)
        done = subprocess.run([BUFSCOPE, *command, "--socket", path], env=dict(os.environ, BUFSCOPE_TIMEOUT="1"),
                              capture_output=True, text=True, timeout=harness.HANG_SECONDS)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"bufscope: the bufscope service at {path} is silent for 1 s (BUFSCOPE_TIMEOUT): it may be stuck\n"


def test_a_socket_that_cannot_be_reached(tmp_path, server):
    copy = os.path.join(server.place, "bufscope")
    shutil.copy(BUFSCOPE, copy)
    hidden = os.path.join(server.place, "hidden")
    os.mkdir(hidden, 0o700)
    path = os.path.join(hidden, "control")
    os.link(server.socket, path)
    server.dump()
    done = subprocess.run([copy, "dump", "--socket", path], capture_output=True, text=True, user=ALICE, group=65534,
                          extra_groups=[], cwd="/")
    assert one_line(done) == f"bufscope: cannot ask the bufscope service at {path}: Permission denied"


@contextlib.contextmanager
def impostor(place, answer):
    """A server that reads a request and then sends these bytes and closes."""
    path = os.path.join(place, "impostor")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def once():
        connection, _ = listener.accept()
        length, = struct.unpack(">I", connection.recv(4, socket.MSG_WAITALL))
        connection.recv(length, socket.MSG_WAITALL)
        with contextlib.suppress(BrokenPipeError):      # it has seen enough
            connection.sendall(answer)
        connection.close()
    thread = threading.Thread(target=once)
    thread.start()
    yield path
    thread.join(HANG_SECONDS)
    listener.close()
    os.unlink(path)


def frame(body):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return struct.pack(">I", len(body)) + body


DATA = frame({"data": "half of it\n"})


@pytest.mark.parametrize("answer, printed, why", (
    (b"", "", "ended in the middle of its answer: what was printed is not whole"),
    (b"\0\0", "", "ended in the middle of its answer"),
    (DATA, "half of it\n", "ended in the middle of its answer: what was printed is not whole"),
    (DATA + frame({"data": "x"})[:-3], "half of it\n", "ended in the middle of its answer"),
    (DATA + frame(b"no JSON"), "half of it\n", "is no bufscope service"),
    (frame({"something": "else"}), "", "is no bufscope service"),
    (frame([]), "", "is no bufscope service"),
    (frame({"end": True}), "", "is no bufscope service"),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "", "is no bufscope service"),
), ids=("nothing", "half-head", "no-end", "half-frame", "no-json", "other-json", "no-object", "no-status", "http"))
def test_a_server_that_ends_or_is_none(place, answer, printed, why):
    with impostor(place, answer) as path:
        done = dump(path)
    line, = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, printed) and path in line and why in line, done


def test_a_server_of_another_version(place):
    """What it says is passed on; keys that are not known are no reason to stop."""
    said = 'the service (bufscope 0.0.9) does not know the option "older_ns"'
    with impostor(place, frame({"end": True, "exit": 2, "message": said, "server": "0.0.9", "new": [1]})) as path:
        assert one_line(dump(path, "--older", "5m"), 2) == "bufscope: " + said
    with impostor(place, frame({"data": "fine\n", "new": 1}) + frame({"end": True, "exit": 0, "message": None})) as path:
        done = dump(path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


@pytest.mark.parametrize("how", (signal.SIGKILL, signal.SIGTERM))
def test_a_server_that_ends_in_the_middle(server, big, how):
    """The client sits on a pipe that nobody reads; what it got it prints, and says that it is not whole."""
    client = subprocess.Popen(server.command("dump", "--format", "json", "-p", big.pid), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    select.select([client.stdout], [], [], HANG_SECONDS)
    until(lambda: children(server.pid), "no answer is made")
    answerer = os.pidfd_open(children(server.pid)[0])
    os.kill(server.pid, how)
    assert server.wait() == (0 if how == signal.SIGTERM else -how)
    assert select.select([answerer], [], [], HANG_SECONDS)[0], "the answer's process outlives the server"
    os.close(answerer)
    output, errors = client.communicate(timeout=HANG_SECONDS)
    line, = errors.decode().splitlines()
    assert client.returncode == 1 and "ended in the middle of its answer: what was printed is not whole" in line
    assert 0 < len(output) and output.startswith(b'{"schema":"bufscope.summary/1"')
    with pytest.raises(json.JSONDecodeError):
        json.loads(output)
    assert how == signal.SIGKILL or not os.path.exists(server.socket)


def test_a_client_whose_reader_goes(server, big):
    """As `bufscope dump | head -1`: no message, and the answer's process ends."""
    done = subprocess.run(["bash", "-c", '"$@" | head -c 10; exit ${PIPESTATUS[0]}', "bash",
                           *server.command("dump", "--format", "json", "-p", big.pid)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGPIPE, '{"schema":', "")
    until(lambda: not children(server.pid), "an answer's process is left")


# ---- bad requests ----

GOOD = {"protocol": 1, "client": "test", "command": "dump", "options": {"format": "json"}}
NO_OBJECT = "the request is not one JSON object"
REQUESTS = (
    (b"", NO_OBJECT),
    (b"\xff" * 100, NO_OBJECT),
    (b"[]", NO_OBJECT),
    (b"1", NO_OBJECT),
    (b'{"protocol": 1', NO_OBJECT),
    (b'{"protocol": 1} {}', NO_OBJECT),
    (b'{"protocol": 1, "protocol": 1}', NO_OBJECT),
    (b'{"protocol": 1, "client": "\xff"}', NO_OBJECT),
    (b"[" * 65536, NO_OBJECT),
    (b'{"a":' * 13000, NO_OBJECT),
    (b"[" + b"{}," * 21844 + b"{}]", NO_OBJECT),
    (b'{"protocol": 99999999999999999999999999}', NO_OBJECT),
    (b"{}", "the request names no protocol"),
    (b'{"protocol": "1"}', "the request names no protocol"),
    (b'{"protocol": 1.0}', "the request names no protocol"),
    (b'{"protocol": 1}', "the request needs a command (a string) and options (an object)"),
    (b'{"protocol": 1, "command": 5, "options": {}}', "the request needs a command (a string) and options (an object)"),
    (b'{"protocol": 1, "command": "dump", "options": []}', "the request needs a command (a string) and options (an object)"),
)


def test_requests_that_are_none(server):
    for body, why in REQUESTS:
        with Connection(server.socket) as connection:
            connection.send(body)
            end, text = connection.answer()
            assert (end["exit"], end["message"], text) == (1, why, ""), body[:40]
            assert connection.frame() is None
    assert ask(server.socket, "dump")[0]["exit"] == 0


def test_other_protocols(server):
    for version, why in ((2, "the service is older than this client: it speaks protocol 1 (bufscope "),
                         (0, "the service is newer than this client: it speaks protocol 1 (bufscope ")):
        with Connection(server.socket) as connection:
            connection.send({**GOOD, "protocol": version})
            end, _ = connection.answer()
            assert end["exit"] == 1 and end["message"].startswith(why) and end["protocol"] == 1 and end["server"]


def test_options_that_are_not_known(server):
    """A filter that is not known is never ignored. The connection goes on."""
    with Connection(server.socket) as connection:
        for command, options, why in (
                ("dump", {"colours": 1}, 'does not know the option "colours"'),
                ("dump", {"\x1b[2J\n": 1}, "does not know the option"),
                ("dump", {"pids": "1"}, 'the option "pids" takes a list of at most 256 process ids'),
                ("dump", {"pids": [1] * 257}, 'the option "pids" takes a list of at most 256 process ids'),
                ("dump", {"types": ["dram"]}, 'the option "types" takes a list of'),
                ("explode", {}, "does not know this command")):
            connection.request(command, **options)
            end, text = connection.answer()
            assert end["exit"] == 2 and why in end["message"] and not text, end
            assert end["message"].isprintable()
        connection.request("dump")
        assert connection.answer()[0]["exit"] == 0


def test_how_large_a_request_may_be(server):
    body = json.dumps(GOOD).encode()
    with Connection(server.socket) as connection:
        connection.send(body + b" " * (65536 - len(body)))
        assert connection.answer()[0]["exit"] == 0
        # It is refused by its length alone, and not read.
        connection.socket.sendall(struct.pack(">I", 65537))
        end, _ = connection.answer()
        assert (end["exit"], end["message"]) == (1, "the request is longer than 64 KiB")
        assert connection.frame() is None


def test_a_request_in_pieces_and_several_at_once(server):
    body = frame(GOOD)
    with Connection(server.socket) as connection:
        for byte in body:
            connection.socket.sendall(bytes([byte]))
        assert connection.answer()[0]["exit"] == 0
        connection.socket.sendall(5 * body + frame({**GOOD, "command": "explode"}))
        assert [connection.answer()[0]["exit"] for _ in range(6)] == [0, 0, 0, 0, 0, 2]


def test_a_half_closed_connection_gets_its_answer(server, big):
    with Connection(server.socket) as connection:
        # The server sees request and end at once.
        os.kill(server.pid, signal.SIGSTOP)
        connection.request("dump", format="json", pids=[big.pid])
        connection.socket.shutdown(socket.SHUT_WR)
        os.kill(server.pid, signal.SIGCONT)
        end, text = connection.answer()
        assert end["exit"] == 0 and len(json.loads(text)["processes"][0]["buffers"]) == 8000
        assert connection.frame() is None


# ---- many, slow, stuck ----

def stuck(server, pid, uid=0):
    """A client that asks for much and never reads."""
    with user(uid):
        connection = Connection(server.socket)
    connection.request("dump", format="json", pids=[pid])
    return connection


def test_a_hundred_clients_at_once(tmp_path, server, library):
    program = server.start("mesh m 2\nmany a 500 m DRAM 2048 2048\nwait x", tmp_path, lib=library)
    program.ready("x")
    connections = [Connection(server.socket) for _ in range(100)]
    for connection in connections:
        connection.request("dump", format="csv", pids=[program.pid])
    for connection in connections:
        end, text = connection.answer()
        assert end["exit"] == 0 and text.count("\n") == 501
        connection.close()
    until(lambda: not children(server.pid), "an answer's process is left")


def open_sockets(server):
    """Its other descriptors depend on who else uses a device on this machine."""
    folder, count = f"/proc/{server.pid}/fd", 0
    for number in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(os.path.join(folder, number)).startswith("socket:")
    return count


def test_how_many_connections_one_user_may_have(server):
    """Nor can several users together keep root out. All that is taken is given back."""
    before, connections = open_sockets(server), []
    for uid in range(ALICE, ALICE + 4):
        with user(uid):
            connections += [Connection(server.socket) for _ in range(32)]
            with Connection(server.socket) as one_more:
                end, _ = one_more.answer()
                assert (end["exit"], end["message"]) == (1, "the service has too many connections: try again")
                assert one_more.frame() is None
    # 112 of them have a place
    assert open_sockets(server) == before + 112
    for connection in connections[:5]:
        connection.request("dump")
        assert connection.answer()[0]["exit"] == 0
    assert ask(server.socket, "dump")[0]["exit"] == 0
    for connection in connections:
        connection.close()
    until(lambda: open_sockets(server) == before, "connections are not given back")
    with user(ALICE):
        assert ask(server.socket, "dump")[0]["exit"] == 0


def test_who_does_not_read_keeps_nobody_waiting_but_himself(tmp_path, server, library):
    """Four users have six answers under way; root is answered at once, and each of them after his first has ended."""
    public = os.path.join(server.place, "lib.so")
    shutil.copy(library, public)
    programs = {}
    workload = os.path.join(server.place, "workload")
    shutil.copy(harness.WORKLOAD, workload)
    for uid in (ALICE, ALICE + 1, ALICE + 2, ALICE + 3):
        command = harness.standin(BIG, lib=public)
        programs[uid] = harness.Program([workload, *command[1:]], tmp_path, f"program{uid}", user=uid, group=65534,
                                        extra_groups=[])
        server.loaded(programs[uid])
        programs[uid].ready("x")
    connections = [stuck(server, program.pid, uid) for uid, program in programs.items() for _ in range(4)]

    def under_way():
        return [i for i, c in enumerate(connections) if select.select([c.socket], [], [], 0)[0]]
    until(lambda: len(under_way()) >= 6, "six answers are under way")
    assert under_way() == [0, 1, 4, 5, 8, 9], "two each, in order of their requests"
    for _ in range(10):
        assert ask(server.socket, "dump")[0]["exit"] == 0
    for connection in connections[1:]:
        connection.close()
    end, text = connections[0].answer()
    assert end["exit"] == 0 and len(json.loads(text)["processes"][0]["buffers"]) == 8000
    connections[0].close()
    until(lambda: not children(server.pid), "an answer's process is left")


def test_an_answer_keeps_nobody_elses_connection(server, big):
    """Who is turned away sees the end of his connection, not of somebody's long answer."""
    with Connection(server.socket) as other:
        other.request("dump")
        assert other.answer()[0]["exit"] == 0
        connection = stuck(server, big.pid)
        until(lambda: children(server.pid), "no answer is made")
        other.send(b"nonsense")
        assert other.answer()[0]["exit"] == 1 and other.frame() is None
        assert len(children(server.pid)) == 1
        connection.close()


def test_an_answer_that_is_killed(server, big):
    """Its client sees no end; everybody else is answered."""
    with stuck(server, big.pid) as connection:
        until(lambda: children(server.pid), "no answer is made")
        os.kill(children(server.pid)[0], signal.SIGKILL)
        assert connection.answer()[0] is None
    end, text = ask(server.socket, "dump", format="json", pids=[big.pid])
    assert end["exit"] == 0 and len(json.loads(text)["processes"][0]["buffers"]) == 8000


def test_the_end_with_clients_of_all_kinds(server, big):
    """Answers that nobody reads, requests that wait, half a request, silence: the server ends at once all the same."""
    connections = [stuck(server, big.pid) for _ in range(12)] + [Connection(server.socket) for _ in range(5)]
    connections[-1].socket.sendall(b"\0\0")
    until(lambda: len(children(server.pid)) == 8, "eight answers are under way")
    server.stop()
    for connection in connections:
        assert connection.answer()[0] is None
        connection.close()


def test_no_descriptors_left(server):
    """Connections that cannot be accepted wait; the server neither ends nor spins."""
    used = {int(number) for number in os.listdir(f"/proc/{server.pid}/fd")}
    room_for_5 = sorted(set(range(max(used) + 6)) - used)[4] + 1        # the limit is of their numbers
    hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (room_for_5, hard))
    connections = [Connection(server.socket) for _ in range(10)]
    for connection in connections:
        connection.request("dump")
    for connection in connections[:5]:
        assert connection.answer()[0]["exit"] == 0

    def wanted_to_run():
        """Seconds on a processor or waiting for one: who spins does so all the time, however busy the machine is."""
        with open(f"/proc/{server.pid}/schedstat") as file:
            return sum(map(int, file.read().split()[:2])) / 1e9
    before, start = wanted_to_run(), time.monotonic()
    assert not select.select([connection.socket for connection in connections[5:]], [], [], 2)[0]
    share = (wanted_to_run() - before) / (time.monotonic() - start)
    assert share < 0.5, f"runnable {share} of the time while there is nothing to do"
    for connection in connections[:5]:
        connection.close()
    for connection in connections[5:]:
        assert connection.answer()[0]["exit"] == 0
        connection.close()


# ---- meanwhile ----

def resident(pid):
    """Its own memory, without the ring."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon:"))


def abuse(server, pid):
    """A round of everything above, from two users and root, who asks something sensible too and gets it."""
    connections = []
    for uid in (ALICE, BOB):
        with user(uid):
            connections += [Connection(server.socket) for _ in range(32)]
    for i, connection in enumerate(connections):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if i % 4 == 0:
                connection.socket.sendall(os.urandom(64))
            elif i % 4 == 1:
                connection.send(b'{"protocol": 1, "command": "dump", "options": {"pids": [' + b"{}," * 21000 + b"1]}}")
            elif i % 4 == 2:
                connection.request("dump", format="json", buffers=-1)
            else:
                connection.socket.sendall(struct.pack(">I", 60000) + b"x" * 59999)
    rooted = [stuck(server, pid) for _ in range(6)]     # of eight: two are for the sensible question
    assert ask(server.socket, "dump", pids=[pid], buffers=1)[0]["exit"] == 0
    for connection in connections + rooted:
        connection.close()


def test_the_tracing_goes_on_and_nothing_grows(tmp_path, server, library, big):
    """More events than the ring holds, while clients do what they can. None is lost; the server is as large as before."""
    busy = server.start("mesh m 2\nchurn 400000 m DRAM 2048 2048\nmany a 3 m DRAM 2048 2048\nbooks y\nwait y", tmp_path,
                        "busy", lib=library)
    sockets = open_sockets(server)
    for _ in range(5):
        abuse(server, big.pid)
    before, rounds = resident(server.pid), 0
    while not select.select([busy.popen.stdout], [], [], 0)[0] or rounds < 15:
        abuse(server, big.pid)
        rounds += 1
    books = busy.ready("y")
    process, = server.dump("-p", busy.pid)["processes"]
    harness.assert_equals_books(process, books)
    harness.counts(process, allocated=400003, freed=400000, live=3, lost_records=0)
    assert process["exact"], process["inexact_reasons"]
    # Fewer: at the start the last one who had asked may not have been let go yet.
    until(lambda: open_sockets(server) <= sockets and not children(server.pid), "something is left")
    # A round is 2 MiB of requests.
    assert resident(server.pid) < before + (8 << 10), (rounds, before, resident(server.pid))
