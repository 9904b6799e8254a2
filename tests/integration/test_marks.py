# SPDX-License-Identifier: BSD-2-Clause
"""ps, mark, diff and watch: who holds it, what changed between two moments, what grows."""
import csv
import io
import json
import os
import re
import signal
import subprocess

import jsonschema
import pytest

import harness
import service
from service import Server

STEPS = """
mesh m 2
many a 3 m DRAM 4096 2048
alloc b m L1 4096 2048
wait one
free a0
many c 4 m DRAM 10240 2048
wait two
drop-prefix a
wait three
"""


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path)


@pytest.fixture
def program(server, tmp_path):
    return server.start(STEPS, tmp_path)


def document(server, *arguments):
    answer = json.loads(server.ask(*arguments))
    jsonschema.validate(answer, harness.schema_of(answer["schema"]))
    return answer


def sums(answer):
    return {what: (answer[what + "_buffers"], answer[what + "_bytes"]) for what in ("added", "freed", "stayed")}


def test_diff_between_marks_and_now(server, program):
    """Byte for byte what the program did, whichever two moments are compared."""
    program.ready("one")
    said = server.ask("mark", "one")
    assert re.fullmatch(r'mark "one": \d+ live buffers \(.*\) of \d+ process(es)?\n', said), said
    program.go()
    program.ready("two")
    server.ask("mark", "two")
    program.go()
    program.ready("three")
    ours = ("-p", program.pid, "--format", "json")
    assert sums(document(server, "diff", "one", "two", *ours)) == {
        "added": (4, 2 * 4 * 10240), "freed": (1, 2 * 4096), "stayed": (3, 2 * 3 * 4096)}
    assert sums(document(server, "diff", "one", *ours)) == {
        "added": (4, 2 * 4 * 10240), "freed": (3, 2 * 3 * 4096), "stayed": (1, 2 * 4096)}
    assert sums(document(server, "diff", "two", *ours)) == {
        "added": (0, 0), "freed": (2, 2 * 2 * 4096), "stayed": (5, 2 * (4096 + 4 * 10240))}
    back = document(server, "diff", "two", "one", *ours)
    assert sums(back)["added"] == (1, 2 * 4096) and sums(back)["freed"] == (4, 2 * 4 * 10240)


def test_diff_names_the_buffers(server, program):
    program.ready("one")
    before = server.dump("-p", program.pid)["processes"][0]["buffers"]
    server.ask("mark", "x")
    program.go()
    program.ready("two")
    after = server.dump("-p", program.pid)["processes"][0]["buffers"]
    process, = document(server, "diff", "x", "-p", program.pid, "--format", "json")["processes"]
    old, new = {b["serial"] for b in before}, {b["serial"] for b in after}
    assert {b["serial"] for b in process["added"]} == new - old
    assert {b["serial"] for b in process["freed"]} == old - new
    assert process["before"] and process["after"] and not process["rebuilt"]
    text = server.ask("diff", "x", "-p", program.pid)
    assert re.search(r'^From "x" \(.* ago\) to now$', text, re.MULTILINE)
    assert re.search(r"^  added +4 buffers, 80.0 KB$", text, re.MULTILINE)


def test_diff_over_the_end_of_a_process(server, program, tmp_path):
    """What a killed process held is gone; one that came later is new."""
    program.ready("one")
    server.ask("mark", "before")
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    late = server.start("mesh m 1\nalloc a m DRAM 2048 2048\nwait x", tmp_path, "late")
    late.ready("x")
    answer = document(server, "diff", "before", "-p", program.pid, "-p", late.pid, "--format", "json")
    by_pid = {process["pid"]: process for process in answer["processes"]}
    assert not by_pid[program.pid]["after"] and len(by_pid[program.pid]["freed"]) == 4
    assert not by_pid[late.pid]["before"] and len(by_pid[late.pid]["added"]) == 1


def test_marks_are_listed_and_moved(server, program):
    program.ready("one")
    assert "There are no marks" in server.ask("mark")
    server.ask("mark", "first")
    server.ask("mark", "second")
    rows = [line.split()[0] for line in server.ask("mark").splitlines()[1:]]
    assert rows == ["first", "second"]
    program.go()
    program.ready("two")
    server.ask("mark", "first")
    rows = [line.split()[0] for line in server.ask("mark").splitlines()[1:]]
    assert rows == ["second", "first"]
    moved = document(server, "diff", "first", "-p", program.pid, "--format", "json")
    assert sums(moved)["added"] == (0, 0)


