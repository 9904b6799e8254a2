# SPDX-License-Identifier: BSD-2-Clause
"""
The service for weeks: what it takes when nothing happens, when many processes come and go, and when it runs
out of something. Each test looks at its own processes only; figures are compared within one run.
"""
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
