# SPDX-License-Identifier: BSD-2-Clause
"""How processes live and end: fork, exec, threads, signals, pools."""
import json
import os
import signal

import pytest

import harness
from harness import counts, process_of, run, run_standin
from test_library_life import assert_stop, program


def last_report(script, folder, status=0, layout="pimpl", **kwargs):
    return run_standin(script, folder, layout, **kwargs).finish(status)


# --- processes ---

def test_killed_in_the_middle(tmp_path, layout):
    bufscope = run_standin("mesh m 8\nmany a 50 m DRAM 8192 2048\nfree a7\nbooks x\nwait x", tmp_path, layout)
    books = bufscope.ready("x")
    os.kill(books["pid"], signal.SIGKILL)
    process = harness.only_process(bufscope.finish(128 + signal.SIGKILL))
    harness.assert_equals_books(process, books)
    counts(process, allocated=50, freed=1, live=49, cleared=49)
    assert process["end"] == dict(process["end"], how="signal", signal=signal.SIGKILL, code=None)
    assert process["exact"]


def test_leader_thread_exits_first(books_test, layout):
    """The process lives until its last thread ends; its leader is a zombie meanwhile."""
    process = books_test("""
        mesh m 2
        many a 3 m DRAM 8192 2048
        leader-exit
        free a0
        alloc b m L1 8192 2048
        books leaderless
        wait leaderless
        exit-group 9
        """, layout, status=9)
    counts(process, allocated=4, freed=1, live=3, cleared=3)


def test_forked_child_has_no_buffers(tmp_path, layout):
    """A child inherits no device memory. Its frees of inherited objects are not its parent's."""
    bufscope = run_standin("""
        mesh m 2
        many a 3 m DRAM 8192 2048
        fork
        alloc b m L1 8192 2048
        free a0
        endfork
        wait-child
        books x
        wait x
        """, tmp_path, layout)
    books = bufscope.ready("x")
    harness.assert_equals_books(process_of(bufscope.snapshot(), books["pid"]), books)
    bufscope.go()
    report = bufscope.finish()
    child, = [p for p in report["processes"] if p["parent"] == process_of(report, books["pid"])["id"]]
    counts(child, before_attach=0, allocated=1, freed=0, live=1, cleared=1)
    assert [free["verdict"] for free in child["unmatched_frees"]] == ["inherited"]
    counts(process_of(report, books["pid"]), allocated=3, freed=0, live=3)


def test_children_are_not_followed_when_asked(tmp_path):
    report = last_report("mesh m 2\nalloc a m DRAM 2048 2048\nfork\nalloc b m L1 2048 2048\nendfork\nwait-child",
                         tmp_path, options=["--no-follow"])
    counts(harness.only_process(report), allocated=1)


def test_child_outlives_the_command(tmp_path):
    """`run` waits for all followed descendants."""
    bufscope = run_standin("fork\nmesh m 2\nalloc a m DRAM 2048 2048\nbooks x\nwait x\nendfork\nexit-group 5", tmp_path)
    books = bufscope.ready("x")
    harness.assert_equals_books(process_of(bufscope.snapshot(), books["pid"]), books)
    bufscope.go()
    process = process_of(bufscope.finish(5), books["pid"])
    counts(process, allocated=1, cleared=1)


def test_no_wait(tmp_path):
    bufscope = run_standin("fork\nmesh m 2\nalloc a m DRAM 2048 2048\nbooks x\nwait x\nendfork\nwait go\nexit-group 5",
                           tmp_path, options=["--no-wait"])
    # Both wait on one stdin; which of the two a line reaches does not matter for the status.
    stops = {bufscope.line().split()[0] for _ in range(4)}
    assert {"books", "ready", "forked"} <= stops
    bufscope.go()
    bufscope.go()
    bufscope.finish(5)


