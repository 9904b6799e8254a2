# SPDX-License-Identifier: BSD-2-Clause
"""
A ring that is too small or a reader that does not come: what is lost is said to the record; what ends a
process or begins one is not lost; with --lossless nothing is, and nobody stays stopped, whatever becomes
of bufscope. And the reader that sleeps is woken.
"""
import collections
import json
import os
import random
import re
import select
import signal
import time

import pytest

import harness
from harness import Program, attach, counts, process_of

BOTH = pytest.mark.parametrize("links", ((), ("--perf-links",)), ids=("multi", "perf"))


def idle(script, folder, name="program"):
    """A stand-in program that has its library and has allocated nothing, so that `attach` is exact."""
    program = Program(harness.standin("load\nwait idle\n" + script, load=False), folder, name)
    program.ready("idle")
    return program


def step(program, ready):
    program.go()
    return program.ready(ready)


def end(program, status=0):
    program.go()
    assert program.wait() == status


def until(condition, what):
    """For states that only /proc tells of."""
    deadline = time.monotonic() + harness.HANG_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.001)


def state(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def freeze(program):
    """A child of ours; returns when all its threads are stopped."""
    os.kill(program.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, program.pid, os.WSTOPPED)


def thaw(program):
    os.kill(program.pid, signal.SIGCONT)


def events(path):
    with open(path) as file:
        # The last line may still be on its way.
        return [json.loads(line) for line in file if line.endswith("\n")]


def lost_by_kind(path):
    """pid -> what the event lines say was lost."""
    lost = collections.defaultdict(collections.Counter)
    for event in events(path):
        if event["event"] == "lost":
            lost[int(event["process"].split(".")[0])].update(
                {kind: event[kind] for kind in ("allocations", "frees", "others")})
    return lost


def guard_of(bufscope):
    with open(f"/proc/{bufscope.pid}/task/{bufscope.pid}/children") as file:
        children = [int(pid) for pid in file.read().split()]
    for pid in children:
        with open(f"/proc/{pid}/comm") as file:
            if file.read().strip() == "tracer-guard":
                return pid
    raise AssertionError(f"no guard among {children}")


def gone(pidfd):
    return bool(select.select([pidfd], [], [], harness.HANG_SECONDS)[0])


# --- the account of what is lost ---

@BOTH
def test_loss_is_exact_per_process_and_kind(links, tmp_path):
    """The reader is stopped and the ring full: every record that three processes then send is accounted for."""
    path = tmp_path / "events.ndjson"
    filler = idle("mesh m 1\nalloc a m DRAM 4096 2048\nwait ready\nmany f 100 m L1 2048 2048\nwait end\nexit-group 3",
                  tmp_path, "filler")
    holder = idle("mesh m 1\nmany h 10 m L1 2048 2048\nclose m\nwait ready\ndrop-all\nwait end\nexit-group 4", tmp_path,
                  "holder")
    threads = idle("mesh m 1\nalloc a m DRAM 4096 2048\nwait ready\nthreads 8 churn 500 m L1 2048 2048\nwait end\n"
                   "kill KILL", tmp_path, "threads")
    programs = (filler, holder, threads)
    bufscope = attach([program.pid for program in programs], tmp_path,
                      options=("--ring-size", "4K", "--events", str(path), *links))
    for program in programs:
        step(program, "ready")
        before = process_of(bufscope.snapshot(), program.pid)
        assert before["exact"], before["inexact_reasons"]
    counts(process_of(bufscope.snapshot(), holder.pid), held=10)    # and their destruction is watched from here on
    freeze(bufscope)
    for program in programs:
        step(program, "end")
    for program, status in zip(programs, (3, 4, -signal.SIGKILL)):
        end(program, status)
    thaw(bufscope)
    report, lost = bufscope.finish(), lost_by_kind(path)
    filled = process_of(report, filler.pid)
    assert 0 < filled["allocated"] - 1 < 100
    expected = {filler.pid: {"allocations": 100 - (filled["allocated"] - 1), "frees": 0, "others": 0},
                # The destructor is probed while objects are held: of a buffer, and of its view on the one chip.
                holder.pid: {"allocations": 0, "frees": 0, "others": 20},
                threads.pid: {"allocations": 4000, "frees": 4000, "others": 8000}}
    assert {pid: dict(kinds) for pid, kinds in lost.items()} == expected
    for pid, kinds in expected.items():
        process = process_of(report, pid)
        assert process["lost_records"] == sum(kinds.values())
        assert not process["exact"] and "lost-records" in [reason["reason"] for reason in process["inexact_reasons"]]
    assert report["lost_records"] == sum(sum(kinds.values()) for kinds in expected.values())
    assert not report["exact"]
    counts(process_of(report, threads.pid), allocated=1, freed=0, cleared=1)
    assert [process_of(report, program.pid)["end"]["code"] for program in programs] == [3, 4, None]


def test_life_of_processes_is_never_lost(tmp_path):
    """A flood of allocations leaves the room for closes, forks, execs and ends."""
    path = tmp_path / "events.ndjson"
    program = idle("mesh m 1\nalloc a m DRAM 4096 2048\nwait ready\nmany f 500 m L1 2048 2048\nclose m\n"
                   "fork\nexit-group 5\nendfork\nwait-child\nexec self echo x|wait end|exit-group 6", tmp_path)
    bufscope = attach([program.pid], tmp_path, options=("--ring-size", "16K", "--events", str(path)))
    step(program, "ready")
    assert bufscope.snapshot()["exact"]
    freeze(bufscope)
    step(program, "end")
    end(program, 6)
    thaw(bufscope)
    report = bufscope.finish()
    lost = lost_by_kind(path)[program.pid]
    assert lost["allocations"] > 300 and lost["frees"] == lost["others"] == 0
    seen = collections.Counter(event["event"] for event in events(path))
    assert seen["close"] and seen["fork"] == seen["exec"] == 1 and seen["exit"] == 2, seen
    ends = {(process["exec_count"], process["end"]["how"], process["end"]["code"]) for process in report["processes"]}
    assert (0, "exec", None) in ends, ends
    # The device's close was seen: what was allocated on it is held.
    closed = next(process for process in report["processes"] if process["end"]["how"] == "exec")
    assert closed["held_at_close"] == closed["allocated"] > 1


def test_ten_million_operations(tmp_path):
    """Eight threads at full speed, default settings: nothing is lost; if something were, it would be said."""
    program = idle("mesh m 1\nwait ready\nthreads 8 churn 625000 m L1 2048 2048\nwait end", tmp_path)
    bufscope = attach([program.pid], tmp_path)
    step(program, "ready")
    step(program, "end")
    process = process_of(bufscope.snapshot(), program.pid)
    end(program)
    bufscope.finish()
    assert process["allocated"] <= 5000000 and process["freed"] <= 5000000
    if process["exact"] and not process["resynchronised"]:
        counts(process, allocated=5000000, freed=5000000, lost_records=0, live=0)
    else:
        # A machine that did not let the reader run for half a second.
        assert process["resynchronised"] or process["lost_records"], process["inexact_reasons"]


# --- --lossless ---

FLOOD = "mesh m 1\nwait ready\nthreads 8 churn 12500 m L1 2048 2048\nwait end"
FLOOD_COUNTS = {"allocated": 100000, "freed": 100000, "lost_records": 0, "live": 0}


def lossless(script, folder, options=()):
    """The program, ready to flood a ring that is far too small, and bufscope."""
    program = idle(script, folder)
    bufscope = attach([program.pid], folder, options=("--lossless", "--ring-size", "64K", *options))
    step(program, "ready")
    assert bufscope.snapshot()["stops"] == 0
    return program, bufscope


@BOTH
def test_lossless(links, tmp_path):
    """Two processes with four threads each, a ring that holds a millisecond."""
    program, bufscope = lossless("mesh m 1\nwait ready\nfork\nmesh n 1\nthreads 4 churn 20000 n L1 2048 2048\n"
                                 "exit-group 0\nendfork\nthreads 4 churn 20000 m L1 2048 2048\nwait-child\nwait end",
                                 tmp_path, links)
    step(program, "end")
    end(program)
    report = bufscope.finish()
    assert report["exact"] and len(report["processes"]) == 2, report["processes"]
    for process in report["processes"]:
        counts(process, allocated=80000, freed=80000, lost_records=0, live=0)
    assert report["stops"] == sum(process["stops"] for process in report["processes"]) > 10
    assert report["stopped_ns"] == sum(process["stopped_ns"] for process in report["processes"]) > 0
    assert "guard" not in bufscope.stderr(), bufscope.stderr()


def test_lossless_text(tmp_path):
    """The text report says it too."""
    program = idle(FLOOD, tmp_path)
    bufscope = harness.Bufscope(["attach", "-p", str(program.pid), "--lossless", "--ring-size", "64K"], tmp_path)
    bufscope.wait_stderr("attached")
    step(program, "ready")
    step(program, "end")
    end(program)
    assert bufscope.wait() == 0
    text = bufscope.stderr()
    assert "Exact: every allocation and free was seen." in text, text
    assert "allocated 100000, freed 100000, live at the end 0" in text, text
    assert "so that nothing is lost (--lossless)" in text, text


@BOTH
def test_killed_while_the_workload_is_stopped(links, tmp_path):
    """The worst moment for SIGKILL: the workload waits for a reader that is never to come."""
    program, bufscope = lossless(FLOOD, tmp_path, links)
    guard = os.pidfd_open(guard_of(bufscope))
    freeze(bufscope)
    program.go()
    # Stopped by us; or, on a machine that did not let us run for seconds, continued by the guard already.
    os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WCONTINUED | os.WNOWAIT)
    os.kill(bufscope.pid, signal.SIGKILL)
    assert bufscope.wait() == -signal.SIGKILL
    program.ready("end")
    end(program)
    # Nor does the guard stay behind.
    assert gone(guard)
    os.close(guard)


