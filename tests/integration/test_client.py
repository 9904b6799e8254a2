# SPDX-License-Identifier: BSD-2-Clause
"""
The client in Python and what docs/pytest.md and docs/protocol.md show, on the stand-in runtime. The same
with the real one: test_pytest_fixture.py.
"""
import ast
import json
import os
import re
import shutil
import socket
import struct
import sys
import threading

import pytest

import harness
import pytest_document
from service import Server

sys.path.append(os.path.dirname(pytest_document.CLIENT))
import bufscope_client  # noqa: E402

STANDIN = os.path.join(harness.ROOT, "tests", "standin")
NOBODY = 65534
HOLD = "mesh m 2\nmany a 3 m DRAM 2048 2048\nalloc b m L1 4096 2048\nfree a0\nbooks x\nwait x"
FOUR_STEPS = "import json\nimport os\nimport subprocess\n\nimport ttnn\n\n" + pytest_document.RECORDER + '''

def test_books(device_memory):
    device = ttnn.open_device(device_id=0)
    model = [ttnn.empty((1, 1, 32, 32 * (1 + i % 4)), ttnn.bfloat16, ttnn.TILE_LAYOUT, device,
                        ttnn.L1_MEMORY_CONFIG if i % 3 == 0 else ttnn.DRAM_MEMORY_CONFIG) for i in range(15)]
    record("before-cleanup", device_memory(), ttnn.books())
    ttnn.close_device(device)
    record("after-close", device_memory(), ttnn.books())
    del model
    record("after-gc", device_memory(), ttnn.books())
'''
LEAVES = '''
import ttnn

kept = []


def test_leaves_something(%s):
    device = ttnn.open_device(device_id=0)
    kept.append(ttnn.empty((1, 1, 32, 32), ttnn.bfloat16, ttnn.TILE_LAYOUT, device, ttnn.DRAM_MEMORY_CONFIG))
'''


ADDED = '''
import pytest
import ttnn


def some(device, count):
    return [ttnn.empty((1, 1, 32, 32), ttnn.bfloat16, ttnn.TILE_LAYOUT, device, ttnn.DRAM_MEMORY_CONFIG) for _ in range(count)]


@pytest.fixture(scope="module")
def device():
    device = ttnn.open_device(device_id=0)
    kept = some(device, 5)
    yield device
    del kept


def test_added(device, added_memory):
    model = some(device, 3)
    del model[0]
    change = added_memory()
    assert [change[key] for key in ("added_buffers", "freed_buffers", "stayed_buffers")] == [2, 0, 5]
    process, = change["processes"]
    assert [buffer["size_bytes"] for buffer in process["added"]] == [2048, 2048]
'''


@pytest.fixture
def library(tmp_path_factory):
    """A copy that no other program on this machine maps."""
    path = tmp_path_factory.mktemp("library") / "libstandin_tt_metal.so"
    shutil.copy(harness.library("pimpl"), path)
    return str(path)


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def program(server, tmp_path, library):
    """A stand-in program that stops at "x", with three buffers."""
    program = server.start(HOLD, tmp_path, lib=library)
    program.books = program.ready("x")
    return program


@pytest.fixture(params=(0, NOBODY), ids=("root", "nobody"))
def place(request, server, tmp_path):
    """Where pytest runs, as root and as a user who sees only what is their own."""
    place = pytest_document.Place(server, request.param)
    place.add(os.path.join(STANDIN, "programs.py"))
    place.add(os.path.join(STANDIN, "python", "ttnn.py"))
    library = place.environment["STANDIN_LIBRARY"] = place.add(harness.library("pimpl"))
    # The service has met the library: from now on processes are watched from their first allocation.
    server.start("wait known", tmp_path, "opener", library).ready("known")
    yield place
    place.close()


def test_the_fixture_has_four_lines():
    fixture, = [node for node in ast.parse(pytest_document.block("# conftest.py")).body
                if isinstance(node, ast.FunctionDef) and node.name == "device_memory"]
    assert fixture.body[-1].end_lineno - fixture.body[0].lineno + 1 == 4


def test_four_steps(place):
    """lifecycle.md: N live, N held, 0. Each time the client, `bufscope dump` and the program's books agree."""
    place.write("conftest.py", pytest_document.block("# conftest.py"))
    place.write("test_four_steps.py", pytest_document.block("# test_four_steps.py"))
    place.write("test_books.py", FOUR_STEPS)
    results, output = place.pytest()
    assert results == {"test_four_steps": "passed", "test_books": "passed"}, output
    seen = []
    for step in place.records():
        assert step["buffers"] == step["process"]["buffers"]
        harness.assert_equals_books(step["process"], step["books"])
        seen.append((step["name"], step["process"]["live"], step["process"]["held"]))
    assert seen == [("before-cleanup", 15, 0), ("after-close", 0, 15), ("after-gc", 0, 0)]


