# SPDX-License-Identifier: BSD-2-Clause
"""`bufscope serve` and `dump`: what is asked is answered, of this moment, to those who may know."""
import shutil

import pytest

import harness
from service import Server

ALLOCATE = "mesh m 2\nmany a 3 m DRAM 2048 2048\nalloc b m L1 4096 2048\nfree a0\nbooks x\nwait x"


@pytest.fixture
def library(tmp_path):
    """A copy that no other program on this machine maps."""
    path = tmp_path / "libstandin_tt_metal.so"
    shutil.copy(harness.library("pimpl"), path)
    return str(path)


@pytest.fixture
def server(tmp_path):
    """Its end is part of each test: exit status 0, and nothing left."""
    server = Server(tmp_path)
    yield server
    if server.popen.poll() is None:
        server.stop()


def test_live_buffers(tmp_path, server, library):
    program = server.start(ALLOCATE, tmp_path, lib=library)
    books = program.ready("x")
    process, = server.dump("-p", program.pid)["processes"]
    harness.assert_equals_books(process, books)
    harness.counts(process, allocated=4, freed=1, live=3)
    assert process["exact"], process["inexact_reasons"]
