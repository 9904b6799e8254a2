# SPDX-License-Identifier: BSD-2-Clause
"""
What comes from a traced process is its own choice: names, paths, files, mappings, and the moment it
dies. Nothing of it may reach an output as a control character, break a format, block or crash.

tests/run runs this file with the sanitized bufscope (BUFSCOPE names the binary).
"""
import json
import os
import re
import shutil
import signal
import struct
import subprocess

import pytest

import harness

# Terminal escapes (7 and 8 bit), newlines, markup, bytes that are not UTF-8, an override of direction.
HOSTILE = (b"\x1b[2J\x1b]0;owned\x07\n\r\t\x9b31m\xc2\x9b31m\x7f\xff\xfe\xc0\xaf\xed\xa0\x80"
           b"<script>&amp;\"'\\\xe2\x80\xae%s%n{}$(id)`id`")
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# Files have no "/" in their names.
HOSTILE_NAME = HOSTILE.replace(b"/", b"|")

# The bytes of an argument list get through a program that takes them from a file.
EXEC = ("import os, sys; words = open(sys.argv[1], 'rb').read().split(b'\\0'); "
        "os.execv(words[0], words[1:])")


def clean(data):
    """@data is UTF-8, and no character of it but newline controls anything."""
    text = data.decode("utf-8")
    found = FORBIDDEN.search(text)
    assert not found, (found.group().encode("unicode_escape"), text[max(0, found.start() - 60):found.end() + 20])
    return text


def read(path):
    with open(path, "rb") as file:
        return file.read()


def clean_json(path):
    """The documents of a file, one a line or one in all. JSON has escapes for all but DEL, which does nothing."""
    text = clean(read(path).replace(b"\x7f", b""))
    assert text.isascii()
    try:
        return [json.loads(text)]
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines()]


def executes(folder, program, arguments):
    """A command that becomes @program with arguments of any bytes, the first of them its name."""
    words = os.path.join(folder, "words")
    with open(words, "wb") as file:
        file.write(b"\0".join([os.fsencode(program), *map(os.fsencode, arguments)]))
    return ["/usr/bin/python3", "-c", EXEC, words]