@pytest.mark.parametrize("name, said", (("device_memory", "1 buffers are still allocated"),
                                        ("added_memory", "4096 bytes more than before"),
                                        ("nothing_left", "--fail-if-any: 1 buffer (4.0 KB) still allocated")),
                         ids=("device_memory", "added_memory", "nothing_left"))
def test_what_is_left_is_told(place, name, said):
    place.write("conftest.py", pytest_document.block("# conftest.py"))
    place.write("test_clean.py", "import ttnn\n\n\ndef test_clean(%s):\n    ttnn.open_device(device_id=0)\n" % name)
    place.write("test_leaves.py", LEAVES % name)
    results, output = place.pytest()
    assert results == {"test_clean": "passed", "test_leaves_something": "error"}, output
    assert said in output
    assert name != "nothing_left" or re.search(r"^  added +1 buffers?, 4.0 KB", output, re.MULTILINE), output


def test_what_was_there_before_does_not_count(place):
    place.write("conftest.py", pytest_document.block("# conftest.py"))
    place.write("test_added.py", ADDED)
    results, output = place.pytest()
    assert results == {"test_added": "passed"}, output


def test_killed(server, program):
    """The fourth step: nothing is there as soon as the process is gone."""
    assert len(bufscope_client.buffers(program.pid, socket_path=server.socket)) == 3
    program.popen.kill()
    program.popen.wait()
    with pytest.raises(bufscope_client.Refused, match=f"process {program.pid} is not there"):
        bufscope_client.buffers(program.pid, socket_path=server.socket)
    assert program.pid not in [process["pid"] for process in bufscope_client.dump(socket_path=server.socket)["processes"]]


def test_the_protocols_own_client(server, program):
    """The example at the end of docs/protocol.md."""
    example, = pytest_document.blocks("protocol.md")
    found = {}
    exec(compile(example, "protocol.md", "exec"), found)
    exit_status, text = found["ask"]("dump", path=server.socket, format="json", pids=[program.pid])
    process, = json.loads(text)["processes"]
    harness.assert_equals_books(process, program.books)
    assert exit_status == 0
    assert found["ask"]("dump", path=server.socket, pids=[program.pid], fail_if_any=True)[0] == 3


def test_python_3_8_reads_the_client():
    with open(pytest_document.CLIENT) as file:
        lines = file.readlines()
    ast.parse("".join(lines), feature_version=(3, 8))
    assert len(lines) < 120


def test_what_is_asked_is_answered(server, program, monkeypatch):
    monkeypatch.setenv("BUFSCOPE_SOCKET", server.socket)
    process, = bufscope_client.dump(pids=[program.pid])["processes"]
    harness.assert_equals_books(process, program.books)
    assert bufscope_client.buffers(program.pid) == process["buffers"]
    assert [buffer["type"] for buffer in bufscope_client.buffers(program.pid, types=["L1"])] == ["L1"]
    assert "REMAINING ALLOCATED BUFFERS" in bufscope_client.ask("dump", pids=[program.pid], users=None)


def test_an_answer_of_many_frames(server, tmp_path, library):
    program = server.start("mesh m 2\nmany a 2000 m DRAM 2048 2048\nbooks x\nwait x", tmp_path, lib=library)
    books = program.ready("x")
    text = bufscope_client.ask("dump", socket_path=server.socket, format="json", pids=[program.pid])
    assert len(text) > 4 * (64 << 10)
    process, = json.loads(text)["processes"]
    harness.assert_equals_books(process, books)


def test_what_the_service_refuses(server, program):
    def refused(command, **options):
        with pytest.raises(bufscope_client.Refused) as caught:
            bufscope_client.ask(command, socket_path=server.socket, **options)
        return caught.value

    error = refused("dump", pids=[program.pid], fail_if_any=True)
    assert (error.exit_status, str(error)) == (3, "--fail-if-any: 3 buffers (16.0 KB) still allocated")
    assert "REMAINING ALLOCATED BUFFERS" in error.answer
    for error in (refused("dump", colour_of_the_box="red"), refused("nothing")):
        assert error.exit_status == 2 and str(error) and not error.answer
    # Longer than a request may be, and than a socket's buffer: the service closes while it is being sent.
    assert "64" in str(refused("dump", users="x" * (1 << 20)))