def test_old_marks_give_way(server, program):
    """Nobody can fill the service's memory with marks; what is dropped is said."""
    program.ready("one")
    for number in range(32):
        assert service.ask(server.socket, "mark", name=f"m{number}")[0]["message"] is None
    end, _ = service.ask(server.socket, "mark", name="one-more")
    assert end["exit"] == 0 and "1 older mark had to make room" in end["message"]
    names = [line.split()[0] for line in server.ask("mark").splitlines()[1:]]
    assert len(names) == 32 and names[0] == "m1" and names[-1] == "one-more"


def test_marks_of_users_are_apart(server, program):
    """A plain user sees neither others' marks nor others' processes in their own, and displaces nobody's."""
    program.ready("one")
    server.ask("mark", "root")
    with service.user(12345):
        end, _ = service.ask(server.socket, "diff", **{"from": "root"})
        assert end["exit"] == 1 and 'there is no mark "root"' in end["message"]
        for number in range(9):
            end, text = service.ask(server.socket, "mark", name=f"u{number}")
            assert end["exit"] == 0 and "0 live buffers (0 B) of 0 processes" in text
        assert "older mark" in end["message"]
        _, text = service.ask(server.socket, "mark")
        assert [line.split()[0] for line in text.splitlines()[1:]] == [f"u{number}" for number in range(1, 9)]
    assert [line.split()[0] for line in server.ask("mark").splitlines()[1:]] == ["root"]
    with service.user(12346):
        assert "There are no marks" in service.ask(server.socket, "mark")[1]


def test_a_plain_user_compares_their_own(server, tmp_path):
    folder = tmp_path / "user"
    folder.mkdir()
    command = ["setpriv", "--reuid", "12345", "--clear-groups"]
    command += harness.standin("mesh m 1\nwait one\nalloc a m DRAM 2048 2048\nwait two")
    program = harness.Program(command, folder)
    server.loaded(program)
    program.ready("one")
    with service.user(12345):
        assert service.ask(server.socket, "mark", name="mine")[0]["exit"] == 0
    program.go()
    program.ready("two")
    with service.user(12345):
        end, text = service.ask(server.socket, "diff", format="json", **{"from": "mine"})
        assert end["exit"] == 0 and sums(json.loads(text))["added"] == (1, 2048)
        _, table = service.ask(server.socket, "ps")
    assert str(program.pid) in table


@pytest.mark.parametrize("arguments, status, message", [
    (("diff", "nothing"), 1, 'there is no mark "nothing"'),
    (("diff",), 2, "which mark"),
    (("diff", "a", "b", "c"), 2, 'unexpected argument "c"'),
    (("mark", "no blanks"), 2, "letters, digits"),
    (("mark", "x" * 65), 2, "letters, digits"),
    (("diff", "a", "no blanks"), 2, '"no blanks" is no name of a mark'),
    (("mark", "a", "b"), 2, 'unexpected argument "b"'),
    (("ps", "--format", "xml"), 2, "--format takes one of"),
    (("watch", "--interval", "soon"), 2, "--interval takes a time"),
    (("watch", "--cycles", "0"), 2, "--cycles takes a number from 1"),
])
def test_bad_input(server, arguments, status, message):
    """One clear line."""
    done = subprocess.run(server.command(*arguments), capture_output=True, text=True, timeout=harness.HANG_SECONDS)
    assert done.returncode == status and message in done.stderr and done.stderr.count("\n") == 1, done
    assert done.stdout == ""


def test_the_service_takes_no_bad_name(server):
    """Whatever a client let through."""
    for options in ({"name": "no blanks"}, {"name": ""}, {"name": "x" * 65}, {"name": 1}):
        end, _ = service.ask(server.socket, "mark", **options)
        assert end["exit"] == 2 and "letters, digits" in end["message"], end
    assert "There are no marks" in server.ask("mark")


def test_a_process_that_is_at_neither_moment(server, program):
    program.ready("one")
    server.ask("mark", "x")
    end, _ = service.ask(server.socket, "diff", pids=[1], **{"from": "x"})
    assert end["exit"] == 1 and "at neither moment" in end["message"]


def test_marks_end_with_the_service(server, program, tmp_path):
    program.ready("one")
    server.ask("mark", "x")
    server.stop()
    again = Server(tmp_path, name="again")
    end, _ = service.ask(again.socket, "diff", **{"from": "x"})
    assert end["exit"] == 1 and "they end with the service" in end["message"]
    again.stop()


