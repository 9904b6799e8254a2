# SPDX-License-Identifier: BSD-2-Clause
"""
`bufscope serve --metrics`: what Prometheus reads is what `bufscope dump` says. Other programs on this machine
may use a device meanwhile, so each test looks at its own processes.
"""
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

import harness
import prometheus
import service
from harness import BUFSCOPE, HANG_SECONDS, Program
from prometheus import Endpoint, Prometheus, cells, gone, number, parse, reported_cells
from service import Server

LIVE_AND_HELD = """
    mesh m 2
    mesh n 4
    many a 3 m DRAM 2048 2048
    alloc b m L1 4096 2048
    alloc c n DRAM 65536 2048
    free a0
    alloc d n DRAM 2048 2048
    dealloc d
    track-free d
    close m
    books x
    wait x
"""
USER = 12345
READERS = 32            # at once, as user/server/metrics.c has it


@pytest.fixture
def library():
    """A copy that no other program on this machine maps, and that every user reaches."""
    with tempfile.TemporaryDirectory(prefix="bufscope-") as folder:
        os.chmod(folder, 0o755)
        yield shutil.copy(harness.library("pimpl"), folder)


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path, ["--metrics", "0"])
    yield server
    if server.popen.poll() is None:
        server.stop()


def stopped(server, script, folder, library, name="program", **kwargs):
    """A program at its stop "x"."""
    program = server.start(script, folder, name, lib=library, **kwargs)
    program.ready("x")
    return program


def stopped_of(user, server, script, folder, library):
    """The same, of another user, who may not reach what was built."""
    command = harness.standin(script, lib=library)
    command[0] = shutil.copy(command[0], os.path.join(os.path.dirname(library), f"workload{user}"))
    program = Program(command, folder, f"program{user}", user=user, group=65534, extra_groups=[])
    server.loaded(program)
    program.ready("x")
    return program


def dumped(server, program):
    process, = server.dump("-p", program.pid)["processes"]
    return process


def sockets(pid):
    found = [os.path.join(f"/proc/{pid}/fd", name) for name in os.listdir(f"/proc/{pid}/fd")]
    return sum(os.readlink(path).startswith("socket:") for path in found)


def raw(endpoint, receive_bytes=None):
    """A connection by hand."""
    host, port = endpoint.address.rsplit(":", 1)
    connection = socket.socket()
    if receive_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(HANG_SECONDS)
    connection.connect((host, int(port)))
    return connection


@pytest.mark.parametrize("openmetrics", (False, True), ids=("text", "openmetrics"))
def test_equal_to_dump(tmp_path, server, library, openmetrics):
    """Live, held, peaks and counts by device and type, of two users' processes."""
    endpoint = Endpoint.of(server)
    first = stopped(server, LIVE_AND_HELD, tmp_path, library, "first")
    second = stopped_of(USER, server, "mesh m 1\nalloc a m TRACE 4096 2048\nbooks x\nwait x", tmp_path, library)
    text = endpoint.now(openmetrics)
    samples = parse(text)
    for program in (first, second):
        process = dumped(server, program)
        assert process["live"], process
        prometheus.assert_equals_report(samples, process)
    first = dumped(server, first)
    assert first["held"] and first["freed"] and first["double_frees"], first
    assert prometheus.labels_of(dumped(server, second))["user"] == str(USER)
    prometheus.assert_totals_are_sums(samples)
    assert text.endswith("\n# EOF\n") == openmetrics
    if not openmetrics:
        prometheus.check_text(text)


def test_counters_only_rise(tmp_path, server, library):
    """Also when the processes that they counted end; then these have no series any more."""
    endpoint, own, last = Endpoint.of(server), {"allocations": 0, "frees": 0}, {}
    counters = [f"bufscope_{name}_total" for name in prometheus.COUNTS]
    start = number(parse(endpoint.now()), "bufscope_start_time_seconds")
    for turn in range(3):
        program = stopped(server, "mesh m 2\nmany a 5 m DRAM 2048 2048\nfree a0\nfree a1\nbooks x\nwait x", tmp_path,
                          library, f"program{turn}")
        own["allocations"] += 5
        own["frees"] += 2
        for running in (True, False):
            samples = parse(endpoint.now())
            now = {name: number(samples, name) for name in counters}
            assert all(now[name] >= last.get(name, 0) for name in counters), (last, now)
            assert all(now[f"bufscope_{name}_total"] >= count for name, count in own.items()), (own, now)
            assert bool(cells(samples, "live_bytes", program.pid)) == running
            assert number(samples, "bufscope_start_time_seconds") == start
            last = now
            if running:
                program.go()
                assert program.wait() == 0
                gone(server, program.pid)


