# SPDX-License-Identifier: BSD-2-Clause
"""What the integration tests share: starting programs, the handshake with them, reading reports.

Nothing here sleeps to synchronise. A workload says "ready NAME" and waits for a line; a snapshot is
there when the file system says that its file was closed. Every wait has a deadline that only a hang
can reach.
"""
import collections
import contextlib
import ctypes
import fcntl
import glob
import json
import os
import re
import select
import signal
import struct
import subprocess
import time

import jsonschema

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
BUFSCOPE = os.environ.get("BUFSCOPE", os.path.join(BUILD, "bufscope"))
WORKLOAD = os.path.join(BUILD, "tests", "standin", "standin-workload")
DEMO = os.path.join(BUILD, "demo-workload")
LAYOUTS = ("plain", "pimpl")
HANG_SECONDS = float(os.environ.get("BUFSCOPE_TEST_HANG_SECONDS", "120"))


def library(layout):
    return os.path.join(BUILD, "tests", "standin", layout, "libstandin_tt_metal.so")


def standin(script, layout="pimpl", lib=None, load=True):
    """The command line of a stand-in workload. With @load it stops first, with its library mapped: loaded()."""
    lines = [line.strip() for line in script.strip().splitlines()]
    if load:
        lines[:0] = ["load", "books loaded", "wait loaded"]
    return [WORKLOAD, "--library", lib or library(layout), "\n".join(lines)]


class Watch:
    """Waits for changes in one folder (inotify; Python's library has no binding for it)."""

    CLOSE_WRITE, MOVED_TO, CREATE, MODIFY = 0x8, 0x80, 0x100, 0x2

    def __init__(self, folder, events):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_CLOEXEC)
        if self.fd < 0 or libc.inotify_add_watch(self.fd, str(folder).encode(), events) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def names(self, deadline):
        """The names of the files that changed; empty when the deadline has passed."""
        left = max(0, deadline - time.monotonic())
        if not select.select([self.fd], [], [], left)[0]:
            return []
        data, at, found = os.read(self.fd, 65536), 0, []
        while at < len(data):
            length = struct.unpack_from("iIII", data, at)[3]
            found.append(data[at + 16:at + 16 + length].rstrip(b"\0").decode())
            at += 16 + length
        return found

    def close(self):
        os.close(self.fd)