def test_hung_while_the_workload_is_stopped(tmp_path):
    """SIGSTOP to bufscope: the guard lets the workload go on, and nothing is stopped until bufscope is back."""
    program, bufscope = lossless(FLOOD.replace("wait end", "wait end\nthreads 8 churn 12500 m L1 2048 2048\nwait more"),
                                 tmp_path)
    freeze(bufscope)
    step(program, "end")
    assert state(program.pid) != "T"
    thaw(bufscope)
    bufscope.wait_stderr("its guard continued")
    hung = bufscope.snapshot()
    assert hung["stops"] >= 1 and hung["stopped_ns"] > 0
    # What it missed is rebuilt from memory, and from here on nothing is lost any more.
    before = process_of(hung, program.pid)
    assert before["lost_records"] or before["resynchronised"]
    step(program, "more")
    after = bufscope.snapshot()
    process = process_of(after, program.pid)
    assert process["lost_records"] == before["lost_records"] and after["stops"] > hung["stops"]
    assert process["allocated"] - before["allocated"] == 100000
    end(program)
    bufscope.finish()


def test_without_its_guard_nothing_is_stopped(tmp_path):
    """Somebody kills the guard: it is said, and back-pressure is off, as nobody would undo it."""
    program, bufscope = lossless(FLOOD, tmp_path)
    os.kill(guard_of(bufscope), signal.SIGKILL)
    bufscope.wait_stderr("its guard, process [0-9]+, is gone")
    freeze(bufscope)
    step(program, "end")
    thaw(bufscope)
    assert bufscope.snapshot()["stops"] == 0
    end(program)
    bufscope.finish()