def test_who_is_not_known_for_sure(tmp_path, library, monkeypatch):
    """Who began before the service (the stand-in has no books to read), and who only has this process's number."""
    program = harness.Program(harness.standin("mesh m 1\nalloc a m DRAM 2048 2048\nwait x\nalloc b m DRAM 2048 2048\nwait y",
                                              lib=library, load=False), tmp_path)
    program.ready("x")
    server = Server(tmp_path)
    monkeypatch.setenv("BUFSCOPE_SOCKET", server.socket)
    program.go()
    program.ready("y")
    assert len(bufscope_client.dump(pids=[program.pid])["processes"][0]["buffers"]) == 1
    with pytest.raises(bufscope_client.Error, match="may hold more or less than is known: .*before"):
        bufscope_client.buffers(program.pid)
    with pytest.raises(bufscope_client.Refused, match=f"process {os.getpid()} is not there"):
        bufscope_client.buffers()
    monkeypatch.setattr(os, "getpid", lambda: program.pid)
    with pytest.raises(bufscope_client.Error, match="is another process to the bufscope service"):
        bufscope_client.buffers()
    server.stop()


def frame(body):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return struct.pack(">I", len(body)) + body


END = {"end": True, "exit": 0, "message": None, "protocol": 1, "server": "0"}
CASES = {
    "nothing": (b"", bufscope_client.CutOff),
    "half a length": (b"\0\0", bufscope_client.CutOff),
    "half a frame": (frame({"data": "x"})[:-2], bufscope_client.CutOff),
    "no end": (frame({"data": "x"}), bufscope_client.CutOff),
    "no JSON": (frame(b"{"), bufscope_client.Error),
    "no UTF-8": (frame(b'{"data": "\xff"}'), bufscope_client.Error),
    "no object": (frame([1]), bufscope_client.Error),
    "no text": (frame({"data": 1}) + frame(END), bufscope_client.Error),
    "no data": (frame({"text": "x"}) + frame(END), bufscope_client.Error),
    "no exit status": (frame({"end": True}), bufscope_client.Error),
    "too long": (b"HTTP/1.1 400 Bad Request", bufscope_client.Error),
    "an older server": (frame(dict(END, exit=1, message="it speaks protocol 0")), bufscope_client.Refused),
}


@pytest.fixture
def answering(tmp_path):
    """answering(BYTES): the path of a server that answers these to one request, and closes."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control"))
    listener.listen()

    def serve(answer):
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            stream.read(struct.unpack(">I", stream.read(4))[0])
            connection.sendall(answer)

    def start(answer):
        thread = threading.Thread(target=serve, args=(answer,), daemon=True)
        thread.start()
        threads.append(thread)
        return str(tmp_path / "control")

    threads = []
    yield start
    for thread in threads:
        thread.join(harness.HANG_SECONDS)
    listener.close()


@pytest.mark.parametrize("case", CASES)
def test_bad_answers(answering, case):
    answer, expected = CASES[case]
    with pytest.raises(bufscope_client.Error) as caught:
        bufscope_client.ask("dump", socket_path=answering(answer))
    assert type(caught.value) is expected, repr(caught.value)
    assert str(caught.value)


def test_a_word_beside_the_answer(answering):
    path = answering(frame({"data": "all"}) + frame({"data": " of it"}) + frame(dict(END, message="a mark is gone")))
    with pytest.warns(UserWarning, match="a mark is gone"):
        assert bufscope_client.ask("diff", socket_path=path) == "all of it"


def test_nobody_answers(tmp_path):
    abandoned = socket.socket(socket.AF_UNIX)
    abandoned.bind(str(tmp_path / "abandoned"))
    abandoned.close()
    for name in ("missing", "abandoned", "x" * 200):
        with pytest.raises(bufscope_client.NoService, match="no bufscope service answers at"):
            bufscope_client.dump(socket_path=str(tmp_path / name))


def test_a_silent_service(tmp_path, monkeypatch):
    """Who accepts and says nothing is given up."""
    monkeypatch.setattr(bufscope_client, "TIMEOUT_SECONDS", 0.2)
    given_up = threading.Event()

    def be_silent():
        with listener.accept()[0]:
            given_up.wait(harness.HANG_SECONDS)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control"))
        listener.listen()
        thread = threading.Thread(target=be_silent, daemon=True)
        thread.start()
        with pytest.raises(bufscope_client.CutOff, match="timed out"):
            bufscope_client.dump(socket_path=str(tmp_path / "control"))
        given_up.set()
        thread.join()
