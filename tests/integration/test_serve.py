# SPDX-License-Identifier: BSD-2-Clause
"""`bufscope serve` and `dump`: what is asked is answered, of this moment, to those who may know."""
import csv
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

import harness
import service
from harness import Program
from service import Connection, Server, ask, user

ALICE, BOB, GROUP = 61001, 61002, 61003
NOBODY_THERE = 4194304          # above any pid_max
MANY = """
    mesh m 2
    chip c 5
    many a 3 m DRAM 2048 2048
    alloc big m DRAM 1048576 2048
    alloc l c L1 8192 2048
    alloc s c L1_SMALL 1024 1024
    alloc t m TRACE 2048 2048
    alloc gone m DRAM 2048 2048
    free gone
    books all
    wait all
"""
MANY_BYTES = 2 * (3 * 2048 + 1048576 + 2048) + 8192 + 1024


@pytest.fixture
def server(tmp_path):
    """Its end is part of each test: exit status 0, and nothing left."""
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def library(server):
    """A copy that no other program on this machine maps, and every user can read."""
    return copy_for_all(server, harness.library("pimpl"))


def copy_for_all(server, path):
    copy = os.path.join(server.place, os.path.basename(path))
    shutil.copy(path, copy)
    os.chmod(copy, 0o755)
    return copy


@pytest.fixture
def program(tmp_path, server, library):
    """With the buffers of MANY."""
    program = server.start(MANY, tmp_path, lib=library)
    program.books_all = program.ready("all")
    return program


def only(report, pid):
    process, = report["processes"]
    assert process["pid"] == pid
    return process


def refused(server, *arguments, status=1, **kwargs):
    """The one line that a client prints when it has no answer."""
    done = subprocess.run(server.command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=harness.HANG_SECONDS, **kwargs)
    assert done.returncode == status and not done.stdout, (done.returncode, done.stdout, done.stderr)
    line, = done.stderr.splitlines()
    return line


# ---- formats ----

def test_json(server, program):
    process = only(server.dump("-p", program.pid), program.pid)
    harness.assert_equals_books(process, program.books_all)
    harness.counts(process, allocated=8, freed=1, live=7, held=0)
    assert process["exact"], process["inexact_reasons"]


def test_text(server, program):
    def text(*options, locale="C.UTF-8"):
        return server.ask("dump", "-p", program.pid, *options, env=dict(os.environ, LC_ALL=locale))
    shown = text()
    assert shown.startswith("╔") and f"Process {program.pid}" in shown
    assert "Total tracked allocations: 12" in shown             # as many as the chips they lie on
    assert re.search(r"Device 5:\n  L1: 1 buffers, .*\n  L1_SMALL: 1 buffers", shown)
    assert "... and 5 more" in text("--buffers", "2") and "more" not in text("--buffers", "all")
    assert text(locale="C").isascii() and "\x1b" not in shown
    assert text("--sort", "age").count("oldest first") == 1


