# SPDX-License-Identifier: BSD-2-Clause
"""
The least privilege that works, as README ("Privileges") has it: bufscope as a user without rights,
with exactly the capabilities a task needs, and with each of them left out in turn. And what bufscope
gives up once it has started, of which its command inherits nothing.
"""
import os
import pathlib
import pwd
import re
import select
import shutil
import signal
import tempfile
import time

import pytest

import harness
from harness import Program, counts, process_of

USER = "nobody"
TRACE = ("bpf", "perfmon", "checkpoint_restore")
OTHERS = ("sys_ptrace", "dac_read_search")
PURPOSE = {
    "bpf": "loading BPF programs",
    "perfmon": "putting probes on functions and noticing new mappings",
    "checkpoint_restore": "opening the libraries that a process maps",
    "sys_ptrace": "looking into processes of other users",
    "dac_read_search": "opening /proc files of other users",
    "sys_admin": "perf links: probes on kernels before 6.6",
}


def as_nobody(capabilities=()):
    wanted = ",".join("+" + name for name in capabilities) or "-all"
    return ["setpriv", "--reuid", USER, "--regid", str(pwd.getpwnam(USER).pw_gid), "--clear-groups",
            "--inh-caps", wanted, "--ambient-caps", wanted, "--"]


class Place:
    """A folder that the user without rights can reach, with copies of what is run there."""

    def __init__(self, folder):
        folder.chmod(0o755)
        self.out = folder / "out"
        self.out.mkdir()
        os.chown(self.out, pwd.getpwnam(USER).pw_uid, -1)
        self.bufscope, self.workload, self.library = [
            shutil.copy(path, folder) for path in (harness.BUFSCOPE, harness.WORKLOAD, harness.library("pimpl"))]

    def script(self, *lines):
        return [self.workload, "--library", self.library, "\n".join(lines)]

    def program(self, *lines, user=USER):
        prefix = as_nobody() if user == USER else []
        return Program([*prefix, *self.script(*lines)], self.out)

    def start(self, capabilities, *arguments, through=()):
        report = self.out / "bufscope.json"
        command, *rest = arguments
        return harness.Bufscope([command, "--format", "json", "-o", report, *rest], self.out,
                                program=[*as_nobody(capabilities), *through, self.bufscope])


@pytest.fixture
def folder():
    """Not one of pytest's: it makes them root's own, at the start of every session on the machine."""
    with tempfile.TemporaryDirectory(prefix="bufscope-test-") as name:
        yield pathlib.Path(name)


@pytest.fixture
def place(folder):
    return Place(folder)


# ---- every task, with its set: README's table ----

def run(place, capabilities, *options):
    bufscope = place.start(capabilities, "run", *options, "--", *place.script(
        "load", "books loaded", "wait loaded", "mesh m 2", "alloc a m DRAM 2048 2048", "exit 7"))
    bufscope.loaded()
    process = harness.only_process(bufscope.finish(7))
    assert process["exact"], process["inexact_reasons"]
    counts(process, allocated=1, cleared=1)


def run_and_exec(place, capabilities):
    bufscope = place.start(capabilities, "run", "--", *place.script(
        "load", "books loaded", "wait loaded", "mesh m 2", "alloc a m DRAM 2048 2048",
        "exec self mesh m 2|alloc b m DRAM 2048 2048|alloc c m DRAM 2048 2048"))
    bufscope.loaded()
    processes = [process for process in bufscope.finish()["processes"] if process["runtimes"]]
    assert [(process["inexact_reasons"], process["allocated"]) for process in processes] == [([], 1), ([], 2)]


def attach(place, capabilities, *options, user=USER, load="load"):
    program = place.program(load, "wait idle", "load", "wait loaded", "mesh m 2", "alloc a m DRAM 2048 2048", "books x",
                            "wait x", user=user)
    program.ready("idle")
    bufscope = place.start(capabilities, "attach", *options, "-p", str(program.pid))
    bufscope.wait_stderr("attached|waiting")
    program.go()
    program.ready("loaded")
    bufscope.observing(program.pid)
    program.go()
    books = program.ready("x")
    process = process_of(bufscope.snapshot(), program.pid)
    harness.assert_equals_books(process, books)
    assert process["exact"], process["inexact_reasons"]
    program.go()
    assert program.wait() == 0
    assert bufscope.wait() == 0


