# SPDX-License-Identifier: BSD-2-Clause
"""
The service for weeks: what it takes when nothing happens, when many processes come and go, and when it runs
out of something. Each test looks at its own processes only; figures are compared within one run.
"""
import collections
import os
import re
import resource
import shutil
import subprocess

import pytest

import harness
from harness import Program
from service import Server
from test_machine import standin


MANY = os.path.join(harness.BUILD, "tests", "standin", "standin-many")
PROCESSES = int(os.environ.get("BUFSCOPE_SOAK_PROCESSES", "4000"))


class Many(Program):
    """Starts processes that use the runtime, one after the other (tests/standin/many.c)."""

    def make(self, number):
        self.popen.stdin.write(b"%d\n" % number)
        self.popen.stdin.flush()
        assert self.line() == f"done {number}", self.stderr()


def own_memory(server):
    """What the service has allocated; the ring's mapping, which is always there, is not in it."""
    with open(f"/proc/{server.pid}/status") as file:
        return 1024 * int(re.search(r"^RssAnon:\s+(\d+) kB$", file.read(), re.MULTILINE).group(1))


def descriptors(server):
    """How many, but for libraries and their links: one that somebody else maps meanwhile has some, too."""
    links = []
    for entry in os.scandir(f"/proc/{server.pid}/fd"):
        try:
            links.append(os.readlink(entry.path))
        except FileNotFoundError:
            continue            # of an answer, say
    return len([link for link in links if link[0] != "/" and "bpf_link" not in link])


@pytest.fixture
def library(tmp_path):
    """A copy that no other program on this machine maps."""
    path = tmp_path / "libstandin_tt_metal.so"
    shutil.copy(harness.library("pimpl"), path)
    return str(path)


def test_out_of_descriptors(tmp_path, library):
    """It is told once, not for each process; when there are some again, what was missed is found."""
    server = Server(tmp_path, ["--verbose"])
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    assert soft == hard         # what it was started with is not what it makes do with
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (0, hard))
    programs = []
    for i in range(3):
        programs.append(Program(standin("load\nwait loaded", library), tmp_path, f"program{i}"))
        programs[i].ready("loaded")
        server.wait_stderr("no file descriptor is left")
    # In between it has tried again, and more than once.
    server.wait_stderr("(?s)no file descriptor.*a look at all.*a look at all")
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
    for program in programs:
        server.observing(program.pid)
    assert len(re.findall("no file descriptor is left|cannot look at all processes", server.stderr())) == 1, server.stderr()
    server.stop()


def test_an_answer_does_not_copy_the_ring(tmp_path):
    """Each answer is made by a forked child; the page tables of the ring would be most of what a fork takes."""
    server = Server(tmp_path, ["--ring-size", "1M"])
    with open(f"/proc/{server.pid}/smaps") as file:
        flags = re.findall(r"anon_inode:bpf-map\nSize: +(\d+) kB(?:\n.*?)*?\nVmFlags: (.*)", file.read())
    ring, = (words.split() for size, words in flags if int(size) == 2 * 1024 + 4)
    assert "dc" in ring
    server.stop()


def test_many_short_processes(tmp_path, library):
    """
    Weeks of uptime in short: memory and descriptors after the last of N processes that all used a device are
    those after N / 10. BUFSCOPE_SOAK_PROCESSES=100000 for the real thing.
    """
    server = Server(tmp_path)
    at_start = descriptors(server)
    Program(standin("load\nwait loaded\nwait end", library), tmp_path, "opener").ready("loaded")
    many, stays = Many([MANY, library], tmp_path, "many"), Many([MANY, library, "5"], tmp_path, "stays")
    figures = []
    for number in (PROCESSES // 10, PROCESSES - PROCESSES // 10):
        many.make(number)
        stays.make(1)
        report = server.dump()
        figures.append((own_memory(server), descriptors(server)))
    found = [process for process in report["processes"] if process["live"] == 5 and process["allocated"] == 8
             and process["command"][:1] == [MANY]]
    print(f"{PROCESSES} processes: memory {figures[0][0]} -> {figures[1][0]} bytes, descriptors {at_start}, {figures}")
    assert len(found) == 2 and all(process["exact"] for process in found), report["processes"]
    (before, _), (after, open_now) = figures
    # What others do meanwhile may leave some megabytes in the allocator; 100,000 times 126 bytes are more.
    assert after < before + (12 << 20)
    assert open_now == at_start
    server.stop()


def bytes_read(pid):
    with open(f"/proc/{pid}/io") as file:
        return int(re.search(r"^rchar: (\d+)$", file.read(), re.MULTILINE).group(1))


def test_who_uses_no_device_is_not_looked_at(tmp_path):
    """
    Once its files are known, the start of a program makes the service read nothing: neither the list of its
    mappings nor a file. Others may keep it busy meanwhile, so the best of some rounds counts: what is read for
    each program would show in every round.
    """
    server = Server(tmp_path)
    read = []
    for _ in range(25):
        before = bytes_read(server.pid)
        shells = [subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE) for _ in range(10)]
        server.ask("dump")      # what was mapped has been looked at when it is answered
        read.append((bytes_read(server.pid) - before) / len(shells))
        for shell in shells:
            shell.communicate(b"\n")
    print("bytes read for each program:", *(f"{n:.0f}" for n in read))
    assert min(read) < 200
    server.stop()