def test_csv(server, program):
    """Every field is that of the JSON answer."""
    process = only(server.dump("-p", program.pid), program.pid)
    text = server.ask("dump", "-p", program.pid, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == len(process["buffers"]) == 7
    for row, buffer in zip(rows, process["buffers"]):
        assert (row["process"], int(row["pid"]), int(row["user"])) == (process["id"], program.pid, process["user"])
        assert [int(chip) for chip in row["devices"].split(",")] == buffer["on_devices"]
        for key in ("serial", "address", "size_bytes", "page_size_bytes", "allocated_ns", "thread"):
            assert int(row[key]) == buffer[key], key
        assert (row["type"], row["state"]) == (buffer["type"], buffer["state"])
        assert harness.WORKLOAD in row["command"] and "\n" not in row["command"]


# ---- filters ----

def chosen(server, program, *options):
    """Object addresses of the buffers that `dump` shows with these options, in order."""
    report = server.dump("-p", program.pid, *options)
    return [buffer["object"] for process in report["processes"] for buffer in process["buffers"]]


def expected(server, program, wanted):
    process = only(server.dump("-p", program.pid), program.pid)
    return [buffer["object"] for buffer in process["buffers"] if wanted(buffer)]


FILTERS = (
    (["--device", 1], lambda b: 1 in b["on_devices"], 5),
    (["--device", 5], lambda b: 5 in b["on_devices"], 2),
    (["--device", 0, "--device", 5], lambda b: True, 7),
    (["--type", "dram"], lambda b: b["type"] == "DRAM", 4),
    (["--type", "L1", "--type", "TRACE"], lambda b: b["type"] in ("L1", "TRACE"), 2),
    (["--min-size", "8K"], lambda b: b["size_bytes"] >= 8192, 2),
    (["--min-size", "8193"], lambda b: b["size_bytes"] > 8192, 1),
    (["--older", "0"], lambda b: True, 7),
    (["--older", "60m"], lambda b: False, 0),
    (["--user", "root"], lambda b: True, 7),
    (["--user", "nobody"], lambda b: False, 0),
    (["--type", "DRAM", "--device", 5], lambda b: False, 0),
)


def test_filters(server, program):
    for options, wanted, count in FILTERS:
        got = chosen(server, program, *options)
        assert got == expected(server, program, wanted) and len(got) == count, options
        gate = server.ask("dump", "-p", program.pid, "--fail-if-any", *options, status=3 if count else 0)
        assert ("Nothing of what was asked for is allocated." in gate) == (not count), options


def test_figures_are_of_the_filtered(server, program):
    """What a filter leaves is what the figures of devices are about; the selection is in the document."""
    process = only(server.dump("-p", program.pid, "--type", "DRAM", "--device", 0), program.pid)
    device, = process["devices"]
    row, = device["types"]
    assert (device["device"], row["type"], row["live_buffers"], row["live_bytes"]) == (0, "DRAM", 4, 3 * 2048 + 1048576)
    document = server.dump("-p", program.pid, "--type", "DRAM")
    assert document["selection"]["pids"] == [program.pid] and document["selection"]["types"] == ["DRAM"]


def test_older(tmp_path, server, library):
    """Of two ages, by the answer's own clock."""
    program = server.start("mesh m 2\nalloc old m DRAM 2048 2048\nwait old\nalloc young m DRAM 2048 2048\nwait young",
                           tmp_path, lib=library)
    program.ready("old")
    program.go()
    program.ready("young")
    young, old = sorted((b["allocated_ns"] for b in only(server.dump("-p", program.pid), program.pid)["buffers"]),
                        reverse=True)
    seen = set()
    for older_ns in (0, young - old, 2 * (young - old), 3600 * 10**9):
        report = service.checked(ask(server.socket, "dump", format="json", pids=[program.pid], older_ns=older_ns)[1])
        got = [b["allocated_ns"] for process in report["processes"] for b in process["buffers"]]
        assert sorted(got) == [t for t in (old, young) if report["now_ns"] - t >= older_ns]
        seen.add(len(got))
    assert {0, 2} <= seen


ORDERS = (
    ("size", lambda b: (-b["size_bytes"] * len(b["on_devices"]), b["serial"])),
    ("age", lambda b: b["allocated_ns"]),
    ("address", lambda b: b["address"]),
    ("type", lambda b: (["DRAM", "L1", "L1_SMALL", "TRACE"].index(b["type"]), -b["size_bytes"], b["serial"])),
)


def test_sort(server, program):
    for key, order in ORDERS:
        buffers = only(server.dump("-p", program.pid, "--sort", key), program.pid)["buffers"]
        assert buffers == sorted(buffers, key=order) and len(buffers) == 7, key


def test_sort_by_pid(tmp_path, server, library):
    """The later one has the larger number, unless numbers began anew in between."""
    pids = [server.start(f"mesh m 2\nalloc a m DRAM {size} 2048\nwait x", tmp_path, f"program{size}", lib=library).pid
            for size in (2048, 4096, 8192)]
    order = ["-p", max(pids), "-p", min(pids), "-p", sorted(pids)[1]]
    assert [p["pid"] for p in server.dump(*order, "--sort", "pid")["processes"]] == sorted(pids)


# ---- gates ----

def test_gates(server, program):
    mine = ("dump", "-p", program.pid)
    done = subprocess.run(server.command(*mine, "--fail-if-any"), capture_output=True, text=True)
    assert done.returncode == 3 and "7 buffers (2.02 MB) still allocated" in done.stderr
    assert "Total tracked allocations: 12" in done.stdout
    server.ask(*mine, "--fail-above", MANY_BYTES)
    server.ask(*mine, "--fail-above", MANY_BYTES - 1, status=3)
    server.ask(*mine, "--fail-above", "1G", "--fail-if-any", status=3)
    server.ask(*mine, "--fail-above", 8192 + 1023, "--device", 5, status=3)
    server.ask(*mine, "--fail-above", 8192 + 1024, "--device", 5)


# ---- this very moment ----

def test_who_frees_and_then_asks_sees_it(tmp_path, server, library):
    """Allocate, ask, free, ask, all by the workload, again and again. No answer is of an earlier moment."""
    rounds = 50
    question = "fork\nexec " + " ".join(server.command("dump", "--format", "csv")) + "\nendfork\nwait-child\n"
    script = tmp_path / "script"
    script.write_text("load\nwait loaded\nmesh m 2\n" + rounds * (
        "alloc a m DRAM 2048 2048\n" + question + "free a\n" + question))
    program = Program([harness.WORKLOAD, "--library", library, "-f", str(script)], tmp_path)
    line = program.line()
    assert line == "ready loaded"
    server.observing(program.pid)
    program.go()
    assert program.wait() == 0
    answers, lines = [], None
    for line in program.output.decode().splitlines():
        if line.startswith("process,pid,"):
            lines = 0
        elif line.startswith("child "):
            assert line == "child 0"
            answers.append(lines)
            lines = None
        elif lines is not None:
            lines += re.match(rf"[\d.]+,{program.pid},", line) is not None
    assert answers == [1, 0] * rounds


def test_all_that_was_before_the_question_is_in_the_answer(tmp_path, server, library):
    """Asked sooner than the server looks for records by itself, which is every two milliseconds."""
    rounds = 100
    program = server.start("mesh m 2\n" + rounds * "alloc a m DRAM 2048 2048\nwait held\nfree a\nwait freed\n", tmp_path,
                           lib=library)
    with Connection(server.socket) as connection:
        for i in range(rounds):
            for stop, live in (("held", 1), ("freed", 0)):
                program.ready(stop)
                connection.request("dump", format="json", pids=[program.pid])
                process, = json.loads(connection.answer()[1])["processes"]
                harness.counts(process, live=live, allocated=i + 1)
                program.go()
    assert program.wait() == 0


def test_who_was_killed_is_gone(tmp_path, server, library):
    for i in range(20):
        program = server.start("mesh m 2\nmany a 3 m DRAM 2048 2048\nwait x", tmp_path, lib=library)
        program.ready("x")
        assert server.process(program.pid)["live"] == 3
        os.kill(program.pid, signal.SIGKILL)
        assert program.wait() == -signal.SIGKILL
        assert server.process(program.pid) is None
        assert f"process {program.pid} is not there" in refused(server, "dump", "-p", program.pid)


def test_programs_that_ran_before(tmp_path, library, server):
    """The stand-in has no books to read, so that what it held already is not known is said."""
    program = Program(harness.standin("mesh m 2\nalloc a m DRAM 2048 2048\nwait old\nalloc b m DRAM 2048 2048\nwait new",
                                      lib=library, load=False), tmp_path)
    program.ready("old")
    second = Server(tmp_path, name="second")
    second.observing(program.pid)
    program.go()
    program.ready("new")
    process = only(second.dump("-p", program.pid), program.pid)
    harness.counts(process, allocated=1, live=1)
    assert not process["exact"]
    second.stop()


# ---- who may see what ----

def as_user(uid, gid=65534, groups=()):
    return {"user": uid, "group": gid, "extra_groups": list(groups), "cwd": "/"}


def with_groups(line):
    """A prefix that gives a server its own /etc/group, with the group "bufscope" as @line or without it."""
    script = ('f=$(mktemp) && { grep -v ^bufscope: /etc/group; echo "$1"; } >"$f" && mount --bind "$f" /etc/group && '
              'rm "$f" && shift && exec "$@"')
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", line]


@pytest.fixture
def shared(tmp_path):
    """A server with a group "bufscope", and a program each of root and two users."""
    server = Server(tmp_path, prefix=with_groups(f"bufscope:x:{GROUP}:"))
    library = copy_for_all(server, harness.library("pimpl"))
    workload = copy_for_all(server, harness.WORKLOAD)
    server.client = copy_for_all(server, harness.BUFSCOPE)
    server.pids = {}
    for uid, chip in ((0, 1), (ALICE, 2), (BOB, 3)):
        command = harness.standin(f"chip c {chip}\nfill a c DRAM 1073741824 2048\nwait x", lib=library)
        program = Program([workload, *command[1:]], tmp_path, f"program{uid}", user=uid, group=65534, extra_groups=[])
        server.loaded(program)
        program.ready("x")
        server.pids[uid] = program.pid
    yield server
    server.stop()


def seen_by(server, uid, gid=65534, groups=(), **options):
    """Which of the three programs an answer to this user is about."""
    with user(uid, gid, groups):
        end, text = ask(server.socket, "dump", format="json", **options)
    assert end["exit"] == 0, end
    pids = {process["pid"] for process in service.checked(text)["processes"]}
    return {uid for uid, pid in server.pids.items() if pid in pids}, len(pids)


def test_who_sees_what(shared):
    everyone = {0, ALICE, BOB}
    assert seen_by(shared, 0)[0] == everyone
    assert seen_by(shared, ALICE) == ({ALICE}, 1)
    assert seen_by(shared, BOB) == ({BOB}, 1)
    assert seen_by(shared, 61004) == (set(), 0)
    assert seen_by(shared, ALICE, gid=GROUP)[0] == everyone
    assert seen_by(shared, ALICE, groups=(4, GROUP, 5))[0] == everyone
    assert seen_by(shared, ALICE, gid=0, groups=(0, 4)) == ({ALICE}, 1)
    report = service.checked(shared.ask("dump", "--format", "json", "--user", ALICE))
    assert [process["pid"] for process in report["processes"]] == [shared.pids[ALICE]]
    assert seen_by(shared, ALICE, users=[BOB]) == (set(), 0)
    assert seen_by(shared, 0, users=[ALICE, BOB])[0] == {ALICE, BOB}


def test_what_may_not_be_seen_does_not_exist(shared):
    """Somebody else's process reads as one that is not there; so does a device that only others use."""
    def told(*options, uid=ALICE):
        shown = subprocess.run([shared.client, *shared.command("dump")[1:], *map(str, options)], capture_output=True,
                               text=True, stdin=subprocess.DEVNULL, **as_user(uid))
        return shown.returncode, re.sub(r"\d+", "N", shown.stdout), re.sub(r"\d+", "N", shown.stderr)
    assert told("-p", shared.pids[ALICE])[0] == 0
    assert told("-p", shared.pids[BOB], uid=BOB)[0] == 0
    nothing = told("-p", NOBODY_THERE)
    assert nothing[0] == 1 and "process N is not there" in nothing[2]
    assert told("-p", shared.pids[BOB]) == told("-p", shared.pids[0]) == nothing
    assert told("-p", shared.pids[ALICE], "-p", shared.pids[BOB]) == nothing
    nothing = told("--device", 77)
    assert nothing[0] == 1 and "device N" in nothing[2]
    assert told("--device", 3) == told("--device", 1) == nothing
    assert told("--device", 2)[0] == 0
    # In no format, and to no filter, is there a word of the others.
    for options in ([], ["--format", "json"], ["--format", "csv"], ["--sort", "pid", "--buffers", "all"]):
        shown = subprocess.run([shared.client, *shared.command("dump")[1:], *options], capture_output=True, text=True,
                               stdin=subprocess.DEVNULL, **as_user(ALICE))
        assert shown.returncode == 0 and str(shared.pids[ALICE]) in shown.stdout
        for other in (BOB, 0):
            assert not re.search(rf"\b{shared.pids[other]}\b", shown.stdout)


def test_memory_that_ran_out_names_no_others(tmp_path, shared):
    """Two users on one device, and no room for a third: each is told who of their own holds it."""
    library, workload = (os.path.join(shared.place, os.path.basename(p)) for p in (harness.library("pimpl"), harness.WORKLOAD))
    command = harness.standin("chip c 3\nfill a c DRAM 1073741824 2048\nwait x", lib=library)
    program = Program([workload, *command[1:]], tmp_path, "second", user=ALICE, group=65534, extra_groups=[])
    shared.loaded(program)
    program.ready("x")
    holders = {}
    for uid in (0, ALICE):
        with user(uid):
            text = ask(shared.socket, "dump", format="json", pids=[program.pid])[1]
        failure, = service.checked(text)["processes"][0]["failed_allocations"]
        holders[uid] = {holder["pid"] for holder in failure["holders"]}
    assert holders[0] >= {program.pid, shared.pids[BOB]}
    assert holders[ALICE] == {program.pid}


def test_no_group(tmp_path):
    """One line says so, and only root sees all."""
    server = Server(tmp_path, prefix=with_groups("other:x:61009:"))
    said = [line for line in server.stderr().splitlines() if 'no group "bufscope"' in line]
    assert len(said) == 1, server.stderr()
    with user(ALICE, gid=GROUP, groups=[GROUP]):
        end, text = ask(server.socket, "dump")
    assert end["exit"] == 0 and "No process of yours uses a device runtime." in text
    server.stop()


# ---- what holds a service up ----

LEASE = """
import fcntl, mmap, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_RDONLY)
mapped = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("ready leased", flush=True)
sys.stdin.readline()
"""


def leases(path):
    """What /proc/locks says of leases on the file."""
    inode = f":{os.stat(path).st_ino} "
    with open("/proc/locks") as file:
        return [line.split()[2:4] for line in file if inode in line and "LEASE" in line]


def test_a_lease_holds_nobody_up(tmp_path):
    """Opening a file whose lease somebody holds waits for 45 s, unless one says otherwise: the answer is there before."""
    library = tmp_path / "leased.so"
    shutil.copy(harness.library("pimpl"), library)
    holder = Program(["/usr/bin/python3", "-c", LEASE, str(library)], tmp_path, "holder")
    holder.ready("leased")
    assert leases(library) == [["ACTIVE", "WRITE"]]
    server = Server(tmp_path)
    server.ask("dump")
    assert leases(library) == [["BREAKING", "READ"]] or leases(library) == [["BREAKING", "UNLCK"]], leases(library)
    holder.go()
    assert holder.wait() == 0
    server.stop()


def test_signs_of_life(tmp_path):
    """systemd's watchdog is told again and again, also while nothing happens."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(harness.HANG_SECONDS)
        server = Server(tmp_path, env=dict(os.environ, NOTIFY_SOCKET=path, WATCHDOG_USEC="200000"))
        told = [manager.recv(4096).decode() for _ in range(5)]
        assert told == ["READY=1"] + 4 * ["WATCHDOG=1"]
        server.stop()
        while told[-1] == "WATCHDOG=1":
            told.append(manager.recv(4096).decode())
        assert told[-1] == "STOPPING=1"