class Program:
    """A started program with the handshake on its stdin and stdout. stderr goes to a file."""

    started = []        # every one of this test, for the cleanup

    def __init__(self, command, folder, name="program", env=None, **kwargs):
        self.folder = str(folder)
        self.stderr_path = os.path.join(self.folder, name + ".stderr")
        self.books = {}
        self.output = b""
        self.pending = b""
        with open(self.stderr_path, "wb") as stderr:
            self.popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
                                          env=env, cwd=self.folder, **kwargs)
        self.pid = self.popen.pid
        Program.started.append(self)

    def stderr(self):
        with open(self.stderr_path, errors="replace") as file:
            return file.read()

    def line(self):
        """The next line of stdout as text, None at its end."""
        deadline = time.monotonic() + HANG_SECONDS
        fd = self.popen.stdout.fileno()
        while b"\n" not in self.pending:
            if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"no output for {HANG_SECONDS} s; stderr:\n{self.stderr()}")
            data = os.read(fd, 65536)
            if not data:
                return None
            self.output += data
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        return line.decode(errors="replace")

    def ready(self, name):
        """Reads until the program stops at @name; returns the books it printed last."""
        books = None
        while True:
            line = self.line()
            if line is None:
                raise AssertionError(f"the program ended before \"{name}\"; stderr:\n{self.stderr()}")
            line = line[2:] if line.startswith("@@") else line
            if line.startswith("books "):
                books = json.loads(line[len("books "):])
            if line.startswith("ready "):
                assert line == "ready " + name, line
                return books

    def go(self):
        self.popen.stdin.write(b"\n")
        self.popen.stdin.flush()

    def wait(self):
        """Reads the rest of the output and returns the exit status (negative: signal)."""
        while self.line() is not None:
            pass
        status = self.popen.wait(HANG_SECONDS)
        self.popen.stdin.close()
        self.popen.stdout.close()
        return status

    def wait_stderr(self, pattern):
        """Until a line on stderr matches; returns the match."""
        watch = Watch(self.folder, Watch.MODIFY | Watch.CREATE)
        deadline = time.monotonic() + HANG_SECONDS
        try:
            while True:
                match = re.search(pattern, self.stderr(), re.MULTILINE)
                if match:
                    return match
                if self.popen.poll() is not None:
                    raise AssertionError(f"ended with {self.popen.returncode}, without \"{pattern}\":\n{self.stderr()}")
                # A program's end changes no file, so look again now and then.
                watch.names(min(deadline, time.monotonic() + 1))
                if time.monotonic() > deadline:
                    raise TimeoutError(f"\"{pattern}\" did not appear:\n{self.stderr()}")
        finally:
            watch.close()

    def kill(self):
        """Cleanup: only this program, by its pid."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            try:
                pipe.close()
            except OSError:
                pass


class Gate:
    """While it is locked a program with this environment stops where it says (tests/late_wake.c)."""

    def __init__(self, folder):
        self.path = os.path.join(str(folder), "gate")
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        self.variables = {"LATE_WAKE": self.path, "LD_PRELOAD": os.path.join(BUILD, "tests", "late_wake.so")}
        self.env = dict(os.environ, **self.variables)

    def lock(self):
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def unlock(self):
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def stopped(self):
        """Locked; what happens inside makes that program stop, and after it it has."""
        folder, name = os.path.split(self.path)
        watch = Watch(folder, Watch.MODIFY)
        try:
            self.lock()
            yield
            deadline = time.monotonic() + HANG_SECONDS
            while name not in watch.names(deadline):
                if time.monotonic() > deadline:
                    raise TimeoutError("it does not come to its gate")
        finally:
            watch.close()


class Bufscope(Program):
    """bufscope itself. What it runs shares its stdin and stdout, so the handshake is with that."""

    def __init__(self, arguments, folder, name="bufscope", program=(BUFSCOPE,), **kwargs):
        self.report_path = os.path.join(str(folder), name + ".json")
        self.snapshots = 0
        super().__init__([*program, *arguments], folder, name, **kwargs)

    def snapshot(self):
        """What has been recorded at this moment."""
        self.snapshots += 1
        wanted = f"{os.path.basename(self.report_path)}.{self.snapshots}"
        watch = Watch(self.folder, Watch.CLOSE_WRITE | Watch.MOVED_TO)
        try:
            os.kill(self.pid, signal.SIGUSR1)
            deadline = time.monotonic() + HANG_SECONDS
            while wanted not in watch.names(deadline):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no snapshot {wanted}; stderr:\n{self.stderr()}")
        finally:
            watch.close()
        return load_report(os.path.join(self.folder, wanted))

    def observing(self, pid):
        """
        Until the runtime in @pid is watched. A library that is mapped for the first time is looked at
        while the program goes on, so a test whose program does not wait would be a matter of luck.
        """
        deadline = time.monotonic() + HANG_SECONDS
        while not any(process["runtimes"] for process in self.snapshot()["processes"] if process["pid"] == pid):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the library in process {pid} is not watched; stderr:\n{self.stderr()}")

    def loaded(self):
        """At the stop "loaded" of harness.standin(): lets the program go when it is watched."""
        self.observing(self.ready("loaded")["pid"])
        self.go()

    def report(self):
        return load_report(self.report_path)

    def finish(self, status=0):
        """The exit status must be @status; returns the report."""
        got = self.wait()
        assert got == status, f"status {got}, stderr:\n{self.stderr()}"
        return self.report()


def run(command, folder, options=(), name="bufscope", **kwargs):
    report = os.path.join(str(folder), name + ".json")
    return Bufscope(["run", "--format", "json", "-o", report, *options, "--", *command], folder, name, **kwargs)


def run_standin(script, folder, layout="pimpl", lib=None, **kwargs):
    """A stand-in workload under bufscope, watched from before its first allocation."""
    bufscope = run(standin(script, layout, lib), folder, **kwargs)
    bufscope.loaded()
    return bufscope


def attach(pids, folder, options=(), name="bufscope", **kwargs):
    report = os.path.join(str(folder), name + ".json")
    arguments = ["attach", "--format", "json", "-o", report, *options]
    for pid in pids:
        arguments += ["-p", str(pid)]
    bufscope = Bufscope(arguments, folder, name, **kwargs)
    bufscope.wait_stderr(r"(?i)attached|watching|waiting")
    return bufscope


class TextRun(Bufscope):
    """`bufscope run` with the text report, on stderr; watched from before the script's first allocation."""

    def __init__(self, command, folder, options=(), locale="C.UTF-8"):
        super().__init__(["run", *options, "--", *command], folder, env=dict(os.environ, LC_ALL=locale))

    def observing(self, pid):
        watch = Watch(self.folder, Watch.MODIFY)
        deadline = time.monotonic() + HANG_SECONDS
        while not re.search(r"^Library: tt-metal", self.stderr(), re.MULTILINE):
            os.kill(self.pid, signal.SIGUSR1)
            if not watch.names(deadline):
                raise TimeoutError(f"the library in process {pid} is not watched; stderr:\n{self.stderr()}")
        watch.close()

    def final(self, status=0):
        """What it prints from here on."""
        before = len(self.stderr())
        if self.popen.poll() is None:
            self.loaded()
        got = self.wait()
        text = self.stderr()[before:]
        assert got == status, text
        # The last table; those before it were asked for while waiting.
        return text