def attach_to_another_users(place, capabilities):
    attach(place, capabilities, user="root")


def library_mapped_late(place, capabilities):
    attach(place, capabilities, user="root", load="echo nothing")


def verify(place, capabilities):
    attach(place, capabilities, "--verify", "0.01", user="root")


def run_with_perf_links(place, capabilities):
    run(place, capabilities, "--perf-links")


def census(place, capabilities, user=USER):
    """The stand-in has no books; that they are looked for tells that everything could be read."""
    program = place.program("load", "wait idle", user=user)
    program.ready("idle")
    bufscope = place.start(capabilities, "census", "-p", str(program.pid))
    assert bufscope.wait() == 1
    assert "the books of " + str(place.library) in bufscope.stderr()


def census_of_another_users(place, capabilities):
    census(place, capabilities, user="root")


TASKS = {
    run: TRACE,
    run_and_exec: TRACE,
    attach: TRACE,
    attach_to_another_users: TRACE + OTHERS,
    library_mapped_late: TRACE + OTHERS,
    verify: TRACE + OTHERS,
    run_with_perf_links: ("sys_admin",),
    census: ("checkpoint_restore",),
    census_of_another_users: ("checkpoint_restore",) + OTHERS,
}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_enough(place, task):
    task(place, TASKS[task])


# ---- each left out in turn ----

def refused(place, capabilities, missing, status, *arguments):
    bufscope = place.start(capabilities, *arguments)
    assert bufscope.wait() == status, bufscope.stderr()
    message = bufscope.stderr()
    assert message.count("\n") == 1, message
    assert f"CAP_{missing.upper()} is missing (for {PURPOSE[missing]})" in message
    assert set(re.findall("CAP_[A-Z_]+", message)) == {"CAP_" + missing.upper()}


@pytest.mark.parametrize("missing", TRACE)
def test_run_without(place, missing):
    """Neither sudo nor half a trace: the command is not started."""
    marker = place.out / "started"
    refused(place, set(TRACE) - {missing}, missing, 125, "run", "--", "touch", marker)
    assert not marker.exists()


def test_run_with_perf_links_without(place):
    marker = place.out / "started"
    refused(place, TRACE, "sys_admin", 125, "run", "--perf-links", "--", "touch", marker)
    assert not marker.exists()


@pytest.mark.parametrize("missing", TRACE + OTHERS)
def test_attach_without(place, missing):
    program = place.program("load", "wait idle", user="root")
    program.ready("idle")
    refused(place, set(TRACE + OTHERS) - {missing}, missing, 1, "attach", "-p", str(program.pid))


@pytest.mark.parametrize("missing", ("checkpoint_restore",) + OTHERS)
def test_census_without(place, missing):
    program = place.program("load", "wait idle", user="root")
    program.ready("idle")
    refused(place, {"checkpoint_restore", *OTHERS} - {missing}, missing, 1, "census", "-p", str(program.pid))


def test_a_process_that_becomes_another_users_is_not_called_exact(place):
    """
    With the rights for one's own processes only, a command that is root's afterwards (here: through a
    set-user-id copy) cannot be looked into; what it holds is then not known.
    """
    root = shutil.copy(place.workload, place.out / "root-workload")
    os.chmod(root, 0o4755)
    bufscope = place.start(TRACE, "run", "--", root, "--library", place.library, "load\nwait loaded\nexit 0")
    bufscope.ready("loaded")
    deadline = time.monotonic() + harness.HANG_SECONDS
    texts = ""
    while "CAP_SYS_PTRACE is missing" not in texts:
        assert time.monotonic() < deadline, texts
        process, = bufscope.snapshot()["processes"]
        texts = " ".join(reason["text"] for reason in process["inexact_reasons"])
    bufscope.go()
    report = bufscope.finish()
    assert not report["exact"] and not report["processes"][-1]["exact"]


