# SPDX-License-Identifier: BSD-2-Clause
"""--fail-if-any and --fail-above on `run` and `attach`: the exit status tells what remained."""
import os
import signal

import pytest

import harness
from harness import Program, attach, run_standin, standin
from test_plain_user import FakeSudo, finish, place, start  # noqa: F401
from test_ttnn import real

TWO = "mesh m 2\nalloc a m DRAM 8192 2048\nalloc b m L1 4096 2048\n"       # 24 KB over both chips
ANY = "bufscope: --fail-if-any: "


def gate_line(program):
    """What was said of a gate: one line or none."""
    said = [line for line in program.stderr().splitlines() if "--fail-" in line]
    assert len(said) < 2, said
    return said[0] if said else None


@pytest.mark.parametrize("script, options, status, line", (
    (TWO, ["--fail-if-any"], 3, ANY + "2 buffers (24.0 KB) still allocated"),
    (TWO + "free b", ["--fail-if-any"], 3, ANY + "1 buffer (16.0 KB) still allocated"),
    (TWO + "free a\nfree b", ["--fail-if-any"], 0, None),
    (TWO, ["--fail-above", "24K"], 0, None),
    (TWO, ["--fail-above", "24575"], 3, "bufscope: --fail-above: 24.0 KB still allocated, more than 24.0 KB"),
    (TWO + "free a", ["--fail-above", "0"], 3, "bufscope: --fail-above: 8.0 KB still allocated, more than 0 B"),
    (TWO, [], 0, None),
), ids=("any", "one", "none", "at-the-limit", "above", "above-nothing", "no-gate"))
def test_what_remained(tmp_path, script, options, status, line):
    bufscope = run_standin(script, tmp_path, options=options)
    bufscope.finish(status)
    assert gate_line(bufscope) == line


def test_held_buffers_count(tmp_path):
    bufscope = run_standin(TWO + "free b\nclose m", tmp_path, options=["--fail-if-any"])
    process = harness.only_process(bufscope.finish(3))
    assert (process["live"], process["held"]) == (0, 1)
    assert gate_line(bufscope) == ANY + "1 buffer (16.0 KB) still allocated, 1 of them held after their device was closed"


@pytest.mark.parametrize("end, plain", (("exit 7", 7), ("kill 9", 128 + signal.SIGKILL)))
def test_a_broken_gate_wins_over_the_command(tmp_path, end, plain):
    """3 always means the gate; how the command ended is in the report."""
    for name, script, status in (("broken", TWO, 3), ("kept", TWO + "free a\nfree b\n", plain)):
        bufscope = run_standin(script + end, tmp_path, options=["--fail-if-any"], name=name)
        process = harness.only_process(bufscope.finish(status))
        assert (process["end"]["code"] or 128 + (process["end"]["signal"] or 0)) == plain


def test_every_process_counts(tmp_path):
    """One of two remained in a child, and one was cleared by exec; both ended before the command did."""
    bufscope = run_standin("mesh m 1\nfork\nalloc a m DRAM 2048 2048\nendfork\nwait-child\nalloc b m DRAM 2048 2048\n"
                           "exec /bin/true", tmp_path, options=["--fail-if-any"])
    bufscope.finish(3)
    assert gate_line(bufscope) == ANY + "2 buffers (4.0 KB) still allocated"


def test_not_exact_is_not_let_through(tmp_path):
    """Nothing is in the table, but what the process had before nobody could tell."""
    program = Program(standin("mesh m 1\nalloc a m DRAM 2048 2048\nwait x", load=False), tmp_path)
    program.ready("x")
    bufscope = attach([program.pid], tmp_path, ["--fail-above", "1T"])
    program.go()
    assert program.wait() == 0
    report = bufscope.finish(3)
    assert not report["exact"]
    assert gate_line(bufscope) == "bufscope: --fail-above cannot be confirmed: the table is not exact (attached-late)"


@pytest.mark.parametrize("script, status", ((TWO, 3), (TWO + "free a\nfree b\n", 0)), ids=("remains", "freed"))
def test_attach_judges_the_end_of_watching(tmp_path, script, status):
    program = Program(standin(script + "wait x"), tmp_path)
    program.ready("loaded")
    bufscope = attach([program.pid], tmp_path, ["--fail-if-any"])
    bufscope.observing(program.pid)
    program.go()
    program.ready("x")
    os.kill(bufscope.pid, signal.SIGINT)
    report = bufscope.finish(status)
    assert report["exact"] and harness.process_of(report, program.pid)["end"]["how"] == "running"


@pytest.mark.parametrize("size", ("", "12x", "-1", "9223372036854775808"))
def test_no_size(tmp_path, size):
    for command, status in ((["run", "--fail-above", size, "--", "true"], 125),
                            (["attach", "--fail-above", size, "-p", "1"], 2)):
        bufscope = harness.Bufscope(command, tmp_path)
        assert bufscope.wait() == status
        assert gate_line(bufscope).startswith(
            f"bufscope {command[0]}: --fail-above takes a size such as 4096, 64K or 1G, not \"{size}\"")


@pytest.mark.parametrize("command, status", ((["demo-workload", "--kill"], 3), (["sh", "-c", "exit 7"], 7)),
                         ids=("broken", "kept"))
def test_as_a_plain_user(place, command, status):  # noqa: F811
    """The tracer judges, behind sudo; the status is the user's side's."""
    FakeSudo(place)
    got, _, errors = finish(start(place, "--fail-if-any", "--", *command))
    assert got == status, errors
    assert ("--fail-if-any: 381 buffers" in errors) == (status == 3)


def test_real_runtime(tmp_path):
    """Killed with its buffers; and one that frees all of them."""
    command, env = real("0.79.0", "n150", "hold", 12)
    bufscope = harness.run(command, tmp_path, ["--fail-if-any"], env=env)
    books = bufscope.ready("holding")
    os.kill(books["pid"], signal.SIGKILL)
    process = harness.process_of(bufscope.finish(3), books["pid"])
    assert process["cleared"] >= 12
    assert gate_line(bufscope).startswith(f"{ANY}{process['cleared']} buffers ")