def bufscope(*arguments, status=None):
    """Runs to its end. A sanitizer's finding ends it with another status and is on stderr."""
    done = subprocess.run([harness.BUFSCOPE, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=harness.HANG_SECONDS)
    assert b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr, done.stderr.decode(errors="replace")
    assert done.returncode >= 0 and (status is None or done.returncode in status), (done.returncode, done.stderr)
    return done


SCRIPT = """
    mesh d 2
    alloc a d DRAM 65536 2048
    alloc b d L1 4096 1024
    free a
    wait held
    close d
"""


@pytest.mark.parametrize("name", [HOSTILE, HOSTILE * 1600], ids=["short", "longer than is kept"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_command_line(name, form, tmp_path):
    command = harness.standin(SCRIPT)
    command = executes(str(tmp_path), command[0], [name, *command[1:]])
    events = tmp_path / ("events.ndjson" if form == "json" else "events")
    program = harness.Bufscope(["run", "-v", "--format", form, "-o", str(tmp_path / "bufscope.json"), "--events", str(events),
                                "--", *command], tmp_path, env=dict(os.environ, LC_ALL="C.UTF-8"))
    if form == "json":
        program.loaded()
    else:
        program.ready("loaded")
        program.wait_stderr("attaching by")
        program.go()
    program.ready("held")
    program.go()
    assert program.wait() == 0, program.stderr()
    clean(read(program.stderr_path))
    if form == "text":
        assert "owned" in clean(read(program.report_path))
        clean(read(events))
        return
    clean_json(program.report_path)
    report = program.report()
    process = harness.only_process(report)
    harness.counts(process, allocated=2, freed=1)
    # Cut off where the kept part ends, and said as it is but for what no text can hold.
    assert process["command"][0].startswith(HOSTILE[:9].decode())
    assert len("".join(process["command"])) <= 65536
    assert {line["event"] for line in clean_json(events)} >= {"allocate", "free"}


def test_name_of_the_process(tmp_path):
    """The kernel's stat line has the name in it, unescaped: parentheses, newlines, what looks like other fields."""
    name = b") Z 1 1\n\x1b[2J(x) R"
    program = os.path.join(os.fsencode(tmp_path), name)
    shutil.copy(harness.WORKLOAD, program)
    command = harness.standin(SCRIPT)
    workload = harness.Program([program, *command[1:]], tmp_path, "workload")
    workload.ready("loaded")
    watcher = harness.attach([workload.pid], tmp_path)
    workload.go()
    workload.ready("held")
    workload.go()
    assert workload.wait() == 0
    watcher.finish()
    clean_json(watcher.report_path)
    process = harness.only_process(watcher.report())
    harness.counts(process, allocated=2, freed=1)
    assert "\x1b[2J" in process["command"][0]
    clean(read(watcher.stderr_path))


@pytest.mark.parametrize("how", ["hostile", "looks deleted", "deleted", "symlink"])
def test_library_path(how, tmp_path):
    folder = os.path.join(os.fsencode(tmp_path), HOSTILE_NAME if how == "hostile" else b"folder")
    os.mkdir(folder)
    library = os.path.join(folder, b"lib\nx.so (deleted)" if how == "looks deleted" else b"libtt_metal.so")
    shutil.copy(harness.library("pimpl"), library)
    shown = library
    if how == "symlink":
        shown = os.path.join(os.fsencode(tmp_path), b"link.so")
        os.symlink(library, shown)
    program = harness.run(harness.standin(SCRIPT, lib=shown), tmp_path, ["-v", "--events", str(tmp_path / "events")])
    pid = program.ready("loaded")["pid"]
    program.observing(pid)
    if how == "deleted":
        os.unlink(library)
    program.go()
    program.ready("held")
    checked = bufscope("check", "-p", str(pid), status=[0])
    assert "verdict    supported" in clean(checked.stdout)
    program.go()
    report = program.finish()
    clean_json(program.report_path)
    process = harness.only_process(report)
    harness.counts(process, allocated=2, freed=1)
    # Newlines are shown as the kernel escapes them in /proc.
    assert process["runtimes"][0]["library"].endswith(".so (deleted)" if how == "looks deleted" else "libtt_metal.so")
    clean(read(program.stderr_path))
    clean_json(tmp_path / "events")


def test_unsupported_library_with_a_hostile_path(tmp_path):
    """It is recognised and refused: its path is in warnings, in the report, and in what --verbose says."""
    folder = os.path.join(os.fsencode(tmp_path), HOSTILE_NAME)
    os.mkdir(folder)
    library = os.path.join(folder, b"libtt_metal.so")
    image = read(harness.library("pimpl"))
    # One of the two functions that it cannot do without gets another name in the string table.
    wrong = image.replace(b"\0_ZN2tt8tt_metal12GraphTracker14track_allocateE", b"\0_ZN2tt8tt_metal12GraphTracker14track_allocXteE")
    assert wrong != image
    with open(library, "wb") as file:
        file.write(wrong)
    script = "import ctypes, sys; ctypes.CDLL(sys.argv[1], mode=1); print('@@ready loaded', flush=True); input()"
    if subprocess.run(["/usr/bin/python3", "-c", script, library], input=b"\n", capture_output=True).returncode:
        # its own calls of it cannot be resolved: mapped without being loaded
        script = ("import mmap, os, sys; m = mmap.mmap(os.open(sys.argv[1], 0), 0, prot=5, flags=2); "
                  "print('ready loaded', flush=True); input()")
    program = harness.run(["/usr/bin/python3", "-c", script, library], tmp_path, ["-v"])
    program.ready("loaded")
    program.wait_stderr("is not supported")
    program.go()
    program.finish()
    clean_json(program.report_path)
    said = clean(read(program.stderr_path))
    assert "libtt_metal.so in process" in said and "\\x1b[2J" in said


# ---- what is no library ----

@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "socket", "empty", "nothing"])
def test_no_regular_file(kind, tmp_path):
    path = str(tmp_path / "file")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = "/dev/zero"
    elif kind == "folder":
        os.mkdir(path)
    elif kind == "socket":
        import socket
        socket.socket(socket.AF_UNIX).bind(path)
    elif kind == "empty":
        open(path, "wb").close()
    for arguments in (["check", path], ["census", "--core", path]):
        done = bufscope(*arguments, status=[1])
        assert done.stderr or done.stdout
        clean(done.stderr + done.stdout)


def test_library_replaced_by_a_fifo(tmp_path):
    """The file that is mapped counts, not what is at its path now: opening that would block."""
    library = str(tmp_path / "libtt_metal.so")
    shutil.copy(harness.library("pimpl"), library)
    workload = harness.Program(harness.standin(SCRIPT, lib=library), tmp_path, "workload")
    workload.ready("loaded")
    os.unlink(library)
    os.mkfifo(library)
    watcher = harness.attach([workload.pid], tmp_path)
    workload.go()
    workload.ready("held")
    workload.go()
    assert workload.wait() == 0
    harness.counts(harness.only_process(watcher.finish()), allocated=2, freed=1)


def test_device_mapped_as_code(tmp_path):
    script = ("import mmap, os; m = [mmap.mmap(os.open('/dev/zero', os.O_RDWR), 65536, prot=7, flags=f) for f in (1, 2)]; "
              "print('ready mapped', flush=True); input()")
    program = harness.run(["/usr/bin/python3", "-c", script], tmp_path)
    program.ready("mapped")
    program.snapshot()
    program.go()
    assert all(not process["runtimes"] for process in program.finish()["processes"])


# ---- ELF files made to break parsers ----

class Image:
    """A copy of the stand-in library whose parts can be overwritten."""

    HEADER, SEGMENT, SECTION, DYNAMIC = "<16sHHIQQQIHHHHHH", "<IIQQQQQQ", "<IIQQQQIIQQ", "<qQ"
    HUGE = [2 ** 64 - 1, 2 ** 64 - 8, 2 ** 63, 2 ** 63 - 1, 2 ** 32, 0xfffffffffffff000]

    def __init__(self):
        self.data = bytearray(read(harness.library("pimpl")))
        self.header = struct.unpack_from(self.HEADER, self.data)

    def places(self, which):
        """Where the records of a table are."""
        if which == "segment":
            return [self.header[5] + number * 56 for number in range(self.header[10])]
        if which == "section":
            return [self.header[6] + number * 64 for number in range(self.header[12])]
        at = next(struct.unpack_from(self.SEGMENT, self.data, at) for at in self.places("segment")
                  if struct.unpack_from("<I", self.data, at)[0] == 2)
        return range(at[2], at[2] + at[5], 16)

    def put(self, at, value, size="Q"):
        struct.pack_into("<" + size, self.data, at, value)
        return self

    def section(self, name):
        names = struct.unpack_from(self.SECTION, self.data, self.places("section")[self.header[13]])
        for at in self.places("section"):
            start = names[4] + struct.unpack_from("<I", self.data, at)[0]
            if self.data[start:self.data.index(0, start)] == name:
                return at, struct.unpack_from(self.SECTION, self.data, at)
        raise KeyError(name)


def broken_images():
    image = Image()
    for huge in Image.HUGE:
        for at in image.places("segment"):
            for field in (8, 16, 32, 40):
                yield f"segment at {at}+{field} is {huge:x}", Image().put(at + field, huge).data
        for at in image.places("dynamic"):
            yield f"dynamic at {at} is {huge:x}", Image().put(at + 8, huge).data
        for field in (32, 40):
            yield f"header+{field} is {huge:x}", Image().put(field, huge).data
    for field in (54, 56, 58, 60, 62):
        yield f"header+{field}", Image().put(field, 0xffff, "H").data
    for size in (0, 1, 3, 4, 63, 64, 65, 4096, len(image.data) // 2, len(image.data) - 1):
        yield f"cut to {size}", image.data[:size]
    strings, hashes = image.section(b".dynstr")[1], image.section(b".gnu.hash")[1]
    one = Image()
    one.data[strings[4]:strings[4] + strings[5]] = b"A" * strings[5]
    yield "string table without NUL", one.data
    for fill in (b"\0", b"\xfe", b"\xff"):
        # no chain ends, or all of them point to themselves
        one = Image()
        one.data[hashes[4] + 16:hashes[4] + hashes[5]] = fill * (hashes[5] - 16)
        yield f"hash table of {fill}", one.data
    for word in (0, 1, 2, 0xffffffff, 0x80000000):
        for field in range(0, 16, 4):
            yield f"hash header+{field} is {word:x}", Image().put(hashes[4] + field, word, "I").data
    one = Image()
    for at in one.places("section"):
        one.put(at + 24, 0).put(at + 32, len(one.data))
    yield "overlapping sections", one.data
    one = Image()
    for at in one.places("segment"):
        one.put(at + 8, 0).put(at + 16, 0)
    yield "overlapping segments", one.data


def test_broken_elf_files(tmp_path):
    path = str(tmp_path / "broken.so")
    names = [name for name, _ in broken_images()]
    assert len(names) > 200
    verdicts = set()
    # a seventh of them: the fuzzer has the others
    for name, data in list(broken_images())[::7] + list(broken_images())[-40:]:
        with open(path, "wb") as file:
            file.write(data)
        done = bufscope("check", path, status=[0, 1])
        verdict = re.search(r"^verdict +(not )?supported", clean(done.stdout), re.MULTILINE)
        assert verdict, (name, done.stdout, done.stderr)
        assert (done.returncode == 1) == bool(verdict.group(1)), name
        verdicts.add(verdict.group(1))
    assert verdicts == {"not ", None}


def test_a_million_symbols(tmp_path):
    """All of one name, and a probed function that is only found by looking at each."""
    image = Image()
    symbols = struct.pack("<IBBHQQ", 1, 0x12, 0, 1, 0x1000, 16) * 1000000
    strings = b"\0" + b"_ZN2tt8tt_metal" * 1000 + b"\0"
    at = len(image.data)
    image.data += symbols + strings
    headers = len(image.data)
    for place in Image().places("section"):
        image.data += Image().data[place:place + 64]
    number = image.header[12]
    image.data += struct.pack(Image.SECTION, 0, 2, 0, 0, at, len(symbols), number + 1, 0, 8, 24)
    image.data += struct.pack(Image.SECTION, 0, 3, 0, 0, at + len(symbols), len(strings), 0, 0, 1, 0)
    image.put(40, headers).put(60, number + 2, "H")
    path = str(tmp_path / "million.so")
    with open(path, "wb") as file:
        file.write(image.data)
    assert "verdict    supported" in clean(bufscope("check", path, status=[0]).stdout)


def maps_as_code(path):
    """A program that maps a file as code, says so, and waits."""
    return ["/usr/bin/python3", "-c", "import mmap, os, sys; m = mmap.mmap(os.open(sys.argv[1], 0), 0, prot=5, flags=2); "
            "print('ready mapped', flush=True); input()", path]


@pytest.mark.parametrize("size", [0, 100, 4096, 50000])
def test_cut_before_it_is_looked_at(size, tmp_path):
    path = str(tmp_path / "libtt_metal.so")
    shutil.copy(harness.library("pimpl"), path)
    program = harness.Program(maps_as_code(path), tmp_path, "workload")
    program.ready("mapped")
    os.truncate(path, size)
    bufscope("check", "-p", str(program.pid), status=[1])
    watcher = harness.attach([program.pid], tmp_path)
    watcher.snapshot()
    program.go()
    assert program.wait() == 0
    watcher.finish()


def test_cut_while_it_is_used(tmp_path):
    """The program dies of it, with SIGBUS; its buffers are cleared, and that is all."""
    path = str(tmp_path / "libtt_metal.so")
    shutil.copy(harness.library("pimpl"), path)
    program = harness.run_standin(SCRIPT, tmp_path, lib=path)
    program.ready("held")
    os.truncate(path, 0)
    program.snapshot()
    program.go()
    process = harness.only_process(program.finish(128 + signal.SIGBUS))
    assert process["end"]["signal"] == signal.SIGBUS
    harness.counts(process, allocated=2, freed=1, cleared=1)


# ---- processes that vanish or change ----

def test_processes_that_die_at_any_point(tmp_path):
    """Hundreds of short lives: each /proc entry may be gone when it is read."""
    program = harness.run(["sh", "-c", "i=0; while [ $i -lt 300 ]; do /bin/true & i=$((i+1)); done; wait"], tmp_path)
    report = program.finish()
    assert all(process["end"]["how"] in ("exit", "exec") for process in report["processes"])
    clean(read(program.stderr_path))


def test_attach_to_what_is_ending(tmp_path):
    """From alive for some milliseconds more to dead already: it must be noticed in either case."""
    for number in range(20):
        dying = subprocess.Popen(["/usr/bin/python3", "-c", f"print(flush=True); sum(range({number} * 100000))"],
                                 stdout=subprocess.PIPE)
        dying.stdout.readline()
        # Nobody waits for it meanwhile: it stays a zombie.
        done = bufscope("attach", "-p", str(dying.pid), "--format", "json", "-o", str(tmp_path / "report"), status=[0, 1])
        dying.wait()
        dying.stdout.close()
        if done.returncode == 0:
            assert all(process["end"]["how"] == "exit" for process in harness.load_report(tmp_path / "report")["processes"])
        else:
            assert b"no such process" in done.stderr, done.stderr


def test_attach_to_a_zombie(tmp_path):
    zombie = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    done = bufscope("attach", "-p", str(zombie.pid), status=[1])
    zombie.wait()
    assert done.stderr.count(b"\n") == 1 and b"no such process" in done.stderr
    for arguments in (["attach"], ["census"], ["check"]):
        done = bufscope(*arguments, "-p", str(zombie.pid), status=[1])
        assert done.stderr.count(b"\n") == 1 and b"no such process" in done.stderr


STORM = """
import mmap, os, sys, threading
files = [os.open(path, os.O_RDONLY) for path in sys.argv[1:]]
stop = threading.Event()
def storm(number):
    kept = []
    while not stop.is_set():
        kept.append(mmap.mmap(files[number % len(files)], 0, prot=5, flags=2))
        if len(kept) > 20:
            for one in kept[:10]:
                one.close()
            del kept[:10]
threads = [threading.Thread(target=storm, args=(n,)) for n in range(4)]
for thread in threads: thread.start()
print("ready storm", flush=True)
input()
stop.set()
for thread in threads: thread.join()
print("calm", flush=True)
"""


def test_mappings_that_change_all_the_time(tmp_path):
    paths = []
    for number in range(3):
        paths.append(str(tmp_path / f"libtt_metal{number}.so"))
        shutil.copy(harness.library(harness.LAYOUTS[number % 2]), paths[-1])
    program = harness.Program(["/usr/bin/python3", "-c", STORM, *paths], tmp_path, "workload")
    program.ready("storm")
    bufscope("check", "-p", str(program.pid), status=[0, 1])
    watcher = harness.attach([program.pid], tmp_path)
    for _ in range(3):
        watcher.snapshot()
    program.go()
    assert program.wait() == 0 and b"calm" in program.output
    watcher.finish()
    clean(read(watcher.stderr_path))