def schema_of(name):
    """The schema in docs/ of documents whose "schema" is @name."""
    for path in sorted(glob.glob(os.path.join(ROOT, "docs", "*.schema.json"))):
        with open(path) as file:
            schema = json.load(file)
        if schema.get("properties", {}).get("schema", {}).get("const") == name:
            return schema
    raise AssertionError(f"no schema for {name} in docs/")


def load_report(path):
    """Reads a report and checks all that must be true of every report."""
    with open(path) as file:
        report = json.load(file)
    assert report["schema"] == "bufscope.summary/1"
    jsonschema.validate(report, schema_of(report["schema"]))
    ids = [process["id"] for process in report["processes"]]
    assert len(ids) == len(set(ids)), ids
    for process in report["processes"]:
        check_process(process)
    if any(not process["exact"] for process in report["processes"]):
        assert not report["exact"]
    return report


def check_process(process):
    """The balance of OUTPUT.md section 2, and that the figures agree with the list of buffers."""
    running = process["end"]["how"] == "running"
    gone = process["freed"] + process["missed_frees"] + process["held_released"]
    present = process["live"] + process["held"]
    known = process["before_attach"] + process["allocated"]
    summary = {key: value for key, value in process.items() if isinstance(value, (int, str, bool))}
    if running:
        assert process["cleared"] == 0, summary
        balanced = known == gone + present
    else:
        # After the end, live and held are what they were just before clearing.
        assert process["cleared"] == present, summary
        balanced = known == gone + process["cleared"]
    assert balanced or not process["exact"], summary
    assert process["exact"] == (not process["inexact_reasons"]), summary

    states = collections.Counter(buffer["state"] for buffer in process["buffers"])
    assert states["live"] == process["live"], (states, summary)
    assert states["held"] + states["uncertain"] == process["held"], (states, summary)
    serials = [buffer["serial"] for buffer in process["buffers"]]
    assert len(serials) == len(set(serials))
    check_devices(process)


def check_devices(process):
    """A device's figures count each buffer on every chip it lies on."""
    counted = collections.Counter()
    for buffer in process["buffers"]:
        state = "live" if buffer["state"] == "live" else "held"
        for chip in buffer["on_devices"]:
            counted[chip, buffer["type"], state + "_buffers"] += 1
            counted[chip, buffer["type"], state + "_bytes"] += buffer["size_bytes"]
    shown = collections.Counter()
    for device in process["devices"]:
        assert (device["name"] is None) == (device["chip"]["known_by"] == "number")
        for row in device["types"]:
            for key in ("live_buffers", "live_bytes", "held_buffers", "held_bytes"):
                shown[device["device"], row["type"], key] += row[key]
            assert row["peak_bytes"] >= row["live_bytes"]
            assert row["peak_buffers"] >= row["live_buffers"]
    assert +shown == +counted


def process_of(report, pid):
    """The last address space of a pid."""
    found = [process for process in report["processes"] if process["pid"] == pid]
    assert found, f"pid {pid} is not in {[process['pid'] for process in report['processes']]}"
    return max(found, key=lambda process: process["exec_count"])


def only_process(report):
    """The one process that has the runtime."""
    found = [process for process in report["processes"] if process["runtimes"]]
    assert len(found) == 1, [process["command"] for process in report["processes"]]
    return found[0]


def described(buffers, state):
    return sorted((b["object"], b["type"], b["address"], b["size_bytes"], b["page_size_bytes"],
                   tuple(sorted(b["on_devices"]))) for b in buffers if b["state"] == state)


def booked(books, held):
    return sorted((b["object"], b["type"], b["address"], b["size"], b["page_size"], tuple(sorted(b["chips"])))
                  for b in books["buffers"] if b["allocated"] and b["device_open"] != held)


def assert_equals_books(process, books):
    """What bufscope says is what the stand-in program says, buffer by buffer."""
    assert process["pid"] == books["pid"]
    for state, held in (("live", False), ("held", True)):
        ours, theirs = described(process["buffers"], state), booked(books, held)
        assert ours == theirs, f"{state}: bufscope {ours}, the program {theirs}"
    assert not described(process["buffers"], "uncertain"), described(process["buffers"], "uncertain")


def assert_equals_runtime_books(process, books):
    """The live {type, address} of each chip are the blocks of the real runtime's allocators."""
    ours, theirs = collections.Counter(), collections.Counter()
    for buffer in process["buffers"]:
        if buffer["state"] == "live":
            for chip in buffer["on_devices"]:
                ours[chip, buffer["type"], buffer["address"]] += 1
    for mesh in books["meshes"]:
        for kind, memory in mesh["types"].items():
            for address, _ in memory["blocks"]:
                for chip in mesh["chips"]:
                    theirs[chip, kind, address] += 1
    assert process["pid"] == books["pid"]
    assert ours == theirs, f"only bufscope: {ours - theirs}; only the runtime: {theirs - ours}"


def counts(process, **expected):
    """Asserts some of a process's figures at once."""
    got = {key: process[key] for key in expected}
    assert got == expected, f"{got} is not {expected}"
