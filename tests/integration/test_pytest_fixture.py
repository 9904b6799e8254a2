# SPDX-License-Identifier: BSD-2-Clause
"""
docs/pytest.md as it stands, with the real runtime and pytest under the service: the four steps of
lifecycle.md, and at each of them the client, `bufscope dump` and the runtime's own books.
"""
import os
import signal
import subprocess

import pytest

import harness
import pytest_document
from harness import Program
from service import Server
from test_ttnn import TTNN, real, ttnn_setup

VERSION = "0.81.1"
STEPS = [("before-cleanup", 15, 0), ("after-close", 0, 15), ("after-gc", 0, 0)]
BOOKS = "import json\nimport os\nimport subprocess\n\nimport workload\n\n" + pytest_document.RECORDER + '''

class Recorder(workload.Program):
    def stop(self, name):
        record(name, self.ask(), {"pid": os.getpid(), "meshes": [mesh.books() for mesh in self.meshes]})


def test_books(device_memory):
    program = Recorder()
    program.ask = device_memory
    workload.four_steps(program, 15)


def test_added(added_memory):
    program = workload.Program()
    mesh = program.open()
    model = [program.tensor(mesh) for _ in range(3)]
    program.free(model.pop())
    change = added_memory()
    process, = change["processes"]
    assert (change["added_buffers"], process["exact"]) == (2, True)
    assert sorted(buffer["address"] for buffer in process["added"]) == sorted(tensor.buffer_address() for tensor in model)
    program.close(mesh)
'''


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture(params=("n150", "t3k"))
def kind(request):
    return request.param


@pytest.fixture
def inner(kind):
    """(python, environment, folders of modules) of a pytest with the real runtime."""
    try:
        python, env = ttnn_setup.environment(VERSION, kind)
        return python, env, (ttnn_setup.pytest_folder(python), TTNN)
    except ttnn_setup.Unavailable as reason:
        pytest.skip(str(reason))


def assert_bytes_equal_the_books(process, books):
    """Each buffer has a block at its address, on each of its chips, of the size that its pages take in a bank."""
    harness.assert_equals_runtime_books(process, books)
    for mesh in books["meshes"]:
        for kind, memory in mesh["types"].items():
            live = [buffer for buffer in process["buffers"] if buffer["state"] == "live" and buffer["type"] == kind
                    and sorted(buffer["on_devices"]) == sorted(mesh["chips"])]
            taken = [[buffer["address"], -(-buffer["size_bytes"] // buffer["page_size_bytes"] // memory["banks"])
                      * buffer["page_size_bytes"]] for buffer in live]
            assert sorted(taken) == memory["blocks"]
            assert sum(size for _, size in taken) == memory["bytes_per_bank"]


def test_four_steps(server, kind, inner, tmp_path):
    """Steps one to three in pytest; the fourth is a program that is killed meanwhile."""
    command, env = real(VERSION, kind, "hold", 9)
    killed = Program(command, tmp_path, env=env)
    books = killed.ready("holding")
    process, = server.dump("-p", killed.pid)["processes"]
    assert_bytes_equal_the_books(process, books)
    harness.counts(process, live=9, held=0)

    place = pytest_document.Place(server)
    place.write("conftest.py", pytest_document.block("# conftest.py"))
    place.write("test_books.py", BOOKS)
    if kind == "n150":
        place.write("test_four_steps.py", pytest_document.block("# test_four_steps.py"))
    try:
        results, output = place.pytest(*inner)
        records = place.records()
    finally:
        place.close()
    expected = ["test_books", "test_added"] + (["test_four_steps"] if kind == "n150" else [])
    assert results == dict.fromkeys(expected, "passed"), output
    for record in records:
        process = record["process"]
        assert process["exact"], process["inexact_reasons"]
        assert record["buffers"] == process["buffers"]
        assert_bytes_equal_the_books(process, record["books"])
    assert [(record["name"], record["process"]["live"], record["process"]["held"]) for record in records] == STEPS

    process, = server.dump("-p", killed.pid)["processes"]
    assert_bytes_equal_the_books(process, books)
    os.kill(killed.pid, signal.SIGKILL)
    killed.popen.wait(harness.HANG_SECONDS)
    assert killed.pid not in [process["pid"] for process in server.dump()["processes"]]
    assert "is not there" in subprocess.run(server.command("dump", "-p", killed.pid), capture_output=True, text=True).stderr