def test_vfork_and_exec(tmp_path, layout):
    script = tmp_path / "child.script"
    script.write_text("chip c 1\nalloc z c DRAM 4096 2048\n")
    bufscope = run_standin(f"""
        mesh m 2
        alloc a m DRAM 8192 2048
        vfork {harness.WORKLOAD} --library {harness.library(layout)} -f {script}
        wait-child
        free a
        books x
        wait x
        """, tmp_path, layout)
    books = bufscope.ready("x")
    harness.assert_equals_books(process_of(bufscope.snapshot(), books["pid"]), books)
    bufscope.go()
    report = bufscope.finish()
    child = [p for p in report["processes"] if p["runtimes"] and p["pid"] != books["pid"]]
    counts(child[-1], allocated=1, live=1, cleared=1)
    counts(process_of(report, books["pid"]), allocated=1, freed=1, live=0)


@pytest.mark.parametrize("command", ["exec", "thread-exec"])
def test_exec_ends_the_address_space(tmp_path, layout, command):
    """Also by a thread that is not the leader, whose id becomes the leader's."""
    bufscope = run_standin(f"""
        mesh m 2
        many a 5 m DRAM 8192 2048
        {command} self chip c 0|alloc b c L1 4096 2048|books x|wait x|exit 4
        """, tmp_path, layout)
    books = bufscope.ready("x")
    harness.assert_equals_books(process_of(bufscope.snapshot(), books["pid"]), books)
    bufscope.go()
    report = bufscope.finish(4)
    old, new = sorted((p for p in report["processes"] if p["runtimes"]), key=lambda p: p["exec_count"])
    assert old["pid"] == new["pid"] and new["parent"] == old["id"]
    assert old["end"]["how"] == "exec"
    counts(old, allocated=5, live=5, cleared=5)
    counts(new, allocated=1, before_attach=0, live=1, cleared=1)


def test_many_short_processes(tmp_path):
    script = "".join("fork\nchip c 0\nalloc a c DRAM 2048 2048\nendfork\nwait-child\n" for _ in range(50))
    report = last_report(script, tmp_path)
    children = [p for p in report["processes"] if p["parent"]]
    assert len(children) == 50
    for child in children:
        counts(child, allocated=1, cleared=1)


def test_workload_survives_the_tracer(tmp_path, layout):
    """Killing the tracer leaves the program running, unprobed."""
    bufscope = run_standin("mesh m 2\nalloc a m DRAM 2048 2048\nbooks x\nwait x\nchurn 1000 m DRAM 2048 2048\n"
                           "fork\nchurn 10 m DRAM 2048 2048\nendfork\nwait-child\nclose m\ndrop a\nbooks end\nwait end",
                           tmp_path, layout)
    bufscope.ready("x")
    bufscope.popen.kill()
    bufscope.go()
    assert bufscope.ready("end")["buffers"] == []
    bufscope.go()


def test_interrupt_reaches_the_command_once(tmp_path):
    """Ctrl-C: the terminal signals the whole foreground group; the summary is still written."""
    bufscope = run_standin("mesh m 2\nalloc a m DRAM 2048 2048\nbooks x\nwait x", tmp_path, start_new_session=True)
    books = bufscope.ready("x")
    os.killpg(bufscope.pid, signal.SIGINT)
    process = harness.only_process(bufscope.finish(128 + signal.SIGINT))
    harness.assert_equals_books(process, books)
    counts(process, live=1, cleared=1)


# --- ends ---

def test_segmentation_fault(tmp_path, layout):
    """A real one, in the middle of the program."""
    bufscope = run(program("fault", harness.library(layout)), tmp_path)
    bufscope.loaded()
    process = harness.only_process(bufscope.finish(128 + signal.SIGSEGV))
    counts(process, allocated=2, freed=1, live=1, cleared=1)
    assert process["exact"] and process["end"]["signal"] == signal.SIGSEGV


def test_abort_in_a_destructor(tmp_path, layout):
    """exit() has begun, destructors run, one of them aborts: what is alive then is cleared."""
    report = last_report("mesh m 2\nmany a 3 m DRAM 8192 2048\nfree a1\nabort-at-exit\nexit 0", tmp_path,
                         128 + signal.SIGABRT, layout)
    process = harness.only_process(report)
    counts(process, allocated=3, freed=1, live=2, cleared=2)
    assert process["exact"] and process["end"]["signal"] == signal.SIGABRT


