# SPDX-License-Identifier: BSD-2-Clause
"""`bufscope serve` for tests: the server, its clients by subprocess, and its protocol spoken by hand."""
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

import jsonschema

import harness
from harness import BUFSCOPE, HANG_SECONDS, Program


@contextlib.contextmanager
def user(uid, gid=65534, groups=()):
    """What this process does in here it does as that user, as far as the kernel tells it to a server."""
    before = os.getgroups()
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


class Place:
    """A folder that every user reaches; sockets want a short path."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="bufscope-")
        os.chmod(self.path, 0o755)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Server(Program):
    """
    `bufscope serve` with a socket in a folder of its own that every user reaches. It serves when this is
    constructed (not with @wait=False); stop() ends it and checks how it ends. Without stop() it is killed after the test.
    """

    def __init__(self, folder, options=(), name="serve", path=None, prefix=(), wait=True, **kwargs):
        self.folder_of_socket = Place()
        self.place = self.folder_of_socket.path
        self.socket = path or os.path.join(self.place, "control")
        super().__init__([*prefix, BUFSCOPE, "serve", "--socket", self.socket, *options], folder, name, **kwargs)
        if wait:
            self.wait_stderr("serving at")

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)
        status = self.wait()
        assert status == 0, f"status {status}, stderr:\n{self.stderr()}"
        assert not os.path.lexists(self.socket)
        assert not os.path.lexists(self.socket + ".lock")

    def kill(self):
        super().kill()
        self.folder_of_socket.remove()

    def command(self, *arguments):
        """The command line of a client: command("dump", "--format", "json")."""
        return [BUFSCOPE, arguments[0], "--socket", self.socket, *map(str, arguments[1:])]

    def ask(self, *arguments, status=0, **kwargs):
        """Runs a client. What it prints (text) if it exits with @status."""
        done = subprocess.run(self.command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=HANG_SECONDS, **kwargs)
        assert done.returncode == status, f"status {done.returncode}, stderr:\n{done.stderr}\n{self.stderr()}"
        return done.stdout

    def dump(self, *options, **kwargs):
        """`dump --format json`, as checked as every report; of some processes: give -p."""
        return checked(self.ask("dump", "--format", "json", *options, **kwargs))

    def process(self, pid):
        """What the service knows of a process, None if it is not there."""
        answer = json.loads(ask(self.socket, "dump", format="json")[1])
        return next((process for process in answer["processes"] if process["pid"] == pid), None)

    def observing(self, pid):
        """Until the runtime in @pid is watched, as Bufscope.observing()."""
        deadline = time.monotonic() + HANG_SECONDS
        while not (self.process(pid) or {}).get("runtimes"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the library in process {pid} is not watched; stderr:\n{self.stderr()}")

    def loaded(self, program):
        """At the stop "loaded" of harness.standin(): lets the program go when it is watched. Its pid."""
        pid = program.ready("loaded")["pid"]
        self.observing(pid)
        program.go()
        return pid

    def start(self, script, folder, name="program", lib=None, **kwargs):
        """A stand-in program that is watched from before the first line of @script."""
        program = Program(harness.standin(script, lib=lib), folder, name, **kwargs)
        self.loaded(program)
        return program


def checked(text):
    """A whole document bufscope.summary/1 with what must be true of every one."""
    report = json.loads(text)
    assert report["schema"] == "bufscope.summary/1"
    jsonschema.validate(report, harness.schema_of(report["schema"]))
    if not {"devices", "types", "min_size", "older_ns"} & set(report.get("selection", ())):
        for process in report["processes"]:
            harness.check_process(process)
    return report


class Connection:
    """One connection to the service, by hand (docs/protocol.md)."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(HANG_SECONDS)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()
        self.socket.close()

    def send(self, body):
        """@body: an object, or the bytes of a frame."""
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.socket.sendall(struct.pack(">I", len(body)) + body)

    def request(self, command, **options):
        self.send({"protocol": 1, "client": "test", "command": command, "options": options})

    def frame(self):
        """The next frame; None when the service has closed the connection."""
        head = self.stream.read(4)
        if not head:
            return None
        body = self.stream.read(struct.unpack(">I", head)[0])
        return json.loads(body)

    def answer(self):
        """(end frame, text), or (None, text so far) when there is no end."""
        text = ""
        while True:
            frame = self.frame()
            if frame is None or frame.get("end"):
                return frame, text
            text += frame["data"]


def ask(path, command, **options):
    with Connection(path) as connection:
        connection.request(command, **options)
        return connection.answer()
