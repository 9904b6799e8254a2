# SPDX-License-Identifier: BSD-2-Clause
"""
`bufscope run` by a plain user: the command is theirs, only the tracer is raised, through sudo. The
real sudo wants a configured machine; here a program of that name in PATH hands its descriptors and
arguments to this test, which runs as root and does what sudo would.
"""
import array
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest

import harness

USER = "nobody"
CLIENT = """#!/usr/bin/python3
import array, json, os, socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect(os.path.join(os.path.dirname(os.path.abspath(__file__)), "socket"))
server.sendmsg([json.dumps(sys.argv[1:]).encode()],
               [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]).tobytes())])
os.close(0)
sys.exit(int(server.recv(16) or b"1"))
"""


class FakeSudo(threading.Thread):
    """Runs one command as root for whoever connects."""

    def __init__(self, folder, refuse=False):
        super().__init__(daemon=True)
        self.folder = folder
        self.refuse = refuse
        self.arguments = None
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.server.bind(str(folder / "socket"))
        os.chmod(folder / "socket", 0o777)
        self.server.listen()
        (folder / "sudo").write_text(CLIENT)
        (folder / "sudo").chmod(0o755)
        self.start()

    def run(self):
        try:
            client, _ = self.server.accept()
        except OSError:
            return                                  # closed: nobody asked
        data, control, _, _ = client.recvmsg(1 << 20, socket.CMSG_SPACE(12))
        fds = array.array("i")
        fds.frombytes(control[0][2][:12])
        self.arguments = json.loads(data)
        status = 1
        if not self.refuse:
            arguments = self.arguments[self.arguments.index("--") + 1:]
            status = subprocess.run(arguments, stdin=fds[0], stdout=fds[1], stderr=fds[2],
                                    env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}).returncode
        for fd in fds:
            os.close(fd)
        client.send(str(status).encode())
        client.close()


@pytest.fixture
def place(tmp_path_factory):
    """A folder that the plain user can reach, with copies of what it runs."""
    folder = tmp_path_factory.mktemp("plain")
    at = folder
    while at != at.parent and at.stat().st_uid == os.getuid() and str(at) != "/tmp":
        at.chmod(at.stat().st_mode | stat.S_IROTH | stat.S_IXOTH)
        at = at.parent
    shutil.copy(harness.BUFSCOPE, folder / "bufscope")
    shutil.copy(os.path.join(harness.BUILD, "demo-workload"), folder / "demo-workload")
    library = folder / "tests" / "standin" / "pimpl"
    library.mkdir(parents=True)
    shutil.copy(harness.library("pimpl"), library)
    for path, folders, files in os.walk(folder):
        for name in folders + files:
            os.chmod(os.path.join(path, name), 0o755)
    out = folder / "out"
    out.mkdir()
    os.chown(out, pwd.getpwnam(USER).pw_uid, -1)
    return folder


def start(place, *arguments, path=None):
    user = pwd.getpwnam(USER)
    env = {"PATH": f"{path or place}:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/", "MINE": "kept",
           "BUFSCOPE_SOCKET": "/nonexistent/control"}
    return subprocess.Popen([place / "bufscope", "run", *arguments], env=env, cwd="/", user=user.pw_uid, group=user.pw_gid,
                            extra_groups=[], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


def finish(process):
    output, errors = process.communicate(timeout=harness.HANG_SECONDS)
    return process.returncode, output, errors


def test_demo(place):
    FakeSudo(place)
    report = place / "out" / "report.json"
    status, output, errors = finish(start(place, "--format", "json", "-o", report, "--", place / "demo-workload", "--kill"))
    assert status == 128 + signal.SIGKILL, errors
    assert "demo: killed" in output
    assert report.stat().st_uid == pwd.getpwnam(USER).pw_uid
    document = harness.load_report(str(report))
    process = harness.only_process(document)
    assert process["exact"], process["inexact_reasons"]
    assert process["user"] == pwd.getpwnam(USER).pw_uid
    assert process["live"] == process["cleared"] == 381


def test_the_command_runs_as_the_user_in_that_environment(place):
    FakeSudo(place)
    status, output, errors = finish(start(place, "-q", "-o", place / "out" / "report", "--", "sh", "-c",
                                          "id -u; pwd; echo $MINE; exit 7"))
    assert status == 7, errors
    assert output.split() == [str(pwd.getpwnam(USER).pw_uid), "/", "kept"]


def test_sudo_refuses(place):
    """The command is not started then."""
    FakeSudo(place, refuse=True)
    marker = place / "out" / "started"
    status, output, errors = finish(start(place, "--", "touch", marker))
    assert status == 125, errors
    assert not marker.exists()


def test_no_sudo(place):
    empty = place / "empty"
    empty.mkdir()
    empty.chmod(0o755)
    for tool in ("touch", "sh"):
        os.symlink(f"/usr/bin/{tool}", empty / tool)
    user = pwd.getpwnam(USER)
    done = subprocess.run([place / "bufscope", "run", "--", "touch", place / "out" / "started"], user=user.pw_uid,
                          group=user.pw_gid, extra_groups=[], env={"PATH": str(empty), "BUFSCOPE_SOCKET": "/nonexistent/control"},
                          capture_output=True, text=True, timeout=harness.HANG_SECONDS)
    assert done.returncode == 125
    assert "sudo" in done.stderr
    assert not (place / "out" / "started").exists()


def test_command_not_found(place):
    FakeSudo(place)
    status, _, errors = finish(start(place, "--", "no-such-command"))
    assert status == 127
    assert errors.strip() == 'bufscope: cannot run "no-such-command": command not found'


def test_output_that_the_user_may_not_write(place):
    """Root could: but it is the user's own side that opens it."""
    protected = place / "protected"
    protected.mkdir(mode=0o755)
    status, _, errors = finish(start(place, "-o", protected / "report", "--", "true"))
    assert status == 125
    assert "Permission denied" in errors
    assert not (protected / "report").exists()


def test_snapshot(place):
    FakeSudo(place)
    report = place / "out" / "report.json"
    process = start(place, "--format", "json", "-o", report, "--", "sh", "-c", "echo ready; exec sleep 1000")
    assert process.stdout.readline() == "ready\n"
    watch = harness.Watch(str(place / "out"), harness.Watch.CLOSE_WRITE)
    try:
        process.send_signal(signal.SIGUSR1)
        seen, deadline = [], time.monotonic() + harness.HANG_SECONDS
        while "report.json.1" not in seen:                 # closed by the last who has it open: the tracer
            assert time.monotonic() < deadline
            seen += watch.names(deadline)
    finally:
        watch.close()
    assert harness.load_report(str(report) + ".1")["processes"]
    process.send_signal(signal.SIGTERM)                 # goes to the command
    status, _, errors = finish(process)
    assert status == 128 + signal.SIGTERM, errors