def test_a_process_that_ends_while_it_is_looked_at(place):
    """The /proc files of a process that is ending are root's: that is no lack of rights."""
    gate = harness.Gate(place.out)
    os.chmod(gate.path, 0o666)
    variables = dict(gate.variables, LATE_WAKE_AT="map_files", LD_PRELOAD=shutil.copy(gate.variables["LD_PRELOAD"], place.out))
    bufscope = place.start(
        TRACE, "run", "--", *place.script("load", "books loaded", "wait loaded", "books later", "wait later",
                                          "exec self load|echo ready last|wait last|mesh m 2|alloc b m DRAM 2048 2048"),
        through=["env", *(f"{name}={value}" for name, value in variables.items())])
    bufscope.loaded()
    pid = bufscope.ready("later")["pid"]
    ended = os.pidfd_open(pid)
    with gate.stopped():
        bufscope.go()
        bufscope.ready("last")
    bufscope.go()
    assert select.select([ended], [], [], harness.HANG_SECONDS)[0]
    os.close(ended)
    gate.unlock()
    processes = [process for process in bufscope.finish()["processes"] if process["runtimes"]]
    assert [(process["inexact_reasons"], process["allocated"]) for process in processes] == [([], 0), ([], 1)]


# ---- what is given up ----

FIELDS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
KEPT = {"CAP_BPF": 39, "CAP_PERFMON": 38, "CAP_CHECKPOINT_RESTORE": 40, "CAP_SYS_PTRACE": 19, "CAP_DAC_READ_SEARCH": 2,
        "CAP_SYS_ADMIN": 21, "CAP_KILL": 5}
DAC_OVERRIDE = 1


def privileges(text):
    found = dict(re.findall(r"^(\w+):\s+(\w+)$", text, re.MULTILINE))
    return {field: found[field] for field in FIELDS}


def privileges_of(pid):
    with open(f"/proc/{pid}/status") as file:
        return privileges(file.read())


def assert_confined(pid, allowed):
    got = privileges_of(pid)
    assert (got["NoNewPrivs"], got["Seccomp"]) == ("1", "2")
    assert int(got["CapPrm"], 16) & ~sum(1 << bit for bit in allowed) == 0, got
    assert got["CapInh"] == got["CapAmb"] == "0" * 16, got
    return got


def test_the_command_inherits_nothing_of_it(tmp_path):
    """The collector is confined; its command is as it were without bufscope."""
    script = "cat /proc/self/status; echo ready x; read line"
    without = Program(["sh", "-c", script], tmp_path)
    without.ready("x")
    bufscope = harness.run(["sh", "-c", script], tmp_path)
    bufscope.ready("x")
    assert privileges(bufscope.output.decode()) == privileges(without.output.decode())
    assert privileges(bufscope.output.decode())["NoNewPrivs"] == "0"
    got = assert_confined(bufscope.pid, [*KEPT.values(), DAC_OVERRIDE])
    assert int(got["CapBnd"], 16) == 0
    bufscope.go()
    bufscope.finish()


def test_attach_is_confined(tmp_path):
    program = Program(harness.standin("load\nwait idle", load=False), tmp_path)
    program.ready("idle")
    bufscope = harness.Bufscope(["attach", "-p", str(program.pid)], tmp_path)
    bufscope.wait_stderr("attached")
    assert_confined(bufscope.pid, KEPT.values())
    os.kill(bufscope.pid, signal.SIGINT)
    assert bufscope.wait() == 0


def test_a_capability_that_was_not_given_is_not_there_afterwards(place):
    program = place.program("load", "wait idle")
    program.ready("idle")
    bufscope = place.start((*TRACE, "net_raw"), "attach", "-p", str(program.pid))
    bufscope.wait_stderr("attached")
    assert_confined(bufscope.pid, [KEPT["CAP_" + name.upper()] for name in TRACE])
    os.kill(bufscope.pid, signal.SIGINT)
    assert bufscope.wait() == 0


def test_signals_reach_a_command_of_another_user(folder):
    """--run-as: passing on SIGTERM needs CAP_KILL, which is kept for it."""
    bufscope = harness.run(["sh", "-c", "echo ready x; exec sleep 1000"], folder, options=["--run-as", USER])
    bufscope.ready("x")
    os.kill(bufscope.pid, signal.SIGTERM)
    bufscope.finish(128 + signal.SIGTERM)


def test_a_snapshot_in_a_folder_of_somebody_else(tmp_path):
    """sudo bufscope run -o FILE in one's own folder: root's right to write there is kept for the snapshots."""
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o755)
    os.chown(folder, pwd.getpwnam(USER).pw_uid, -1)
    bufscope = harness.run(["sh", "-c", "echo ready x; read line"], folder)
    bufscope.ready("x")
    assert bufscope.snapshot()["processes"]
    bufscope.go()
    bufscope.finish()