# ---- watch ----

def until(program, pattern):
    """Reads what it prints until a line matches."""
    while True:
        line = program.line()
        assert line is not None, f"it ended without \"{pattern}\":\n{program.stderr()}"
        if re.match(pattern, line):
            return


def watch_rows(text):
    """Of the last table: (type, class) -> buffers, growth, times it grew, times it shrank."""
    rows = {}
    for line in text.splitlines():
        if re.match(r"\d+ moments?", line):
            rows = {}
        cells = re.split(r"  +", line.strip())
        if line.startswith("  ") and cells[0] != "TYPE":
            kind, size, buffers, _, more, _, grew, shrank = cells
            rows[kind, size] = buffers, more, grew, shrank
    return rows


def test_watch_from_mark_to_mark(server, program):
    program.ready("one")
    server.ask("mark", "one")
    program.go()
    program.ready("two")
    server.ask("mark", "two")
    program.go()
    program.ready("three")
    rows = watch_rows(server.ask("watch", "--marks", "-p", program.pid))
    assert rows["DRAM", "16.0 KB"] == ("4", "+4", "1 of 2", "0 of 2")
    assert rows["DRAM", "4.0 KB"] == ("0", "-3", "0 of 2", "2 of 2")
    assert rows["L1", "4.0 KB"] == ("1", "0", "0 of 2", "0 of 2")
    assert list(watch_rows(server.ask("watch", "--marks", "--growth", "-p", program.pid))) == [("DRAM", "16.0 KB")]


def test_watch_from_look_to_look(server, tmp_path):
    """The program allocates one more between every two looks: it grew in all of them."""
    script = "mesh m 1\n" + "\n".join(f"alloc a{i} m DRAM 2048 2048\nwait w{i}" for i in range(4))
    program = server.start(script, tmp_path)
    program.ready("w0")
    looks = harness.Program(server.command("watch", "--growth", "--interval", "0.05", "--cycles", "1000", "-p",
                                           program.pid), tmp_path, "watch")
    until(looks, "1 moment: nothing has grown")
    for number in range(1, 4):
        program.go()
        program.ready(f"w{number}")
        # A look has seen it: then the next.
        until(looks, rf"  DRAM +2\.0 KB +{number + 1} .* \+{number} .* {number} of \d+ +0 of \d+$")
    looks.kill()


def test_watch_ends_with_the_service(server, tmp_path):
    looks = harness.Program(server.command("watch", "--interval", "0.05"), tmp_path, "watch")
    until(looks, "2 moments")
    server.stop()
    assert looks.wait() == 1
    # Between two looks, or in the middle of one.
    assert re.fullmatch(r"bufscope: (no bufscope service answers|the service at \S+ ended in the middle of).*\n",
                        looks.stderr()), looks.stderr()


# ---- ps ----

def test_ps_is_what_a_dump_says(server, program, tmp_path):
    program.ready("one")
    process = server.dump("-p", program.pid)["processes"][0]
    rows = list(csv.DictReader(io.StringIO(server.ask("ps", "--format", "csv", "-p", program.pid))))
    expected = {(str(device["device"]), kind["type"]): (str(kind["live_buffers"]), str(kind["live_bytes"]))
                for device in process["devices"] for kind in device["types"]}
    assert {(row["device"], row["type"]): (row["live_buffers"], row["live_bytes"]) for row in rows} == expected
    text = server.ask("ps", "-p", program.pid)
    assert re.search(rf"^ +{program.pid}  root +.*  0-1 each  DRAM +3  +12\.0 KB", text, re.MULTILINE), text
    assert "1 process, 4 buffers, 32.0 KB over all devices\n" in text
    assert "wait three" in text, "into a pipe nothing is cut"


def test_ps_tree(server, tmp_path):
    """A child below its parent, and the sum of both."""
    program = server.start("mesh m 1\nalloc a m DRAM 4096 2048\nfork\nmesh n 1\nalloc b n DRAM 2048 2048\n"
                           "books child\nwait child\nendfork\nwait-child", tmp_path)
    child = program.ready("child")["pid"]
    lines = server.ask("ps", "-p", program.pid, "-p", child).splitlines()
    at = {line.split()[0]: number for number, line in enumerate(lines)}
    assert at[str(program.pid)] < at["all"] < at[str(child)], lines
    assert re.search(r"all +tree +2 +6\.0 KB +2 processes", lines[at["all"]]), lines
    assert re.search(r"(└|`) standin", lines[at[str(child)]]), lines