def test_http(server):
    endpoint = Endpoint.of(server)
    assert endpoint.address.startswith("127.0.0.1:")

    def ask(method, path="/metrics", accept=None):
        connection = http.client.HTTPConnection(endpoint.address, timeout=HANG_SECONDS)
        connection.request(method, path, headers={"Accept": accept} if accept else {})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.getheader("Content-Type"), body

    plain, modern = "text/plain; version=0.0.4; charset=utf-8", "application/openmetrics-text; version=1.0.0; charset=utf-8"
    status, kind, body = ask("GET")
    assert (status, kind) == (200, plain) and b"bufscope_build_info{" in body and b"# EOF" not in body
    status, kind, body = ask("GET", accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert (status, kind) == (200, modern) and body.endswith(b"# EOF\n")
    assert ask("GET", accept="text/html")[:2] == (200, plain)
    assert ask("HEAD") == (200, plain, b"")
    assert ask("GET", "/")[0] == 404
    assert ask("POST")[0] == 405


def test_bad_readers(tmp_path, server, library):
    """Silent, slow, greedy ones, more than there is room for: nothing else waits for them."""
    endpoint, before = Endpoint.of(server), sockets(server.pid)
    requests = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100
    kinds = (b"", b"GET /met", b"\0\xff\r\n\r\n" * 100, requests, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 15000,
             b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nx")
    connections = []
    for i in range(2 * READERS):
        connections.append(raw(endpoint, 2048))
        connections[-1].setblocking(False)
        try:
            connections[-1].send(kinds[i % len(kinds)])
        except ConnectionError:
            pass                # garbage: the server has closed it already
    program = server.start("mesh m 2\nmany a 1000 m DRAM 2048 2048\nchurn 20000 m L1 2048 2048\nbooks x\nwait x",
                           tmp_path, lib=library)
    books = program.ready("x")
    process = dumped(server, program)
    harness.assert_equals_books(process, books)
    assert process["exact"], process["inexact_reasons"]
    assert sockets(server.pid) <= before + READERS + 1
    for connection in connections:
        connection.close()
    prometheus.assert_equals_report(parse(endpoint.now()), process)


def test_places_are_given_back(tmp_path):
    """All of them are taken and all readers go at once: the next one is heard."""
    program = Program([os.path.join(harness.BUILD, "tests", "standin", "metrics-server"), "0"], tmp_path)
    endpoint = Endpoint.of(program)
    program.ready("serving")
    before, deadline = sockets(program.pid), time.monotonic() + HANG_SECONDS
    connections = [raw(endpoint) for _ in range(READERS)]
    while sockets(program.pid) < before + READERS:
        assert time.monotonic() < deadline, "not every reader is let in"
        time.sleep(0.01)
    os.kill(program.pid, signal.SIGSTOP)
    for connection in connections:
        connection.close()
    os.kill(program.pid, signal.SIGCONT)
    assert "bufscope_build_info" in endpoint.get()


def test_not_there_unless_told(tmp_path):
    server = Server(tmp_path)
    inodes = {os.readlink(f"/proc/{server.pid}/fd/{name}") for name in os.listdir(f"/proc/{server.pid}/fd")}
    for table in ("tcp", "tcp6"):
        with open(f"/proc/{server.pid}/net/{table}") as file:
            for line in file.readlines()[1:]:
                assert f"socket:[{line.split()[9]}]" not in inodes, line
    server.stop()


def test_port_taken(tmp_path, server):
    port = Endpoint.of(server).address.rsplit(":", 1)[1]
    path = tmp_path / "control"
    done = subprocess.run([BUFSCOPE, "serve", "-q", "--socket", path, "--metrics", port], capture_output=True, text=True,
                          timeout=HANG_SECONDS)
    assert done.returncode == 1
    assert done.stderr == f"bufscope: cannot serve metrics at {port}: the port is taken; choose another\n"
    assert not path.exists()


@pytest.mark.parametrize("address", ("", "nonsense", "localhost:", "localhost:x", "1:2:3", "[::1:9", "127.0.0.1:65536",
                                     "-1", "x" * 300 + ":1"))
def test_bad_address(tmp_path, address):
    done = subprocess.run([BUFSCOPE, "serve", "--socket", tmp_path / "control", "--metrics", address],
                          capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "no address for metrics" in done.stderr


def test_over_the_control_socket(tmp_path, server, library):
    """The same text, for who may see it: a user sees their own processes, and no sums over those of others."""
    own = stopped_of(USER, server, LIVE_AND_HELD, tmp_path, library)
    other = stopped(server, LIVE_AND_HELD, tmp_path, library, "other")
    end, text = service.ask(server.socket, "metrics")
    assert end["exit"] == 0, end
    for program in (own, other):
        prometheus.assert_equals_report(parse(text), dumped(server, program))
    assert "bufscope_allocations_total" in text and "bufscope_drain_records_total" in text
    with service.user(USER):
        end, text = service.ask(server.socket, "metrics")
    assert end["exit"] == 0, end
    samples = parse(text)
    prometheus.assert_equals_report(samples, dumped(server, own))
    prometheus.assert_totals_are_sums(samples)
    assert {sample.labels["user"] for sample in samples if "user" in sample.labels} == {str(USER)}
    assert "bufscope_allocations_total" not in text and "bufscope_drain_records_total" not in text


def test_cost_of_probes(tmp_path, server, library):
    """Where the kernel counts what BPF programs cost, and only there."""
    switch, endpoint = "/proc/sys/kernel/bpf_stats_enabled", Endpoint.of(server)
    with open(switch) as file:
        before = file.read()
    names = ("bufscope_probe_hits_total", "bufscope_probe_seconds_total")
    try:
        with open(switch, "w") as file:
            file.write("1")
        program = stopped(server, "mesh m 2\nchurn 500 m DRAM 2048 2048\nbooks x\nwait x", tmp_path, library)
        samples = parse(endpoint.now())
        assert number(samples, names[0]) >= 1000 and number(samples, names[1]) > 0
        assert number(samples, "bufscope_drain_records_total") >= 1000
        assert number(samples, "bufscope_drain_seconds_total") > 0
        program.go()
        assert program.wait() == 0
    finally:
        with open(switch, "w") as file:
            file.write("0")
        text = endpoint.now()
        with open(switch, "w") as file:
            file.write(before)
    assert not any(name in text for name in names)


def test_prometheus(tmp_path, server, library):
    """A real one: sums by device and type, and their end, are what `dump` says."""
    program = server.start("mesh m 2\nmany a 5 m DRAM 2048 2048\nalloc b m L1 4096 2048\nbooks x\nwait x\nfree a0\n"
                           "free a3\nbooks y\nwait y", tmp_path, lib=library)
    reader = Prometheus(Endpoint.of(server), tmp_path)
    for stop in ("x", "y"):
        program.ready(stop)
        reader.scraped()
        process = dumped(server, program)
        for name in ("live_bytes", "live_buffers", "peak_bytes"):
            rows = reader.query(f'sum by (device, type) (bufscope_process_{name}{{pid="{program.pid}"}})')
            got = {(row.labels["device"], row.labels["type"]): int(row.value) for row in rows}
            assert got == reported_cells(process, name), (stop, name)
        row, = reader.query(f'bufscope_process_frees_total{{pid="{program.pid}"}}')
        assert int(row.value) == process["freed"] == {"x": 0, "y": 2}[stop]
        assert {key: row.labels[key] for key in ("pid", "process", "user", "container")} == prometheus.labels_of(process)
        program.go()
    assert program.wait() == 0
    gone(server, program.pid)
    reader.scraped()
    assert not reader.query(f'bufscope_process_live_bytes{{pid="{program.pid}"}}')
    assert [row.value for row in reader.query("up")] == ["1"]


def test_hostile_names(tmp_path):
    """What a process is called arrives at Prometheus as one label; the model is fed by hand."""
    name = "/x/%1b[2J\"}%20 1\nfake{a=\"\\%ff%e2%80%ae".replace("\n", "%0a").replace(" ", "%20").replace('"', "%22")
    program = Program([os.path.join(harness.BUILD, "tests", "standin", "metrics-server"), "0"], tmp_path)
    endpoint = Endpoint.of(program)
    program.ready("serving")
    for command in (f"process 1 {name}", "allocate 1 256 2 0 4096"):
        program.popen.stdin.write(command.encode() + b"\n")
        program.popen.stdin.flush()
        program.ready(command.split()[0])
    text = endpoint.now()
    prometheus.check_text(text)
    reader = Prometheus(endpoint, tmp_path)
    reader.scraped()
    rows = reader.query("bufscope_process_live_bytes")
    assert {(row.labels["device"], row.value) for row in rows} == {("0", "4096"), ("1", "4096")}
    assert {row.labels["process"] for row in rows} == {'�[2J"}  1�fake{a="\\��'}
    assert not reader.query("fake")
    program.popen.stdin.write(b"fail\n")
    program.popen.stdin.flush()
    program.ready("fail")
    reader_fails(reader)


def reader_fails(reader):
    """Until the reader was told that there are no metrics."""
    deadline = time.monotonic() + HANG_SECONDS
    while [row.value for row in reader.query("up", now=True)] != ["0"]:
        assert time.monotonic() < deadline, "a failure looks like success"
        time.sleep(0.05)