def test_exit_with_threads_running(tmp_path, layout):
    """_exit() while eight threads allocate and free: each of them is stopped wherever it is."""
    bufscope = run(program("exit_with_threads", harness.library(layout)), tmp_path)
    bufscope.loaded()
    process = harness.only_process(bufscope.finish(7))
    assert process["exact"], process["inexact_reasons"]
    assert (process["end"]["how"], process["end"]["code"]) == ("exit", 7)
    # Eight threads have gone round ten times at least, and hold one buffer each at most.
    assert process["freed"] >= 80 and 1 <= process["cleared"] <= 9, process["cleared"]
    counts(process, unknown_frees=0, double_frees=0, missed_frees=0)


# --- threads ---

def test_leader_exits_and_others_allocate(books_test, layout):
    process = books_test("""
        mesh m 2
        many a 3 m DRAM 8192 2048
        leader-exit
        threads 16 alloc k% m L1 2048 2048
        threads 16 churn 50 m DRAM 4096 2048
        books allocated
        wait allocated
        threads 8 free k%
        books fewer
        wait fewer
        """, layout)
    counts(process, allocated=3 + 16 + 16 * 50, freed=16 * 50 + 8, live=11, cleared=11)


def test_threads_free_what_others_allocated(tmp_path, layout):
    bufscope = run(program("exchange", harness.library(layout)), tmp_path)
    bufscope.loaded()
    process = assert_stop(bufscope, "done")
    kept = len(process["buffers"])
    assert f"kept {kept}\n".encode() in bufscope.output
    counts(process, allocated=64 * 100, freed=64 * 100 - kept, unknown_frees=0, double_frees=0, missed_frees=0)
    bufscope.finish()


# --- families ---

def test_fork_and_exec(tmp_path, layout):
    """The child is another program; it starts empty, its parent's buffers stay."""
    bufscope = run_standin("""
        mesh m 2
        many a 2 m DRAM 8192 2048
        fork
        exec self chip c 1|alloc b c L1 4096 2048|books child|wait child
        endfork
        wait-child
        free a0
        books parent
        wait parent
        """, tmp_path, layout)
    child = assert_stop(bufscope, "child")
    parent = assert_stop(bufscope, "parent")
    report = bufscope.finish()
    counts(process_of(report, child["pid"]), before_attach=0, allocated=1, live=1, cleared=1)
    counts(process_of(report, parent["pid"]), allocated=2, freed=1, live=1)
    # Between the two there was the forked copy of the parent.
    assert process_of(report, child["pid"])["exec_count"] == 1


def test_daemon(tmp_path, layout):
    """Forked twice, in a session of its own: followed to its end, with the command's own status."""
    bufscope = run(program("daemon", harness.library(layout)), tmp_path)
    bufscope.loaded()
    process = assert_stop(bufscope, "daemon")
    counts(process, allocated=2, freed=1, live=1)
    process = process_of(bufscope.finish(3), process["pid"])
    counts(process, before_attach=0, allocated=2, freed=1, cleared=1)
    assert process["end"]["how"] == "exit" and process["exact"]


@pytest.mark.parametrize("method", ("fork", "spawn"))
def test_pool_of_processes(tmp_path, layout, method):
    """multiprocessing: six tasks in processes of two tasks each, forked or started anew."""
    bufscope = run(program("pool", harness.library(layout), method), tmp_path)
    bufscope.loaded()
    owner = assert_stop(bufscope, "done")
    counts(owner, allocated=2, live=2)
    pids = next(json.loads(line[6:]) for line in bufscope.output.decode().splitlines() if line.startswith("tasks "))
    report = bufscope.finish()
    assert len(set(pids)) >= 3, pids
    for pid in set(pids):
        process = process_of(report, pid)
        assert process["exact"], process["inexact_reasons"]
        tasks = pids.count(pid)
        counts(process, before_attach=0, allocated=2 * tasks, freed=tasks, cleared=tasks, unknown_frees=0)