def test_signals_to_the_group_do_not_reach_the_guard(tmp_path):
    """Ctrl-C, Ctrl-Z and kill -9 of the whole group: the guard is in a session of its own."""
    program = idle(FLOOD, tmp_path)
    bufscope = attach([program.pid], tmp_path, options=("--lossless", "--ring-size", "64K"), start_new_session=True)
    step(program, "ready")
    pid = guard_of(bufscope)
    assert os.getsid(pid) == pid != os.getsid(bufscope.pid)
    guard = os.pidfd_open(pid)
    freeze(bufscope)
    program.go()
    os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WCONTINUED | os.WNOWAIT)
    os.killpg(bufscope.pid, signal.SIGINT)
    os.killpg(bufscope.pid, signal.SIGTERM)
    os.killpg(bufscope.pid, signal.SIGKILL)
    assert bufscope.wait() == -signal.SIGKILL
    program.ready("end")
    end(program)
    assert gone(guard)
    os.close(guard)


def test_detached_while_the_workload_is_stopped(tmp_path):
    """An ordinary end: nobody is left stopped, nothing is left behind."""
    program, bufscope = lossless(FLOOD, tmp_path)
    guard = os.pidfd_open(guard_of(bufscope))
    freeze(bufscope)
    program.go()
    os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WCONTINUED | os.WNOWAIT)
    os.kill(bufscope.pid, signal.SIGINT)
    thaw(bufscope)
    assert bufscope.finish()["stops"] >= 1
    assert gone(guard)
    os.close(guard)
    program.ready("end")
    end(program)


