# SPDX-License-Identifier: BSD-2-Clause
"""`bufscope top` in a real terminal (tmux): what is on the screen, and what is sent to it."""
import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time

import pytest

import harness
from harness import BUFSCOPE, HANG_SECONDS, WORKLOAD, Program
from service import Server

STRANGER = 61077           # no other test uses it: nothing on the machine is this user's
LINES = """
    mesh m 2
    many a 5 m DRAM 2097152 2048
    alloc l m L1 8192 2048
    wait held
    many b 3 m DRAM 1048576 2048
    free a0
    wait more
"""


class Terminal:
    """A terminal of a given size with one command in it. Its end is shown as "ended STATUS"."""

    def __init__(self, command, width=80, height=24, before="true"):
        self.place = tempfile.mkdtemp(prefix="bufscope-")
        self.sent_path = os.path.join(self.place, "sent")
        # The command begins when tmux passes on what it sends. cat keeps the terminal, and shows what is typed.
        script = f"trap : INT; read go; {before}; {shlex.join(command)}; echo ended $?; {before}; exec cat"
        environment = dict(os.environ, LC_ALL="C.UTF-8", SHELL="/bin/sh")
        environment.pop("TMUX", None)
        self.tmux("-u", "-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), script, env=environment)
        self.tmux("pipe-pane", f"exec cat >{self.sent_path}")
        self.keys("Enter")

    def tmux(self, *arguments, **kwargs):
        return subprocess.run(["tmux", "-S", os.path.join(self.place, "tmux"), *arguments], check=True, text=True,
                              stdout=subprocess.PIPE, timeout=HANG_SECONDS, **kwargs).stdout

    def keys(self, *names):
        self.tmux("send-keys", *names)

    def resize(self, width, height):
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    def ask(self, what):
        return self.tmux("display-message", "-p", what).strip()

    def lines(self):
        return self.tmux("capture-pane", "-p").split("\n")[:-1]

    def sent(self):
        """All that was sent to the terminal, once the command has ended."""
        deadline = time.monotonic() + HANG_SECONDS
        while time.monotonic() < deadline:
            if os.path.exists(self.sent_path):
                with open(self.sent_path, "rb") as file:
                    sent = file.read()
                if b"ended " in sent:
                    return sent
            # Nothing tells that tmux and cat have passed it on.
            time.sleep(0.02)
        raise TimeoutError(self.sent_path)

    def until(self, condition):
        """The screen as soon as condition(lines) is true of it."""
        deadline = time.monotonic() + HANG_SECONDS
        while True:
            lines = self.lines()
            if condition(lines):
                return lines
            if time.monotonic() > deadline:
                raise TimeoutError("\n".join(lines))
            # Nothing tells that a terminal shows something else now.
            time.sleep(0.02)

    def shows(self, *patterns):
        """The screen as soon as each pattern is in one of its lines."""
        return self.until(lambda lines: all(any(re.search(pattern, line) for line in lines) for pattern in patterns))

    def close(self):
        subprocess.run(["tmux", "-S", os.path.join(self.place, "tmux"), "kill-server"], stderr=subprocess.DEVNULL)
        subprocess.run(["rm", "-rf", self.place], check=True)


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def program(tmp_path, server):
    """With the buffers of LINES, at "held"."""
    program = server.start(LINES, tmp_path)
    program.ready("held")
    return program


@pytest.fixture
def terminal():
    """terminal(COMMAND, ...): a Terminal; all are closed in the end."""
    opened = []

    def start(command, **kwargs):
        opened.append(Terminal(command, **kwargs))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def top(terminal, server, program):
    """top(OPTION...): bufscope top of the program alone, ten times a second; its process list is there."""
    def start(*options, **kwargs):
        one = terminal(server.command("top", "-d", "0.1", "-p", program.pid, *options), **kwargs)
        one.shows(rf"^ +!?{program.pid} +root ")
        return one
    return start


def size(count):
    """As base/units.c writes it."""
    for shift, unit, decimals, below in ((10, "KB", 1, 1023.95), (20, "MB", 2, 1023.995), (30, "GB", 2, 1023.995)):
        if count < 1024:
            return f"{count} B"
        if count / (1 << shift) < below:
            return f"{count / (1 << shift):.{decimals}f} {unit}"
    raise AssertionError(count)


def cells(line):
    """The cells of a row, without the marks before it."""
    return re.split(r" {2,}", line.strip(" >+"))


def figures(process):
    """(buffers, {type: bytes}) of a process as dump tells them, on all its chips."""
    rows = [row for device in process["devices"] for row in device["types"]]
    kinds = {row["type"]: sum(r["live_bytes"] for r in rows if r["type"] == row["type"]) for row in rows}
    return sum(row["live_buffers"] for row in rows), kinds


def row_of(lines, first):
    """The cells of the row that begins with this cell, by the names in the heading above it."""
    heads = [i for i, line in enumerate(lines) if re.match(r"^ {2,}(pid|device|type|serial) ", line)]
    at = next(i for i, line in enumerate(lines) if i > heads[0] and cells(line)[0].lstrip("!") == str(first))
    heading = lines[max(i for i in heads if i < at)]
    return dict(zip(cells(heading), cells(lines[at])))


def assert_process_row(lines, process):
    buffers, kinds = figures(process)
    row = row_of(lines, process["pid"])
    assert row["buffers"] == str(buffers)
    assert {kind: row[kind] for kind in kinds} == {kind: size(count) for kind, count in kinds.items()}
    assert row["user"] == "root"


def the(server, program):
    process, = server.dump("-p", program.pid)["processes"]
    return process


# ---- what is on it ----


def test_once(server, program):
    """In a pipe: the same figures as dump's, no control characters, no line of keys."""
    text = server.ask("top", "--once", "-p", program.pid)
    lines = text.split("\n")
    assert re.match(r" bufscope top  \S+  \d\d:\d\d:\d\d +all processes, selected$", lines[0]), lines[0]
    assert re.fullmatch(r"[ -~\n]*", text) and not re.search(r" $", text, re.MULTILINE)
    assert "quit" not in text
    assert all(len(line) <= 80 for line in lines)
    assert_process_row(lines, the(server, program))
    row = row_of(lines, f"0 of {program.pid}")
    assert row["DRAM"] == f"{size(5 << 21)}, capacity unknown"
    assert row["L1"] == f"{size(8192)}, capacity unknown"
    assert row["procs"] == "1"


def test_descend(server, program, top):
    """Device, process, type, buffers: each as dump says; and out again."""
    process = the(server, program)
    screen = top()
    lines = screen.shows("q quit", rf"^> 0 of {program.pid} ")
    assert len(lines) == 24
    assert_process_row(lines, process)
    screen.keys("Down", "Enter")
    lines = screen.shows(rf"^ device 1 of {program.pid}: 6 buffers: DRAM 10\.00 MB, L1 8\.0 KB$", rf"^> {program.pid} ")
    assert row_of(lines, program.pid)["DRAM"] == size(5 << 21)
    screen.keys("Enter")
    lines = screen.shows(rf"^ device 1 of {program.pid} > PID {program.pid}: 6 buffers", "^> DRAM ", "^  L1 ")
    kinds = {row["type"]: row for row in next(d for d in process["devices"] if d["device"] == 1)["types"]}
    for kind, row in kinds.items():
        shown = row_of(lines, kind)
        assert (shown["size"], shown["buffers"]) == (size(row["live_bytes"]), str(row["live_buffers"]))
    screen.keys("Enter")
    lines = screen.shows(rf"> PID {program.pid} > DRAM: 5 buffers")
    for buffer in process["buffers"]:
        if buffer["type"] == "DRAM":
            row = row_of(lines, buffer["serial"])
            assert (row["size"], row["address"]) == (size(buffer["size_bytes"]), hex(buffer["address"]))
            assert (row["chips"], row["state"]) == ("0-1", "live")
    screen.keys("Enter", "BSpace", "Left", "Escape")
    screen.shows("^ 1 process: 12 buffers", rf"^> 1 of {program.pid} ")


def test_sort_and_filter(server, program, top, tmp_path):
    other = server.start("chip c 7\nalloc big c DRAM 104857600 2048\nwait held", tmp_path, "other")
    other.ready("held")
    screen = top("-p", str(other.pid))

    def order(lines):
        return [int(cells(line)[0].lstrip("!")) for line in lines if re.match(r"^[> ] +!?\d+  root ", line)]

    screen.until(lambda lines: order(lines) == [other.pid, program.pid])
    screen.keys("End")          # to the processes, whose order it is to be
    screen.shows(rf"^> *{program.pid} ", "s sort: size")
    screen.keys("s")
    lines = screen.shows("s sort: buffers")
    assert order(lines) == [program.pid, other.pid]
    assert any(line.startswith(f"> {program.pid}") for line in lines)   # the cursor is where it was
    screen.keys("s", "s")
    assert order(screen.shows("s sort: pid")) == sorted([program.pid, other.pid])
    screen.keys("/")
    screen.shows("filter: _")
    screen.keys(*str(other.pid), "Enter")
    lines = screen.shows(rf"filter: {other.pid} +\(1 left out\)")
    assert order(lines) == [other.pid]
    screen.keys("/", "x")
    screen.shows(rf"filter: {other.pid}x_", "no row has the text of the filter")
    screen.keys("Escape")
    screen.until(lambda lines: order(lines) == sorted([program.pid, other.pid]))


def test_pause(program, top):
    """A paused screen stays as it is, while another one shows what happens."""
    paused, running = top(), top()
    paused.keys("p")
    before = paused.shows("PAUSED", "p go on")
    program.go()
    program.ready("more")
    running.shows("^ 1 process: 16 buffers")
    # Some more looks of the other one: its clock goes on.
    for _ in range(2):
        clock = running.lines()[0]
        running.until(lambda lines: lines[0] != clock)
    assert paused.lines() == before
    paused.keys("p")
    paused.shows("^ 1 process: 16 buffers", "every 0.1 s")


def test_mark_and_growth(server, program, top):
    screen = top()
    screen.keys("m")
    screen.shows(r"since mark 1 at \d\d:\d\d:\d\d, .* ago: 0, \+0 buffers")
    program.go()
    program.ready("more")
    lines = screen.shows(r"since mark 1 .*: \+2\.00 MB, \+4 buffers")
    row = row_of(lines, program.pid)
    assert (row["+bytes"], row["+buffers"]) == ("+2.00 MB", "+4")
    assert row_of(lines, f"1 of {program.pid}")["since mark"] == "+1.00 MB (+2)"
    screen.keys("Enter", "Enter", "Enter")
    screen.shows("> DRAM: 7 buffers")
    screen.keys("s", "s")       # newest first
    lines = screen.shows("s sort: newest")
    rows = [line for line in lines if re.match(r"^[> ][+ ] +\d+  DRAM ", line)]
    assert [line[1] for line in rows] == ["+", "+", "+", " ", " ", " ", " "]
    newest = max(buffer["serial"] for buffer in the(server, program)["buffers"])
    assert cells(rows[0])[0] == str(newest)
    screen.keys("u")
    screen.until(lambda lines: not any("since mark" in line for line in lines))


def drawn(height):
    """Not what the terminal makes of the old screen: the first line and the last one are in their places."""
    def condition(lines):
        return len(lines) == height and lines[0].startswith(" bufscope top") and lines[-1].startswith(" q quit")
    return condition


def test_resize(program, top):
    screen = top()
    screen.resize(40, 10)
    lines = screen.until(drawn(10))
    assert all(len(line) <= 40 for line in lines)
    assert any(line.startswith(f"> 0 of {program.pid}") for line in lines)
    screen.keys("End")          # its row comes into view
    screen.until(lambda lines: any(line.startswith(f"> {program.pid}") for line in lines))
    screen.resize(130, 40)
    lines = screen.until(drawn(40))
    assert row_of(lines, program.pid)["devices"] == "0-1"
    screen.keys("h")
    screen.shows("any key: back", "mark this moment")
    screen.keys("x")
    screen.shows("q quit")


# ---- the terminal ----


@pytest.mark.parametrize("how", ["q", "C-c", "SIGTERM"])
def test_the_terminal_is_as_before(terminal, server, program, tmp_path, how):
    """What was on it is there again, the cursor is seen, and lines are read as before."""
    settings = tmp_path / "settings"
    command = server.command("top", "-p", program.pid)
    screen = terminal(command, before=f"echo what was there; stty -g >>{settings}")
    screen.shows(f"{program.pid} ")
    assert screen.ask("#{alternate_on} #{cursor_flag}") == "1 0"
    if how == "SIGTERM":
        shell = screen.ask("#{pane_pid}")
        with open(f"/proc/{shell}/task/{shell}/children") as file:
            os.kill(int(file.read()), signal.SIGTERM)
    else:
        screen.keys(how)
    screen.until(lambda lines: sum(line == "what was there" for line in lines) == 2 and "ended 0" in lines)
    assert screen.ask("#{alternate_on} #{cursor_flag}") == "0 1"
    screen.keys("typed", "Enter")
    screen.until(lambda lines: sum(line == "typed" for line in lines) == 2)     # the echo, and what cat read
    before, after = settings.read_text().split()
    assert before == after


def test_hostile_names(terminal, server, tmp_path):
    """What a traced program calls itself is shown, and never sent to the terminal as it is."""
    name = "\x1b]0;taken\x07\x1b[2J\x1b[31m\u4e2d\u202e\x9b5m\nnext"
    command = harness.standin("mesh m 1\nalloc a m DRAM 2048 2048\nwait held")
    program = Program([name, *command[1:]], tmp_path, executable=WORKLOAD)
    server.loaded(program)
    program.ready("held")
    screen = terminal(server.command("top", "-d", "0.1", "-p", program.pid), width=140)
    screen.keys("Enter", "Enter")
    screen.shows(rf"PID {program.pid}: 1 buffer", r"\\x1b\]0;taken\\x07\\x1b\[2J\\x1b\[31m中\\u\{202E\}\\x9b5m\\nnext")
    assert screen.ask("#{pane_title}") != "taken"
    screen.keys("q")
    sent = screen.sent()
    assert b"taken" in sent
    for piece in (b"\x1b]0;taken", b"\x07", b"\x1b[31m\xe4", "\u202e".encode(), b"\xc2\x9b"):
        assert piece not in sent, piece
    text = server.ask("top", "--once", "-p", program.pid, env=dict(os.environ, LC_ALL="C"))
    assert re.fullmatch(r"[ -~\n]*", text)


def test_no_flicker(server, program):
    """Of a screen on which only the time changes, only the time is sent again."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    client = subprocess.Popen(server.command("top", "-d", "0.1", "-p", program.pid), stdin=slave, stdout=slave, stderr=slave,
                              env=dict(os.environ, TERM="screen", LC_ALL="C.UTF-8"))
    os.close(slave)

    def read():
        assert select.select([master], [], [], HANG_SECONDS)[0]
        return os.read(master, 65536)

    try:
        first = b""
        while b"m mark" not in first:       # the last words of the last line
            first += read()
        again = b"".join(read() for _ in range(4))
        os.write(master, b"q")
        assert client.wait(HANG_SECONDS) == 0
    finally:
        client.kill()
        client.wait()
        os.close(master)
    assert len(first) > 500
    assert len(again) < len(first) / 4, again
    for clear in (b"\x1b[J", b"\x1b[2J", b"\x1b[K"):
        assert clear not in again, again


# ---- the service ----


def test_the_service_is_silent_gone_and_back(server, program, top, tmp_path):
    screen = top()
    os.kill(server.pid, signal.SIGSTOP)
    screen.shows("no answer from the service for [0-9]+ s")
    screen.keys("h")            # keys are not held up
    screen.shows("any key: back")
    screen.keys("x", "Enter")
    screen.shows(f"^ device 0 of {program.pid}: ", "no answer from the service for [0-9]+ s")
    os.kill(server.pid, signal.SIGCONT)
    screen.until(lambda lines: not any("no answer" in line for line in lines))
    path = server.socket
    Program.kill(server)
    screen.shows("! .*no bufscope service answers at ")
    screen.shows(f"^ device 0 of {program.pid}: 6 buffers")     # what was last known stays
    second = Server(tmp_path, name="second", path=path)
    screen.until(lambda lines: not any("service answers" in line for line in lines))
    screen.keys("q")
    screen.shows("ended 0")
    second.stop()
    server.stop = lambda: None


def frame(**body):
    body = json.dumps(body).encode()
    return struct.pack(">I", len(body)) + body


def test_an_answer_that_stalls(terminal, tmp_path):
    """A service that stops in the middle of a frame holds no key up; and a terminal shows the screen of the golden file."""
    def serve():
        for number in range(2):
            connection, _ = listener.accept()
            connections.append(connection)
            stream = connection.makefile("rb")
            stream.read(struct.unpack(">I", stream.read(4))[0])
            connection.sendall(answer if not number else answer[:2000])

    connections = []
    golden = os.path.join(harness.ROOT, "tests", "golden")
    with open(os.path.join(golden, "top.json")) as file:
        answer = frame(data=file.read()) + frame(end=True, exit=0, message=None)
    with open(os.path.join(golden, "top.overview.screen.txt")) as file:
        devices = [line.rstrip() for line in file if re.match(r"[> ] (0000:|5 of )", line)]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control"))
        listener.listen()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        screen = terminal([BUFSCOPE, "top", "-d", "0.1", "--socket", str(tmp_path / "control")])
        lines = screen.shows("no answer from the service for [0-9]+ s")
        assert [line for line in lines if line in devices] == devices and len(devices) == 5
        screen.keys("h")
        screen.shows("any key: back")
        screen.keys("x", "q")
        screen.shows("ended 0")
        thread.join(HANG_SECONDS)
        for connection in connections:
            connection.close()


def refused(arguments, status=1, **kwargs):
    done = subprocess.run([BUFSCOPE, "top", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=HANG_SECONDS, **kwargs)
    assert done.returncode == status and not done.stdout, (done.returncode, done.stdout, done.stderr)
    line, = done.stderr.splitlines()
    return line


def test_refused(server, program, tmp_path):
    assert "no bufscope service answers at" in refused(["--socket", tmp_path / "missing", "--once"])
    assert "no bufscope service answers at" in refused(["--socket", tmp_path / "missing"])
    at = ["--socket", server.socket]
    assert "needs a terminal" in refused([*at, "-p", program.pid])
    assert "process 4194304 is not there" in refused([*at, "--once", "-p", 4194304])
    for option in (["-d", "0"], ["--interval=soon"], ["--type", "GDDR"], ["word"]):
        refused([*at, *option], status=2)


def test_no_service_at_all(tmp_path):
    """Whoever answers there: one line, no hang."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control"))
        listener.listen()
        client = Program([BUFSCOPE, "top", "--once", "--socket", str(tmp_path / "control")], tmp_path)
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"\0\0\0\2{}")
            assert client.wait() == 1
    assert re.search("what answers at .* is no bufscope service", client.stderr())


def test_only_your_processes(server, program):
    """A user is told that the figures are not all there is."""
    text = server.ask("top", "--once", user=STRANGER, group=65534, extra_groups=[])
    assert "only your processes" in text
    assert not re.search(rf"\b{program.pid}\b", text)
    assert "no process uses a device" in text
