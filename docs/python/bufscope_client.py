# SPDX-License-Identifier: BSD-2-Clause
"""Asks the bufscope service ("bufscope serve") from Python 3.8 or later. It needs nothing but this file.

    import bufscope_client
    bufscope_client.buffers()       # what this very process holds on the devices now

The protocol is in protocol.md, a pytest fixture in pytest.md, both in bufscope's documentation.
"""
import json
import os
import socket
import struct
import warnings

DEFAULT_SOCKET = "/run/bufscope/control"
TIMEOUT_SECONDS = 300           # for each step: to be connected, to get the next piece
MAX_FRAME = 512 << 10


class Error(Exception):
    """There is no answer, or it says that something is wrong. The text is for a person."""


class NoService(Error):
    """Nobody answers at the socket."""


class CutOff(Error):
    """The answer is not whole."""


class Refused(Error):
    """The service's own word, with its exit_status; 3 is a gate that is broken, and the answer is whole."""

    def __init__(self, message, exit_status, answer):
        super().__init__(message)
        self.exit_status, self.answer = exit_status, answer


def _take(stream, count):
    data = stream.read(count)
    if len(data) < count:
        raise CutOff("the bufscope service ended in the middle of its answer")
    return data


def _read_answer(stream):
    """The text of all data frames, and what the end frame says."""
    pieces = []
    while True:
        length, = struct.unpack(">I", _take(stream, 4))
        frame = json.loads(_take(stream, length)) if length <= MAX_FRAME else None
        if isinstance(frame, dict) and frame.get("end"):
            return "".join(pieces), frame["exit"], frame["message"]
        pieces.append(frame["data"])


def ask(command, socket_path=None, **options):
    """The text that the service answers. An option that is None is left out. See protocol.md for both."""
    path = socket_path or os.environ.get("BUFSCOPE_SOCKET") or DEFAULT_SOCKET
    options = {key: value for key, value in options.items() if value is not None}
    request = json.dumps({"protocol": 1, "client": "python", "command": command, "options": options}).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_SECONDS)
        try:
            connection.connect(path)
        except OSError as error:
            raise NoService(f'no bufscope service answers at {path}: {error} ("systemctl status bufscope")') from error
        try:
            connection.sendall(struct.pack(">I", len(request)) + request)
        except (BrokenPipeError, ConnectionResetError):
            pass                # who refuses the connection says why and closes: that is still to be read
        try:
            with connection.makefile("rb") as stream:
                answer, exit_status, message = _read_answer(stream)
        except OSError as error:
            raise CutOff(f"the bufscope service at {path} did not end its answer: {error}") from error
        except (ValueError, TypeError, KeyError) as error:
            raise Error(f"what answers at {path} is no bufscope service") from error
    if exit_status:
        raise Refused(message or f"exit status {exit_status}", exit_status, answer)
    if message:
        warnings.warn(message, stacklevel=2)
    return answer


def dump(**options):
    """What is allocated now, to whom: a document bufscope.summary/1 (summary.schema.json) as a dict."""
    return json.loads(ask("dump", format="json", **options))


def mark(name, **options):
    """Gives this moment a name, for diff()."""
    ask("mark", name=name, **options)


def diff(start, end=None, **options):
    """What was added, freed and stayed from the mark @start to the mark @end, or until now: bufscope.diff/1."""
    return json.loads(ask("diff", format="json", **{"from": start, "to": end}, **options))


def _start_ns():
    with open("/proc/self/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[19]) * 10**9 // os.sysconf("SC_CLK_TCK")


def buffers(pid=None, **options):
    """
    The buffers of one process, this one unless told: dicts with "state" ("live", or "held": its device was
    closed, the object is there), "type", "on_devices", "address", "size_bytes" and more. An Error unless
    the service knows the process and is sure of all of it.
    """
    process = max(dump(pids=[pid or os.getpid()], **options)["processes"], key=lambda entry: entry["exec_count"])
    if not pid and process["start_ns"] != _start_ns():
        raise Error(f"{os.getpid()} is another process to the bufscope service: in a container, tell it the host's pid")
    if not process["exact"]:
        raise Error(f"process {process['pid']} may hold more or less than is known: "
                    + "; ".join(reason["text"] for reason in process["inexact_reasons"]))
    return process["buffers"]