def test_workload_killed_while_stopped(tmp_path):
    """Its end comes through, and so does the time it was stopped."""
    program, bufscope = lossless(FLOOD, tmp_path)
    freeze(bufscope)
    program.go()
    os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WCONTINUED | os.WNOWAIT)
    os.kill(program.pid, signal.SIGKILL)
    assert program.wait() == -signal.SIGKILL
    thaw(bufscope)
    report = bufscope.finish()
    assert process_of(report, program.pid)["end"]["signal"] == signal.SIGKILL
    assert report["stops"] == 1 and report["stopped_ns"] > 0


def test_stop_of_another_stays(tmp_path):
    """Who is stopped by us, and meanwhile by somebody else as well, goes on when that one says so."""
    program, bufscope = lossless(FLOOD, tmp_path)
    freeze(bufscope)
    program.go()
    os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WCONTINUED | os.WNOWAIT)
    os.kill(program.pid, signal.SIGSTOP)
    thaw(bufscope)
    # Twice, as the first snapshot may be of the round in which the ring is emptied.
    stops = [bufscope.snapshot()["stops"] for _ in range(2)]
    assert stops == [1, 1]
    assert state(program.pid) == "T"
    thaw(program)
    program.ready("end")
    process = process_of(bufscope.snapshot(), program.pid)
    counts(process, **FLOOD_COUNTS)
    assert process["exact"] and process["stops"] > 1
    end(program)
    bufscope.finish()


def test_stopped_by_another_first(tmp_path):
    """A stop that is not ours is none of our business."""
    program, bufscope = lossless(FLOOD, tmp_path)
    program.go()
    freeze(program)
    before = bufscope.snapshot()
    after = bufscope.snapshot()
    assert state(program.pid) == "T" and after["stops"] == before["stops"]
    thaw(program)
    program.ready("end")
    counts(process_of(bufscope.snapshot(), program.pid), **FLOOD_COUNTS)
    end(program)
    bufscope.finish()


def test_stopped_by_another_again_and_again(tmp_path):
    """
    Only one thread is told of a stop by another, and that one may have to wait for a processor while the
    others fill the ring: they stop, too.
    """
    dice = random.Random(1)
    for attempt in range(10):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        program, bufscope = lossless("mesh m 1\nwait ready\nthreads 32 churn 4000 m L1 2048 2048\nwait end", folder)
        program.go()
        for _ in range(20):
            # It is to be hit while it runs, and has one processor: this test takes the other.
            then = time.monotonic() + dice.random() / 100
            while time.monotonic() < then:
                pass
            freeze(program)
            thaw(program)
        program.ready("end")
        counts(process_of(bufscope.snapshot(), program.pid), allocated=128000, freed=128000, lost_records=0, live=0)
        end(program)
        bufscope.finish()


# --- waking up ---

def asleep(pid):
    """How often it has gone to sleep, if it is in epoll_wait(2) without a time-out: only a wake-up ends that. Else None."""
    with open(f"/proc/{pid}/syscall") as file:
        words = file.read().split()
    if words[0] != "232" or not int(words[4], 16) & 0x80000000:
        return None
    with open(f"/proc/{pid}/status") as file:
        return re.search(r"^voluntary_ctxt_switches:\s+(\d+)", file.read(), re.MULTILINE).group(1)


@BOTH
def test_the_sleeping_reader_is_woken(links, tmp_path):
    """
    An event line appears while nothing else happens. Other programs that map files wake every reader: a
    second one, of a program that does nothing, tells whether that was the reason.
    """
    path, rounds = tmp_path / "events.ndjson", 300
    program = idle("mesh m 1\nwait 0\n" + "".join(
        f"alloc a{i} m DRAM 4096 2048\nwait {i + 1}\n" for i in range(rounds)), tmp_path)
    other = idle("exit 0", tmp_path, "other")
    control = attach([other.pid], tmp_path, name="control")
    bufscope = attach([program.pid], tmp_path, options=("--events", str(path), *links))
    step(program, "0")
    alone = 0
    for i in range(rounds):
        until(lambda: asleep(bufscope.pid) and asleep(control.pid), "the readers do not go to sleep")
        before = asleep(control.pid)
        step(program, str(i + 1))
        until(lambda: sum(event["event"] == "allocate" for event in events(path)) == i + 1, "no line")
        alone += before is not None and asleep(control.pid) == before
        if alone == 3:
            break
    assert alone == 3, f"in {rounds} rounds {alone} lines came by themselves"
    for reader in (bufscope, control):
        os.kill(reader.pid, signal.SIGINT)
        reader.finish()
