#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes the seeds tests/fuzz/corpus/TARGET/seed-*. Inputs of other names there were found by fuzzing.

    tests/fuzz/make_seeds.py

The seeds are in the tree, so that a replay does not depend on this machine's compiler and linker.
"""
import json
import os
import random
import struct
import subprocess
import tempfile

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")

LIBRARY = """
extern void *malloc(unsigned long);
static int hidden(int x) { return x * 3; }
int (*seed_static)(int) = hidden;
void *seed_data[2] = {seed_data, malloc};
struct thing { long a; int b; struct thing *next; };
int seed_function(struct thing *thing, int x)
{
	if (thing->b != x)
		return hidden(thing->next->b) + !malloc(16);
	return thing->a;
}
"""


def seed(target, name, data):
    folder = os.path.join(CORPUS, target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "seed-" + name), "wb") as file:
        file.write(data)


def addresses(path):
    """What a reader asks for: functions, data, the PLT. Appended, where the fuzz target looks for them."""
    found = []
    for line in subprocess.run(["nm", "--defined-only", path], capture_output=True, text=True).stdout.splitlines():
        if line.split()[2] in ("seed_function", "seed_data", "seed_static", "hidden"):
            found.append(int(line.split()[0], 16))
    for line in subprocess.run(["readelf", "-SW", path], capture_output=True, text=True).stdout.splitlines():
        words = line.replace("[", " ").replace("]", " ").split()
        if len(words) > 3 and words[1] in (".plt", ".plt.sec", ".plt.got", ".got.plt"):
            found += [int(words[3], 16), int(words[3], 16) + 16]
    return b"".join(struct.pack("<Q", vaddr) for vaddr in (found + [0] * 8)[:8])


def elf_seeds():
    with tempfile.TemporaryDirectory() as folder:
        source, out = os.path.join(folder, "seed.c"), os.path.join(folder, "seed.so")
        with open(source, "w") as file:
            file.write(LIBRARY)
        common = ["gcc", "-shared", "-fPIC", "-O1", "-nostdlib", "-fno-builtin", "-Wl,-z,noseparate-code",
                  "-Wl,-z,max-page-size=4096", "-o", out, source]
        for name, options in {"gnu-hash": ["-Wl,--hash-style=gnu", "-Wl,--build-id"],
                              "sysv-hash": ["-Wl,--hash-style=sysv", "-Wl,--build-id=md5"],
                              "now": ["-Wl,-z,now", "-Wl,--hash-style=both", "-fcf-protection=full"],
                              "no-plt": ["-fno-plt", "-fno-omit-frame-pointer", "-s"]}.items():
            subprocess.run(common + options, check=True)
            with open(out, "rb") as file:
                seed("elf", name, file.read() + addresses(out))


def note(kind, data):
    return struct.pack("<III", 5, len(data), kind) + b"CORE\0\0\0\0" + data + bytes(-len(data) % 4)


def core(extended=False, segments=((0x1000, 0x2000, 6), (0x400000, 0x1000, 5), (0x7000, 0x3000, 6))):
    prstatus, prpsinfo = bytearray(336), bytearray(136)
    struct.pack_into("<H", prstatus, 12, 11)
    struct.pack_into("<i", prstatus, 32, 77)
    struct.pack_into("<Q", prstatus, 112 + 19 * 8, 0x1100)
    struct.pack_into("<Q", prpsinfo, 8, 0x40)
    struct.pack_into("<Ii", prpsinfo, 16, 1000, 77)
    prpsinfo[56:70] = b"program --flag"
    files = struct.pack("<QQ", 2, 4096) + struct.pack("<QQQ", 0x400000, 0x401000, 0)
    files += struct.pack("<QQQ", 0x7000, 0x8000, 2) + b"/usr/lib/libtt_metal.so\0/dev/shm/x (deleted)\0"
    notes = note(1, bytes(prstatus)) + note(3, bytes(prpsinfo)) + note(0x46494c45, files) + note(1, bytes(prstatus))
    count, at = len(segments) + 1, 64 + 56 * (len(segments) + 1) + (64 if extended else 0)
    header = b"\x7fELF\2\1\1" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, at - 64 if extended else 0, 0, 64, 56,
                          0xffff if extended else count, 64, 0, 0)
    headers = struct.pack("<IIQQQQQQ", 4, 4, at, 0, 0, len(notes), 0, 4)
    content, place = b"", at + len(notes)
    for number, (start, size, flags) in enumerate(segments):
        dumped = 64 if number < 2 else 0
        headers += struct.pack("<IIQQQQQQ", 1, flags, place + len(content), start, 0, dumped, size, 1)
        content += bytes([number + 1]) * dumped
    section = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, count, 0, 0) if extended else b""
    return header + headers + section + notes + content


def core_seeds():
    seed("core", "plain", core())
    seed("core", "many-segments", core(extended=True))
    seed("core", "cut", core()[:-70])
    seed("core", "compressed", subprocess.run(["zstd", "-q", "-c"], input=core(), capture_output=True,
                                              check=True).stdout)


def decode_seeds():
    window = struct.pack("<QQIBBHQQQ", 0x3000, 4096, 0, 2, 0, 0, 65536, 1024, 0x5000).ljust(80, b"\0")
    device = struct.pack("<QIIII", 0x3000, 1, 2, 0, 0) + struct.pack("<64i", 0, 1, *[0] * 62)

    def fork(parent):
        return b"\3\0\0\0" + struct.pack("<QII", 5, parent, 7)

    def thing(role, address):
        return bytes([0, role - 1, 0, 0]) + struct.pack("<Q", address) + window
    birth, known = fork(0), b"\2\0\0\0" + device
    two = thing(1, 0x100) + thing(1, 0x200)
    leave = b"\5\0\0\0" + struct.pack("<QQQII", 0, 0, 0, 9, 0)
    seed("decode", "life", b"\0" + birth + known + two + thing(2, 0x100) + leave)
    seed("decode", "close", b"\0" + birth + known + two + b"\1\2\0\0" + struct.pack("<Q", 0x3000) + b"\1\3\0\0" +
         struct.pack("<Q", 0x5000) + b"\1\4\0\0" + struct.pack("<Q", 0x100) + leave)
    seed("decode", "exec", b"\0" + birth + known + two + b"\4\0\0\0" + struct.pack("<QII", 5, 1, 1) + leave)
    seed("decode", "double-free", b"\0" + birth + known + two + thing(2, 0x100) * 2 + thing(1, 0x200) + thing(2, 0x900))
    seed("decode", "raw", b"\1" + struct.pack("<QIIIIBBHI", 1, 1, 7, 7, 1, 1, 1, 0, 0) + struct.pack("<Q", 0x100) +
         window)


def text_seeds():
    seed("maps", "library", b"7f0000000000-7f0000010000 r-xp 00001000 fe:01 131 /usr/lib/libtt_metal.so\n"
         b"7f0000010000-7f0000011000 rw-p 00000000 00:00 0 [heap]\n")
    seed("maps", "deleted", b"1000-2000 r-xp 00000000 00:1f 9 /tmp/a\\012b \x1b[2J (deleted)\n")
    seed("maps", "utf8", "1-2 --xp 0 0:0 1 /\u202e\u0085\ud7ff\U0010ffff".encode())
    for number, arguments in {
            "run": [0, "--format", "json", "-o", "f", "--interval", "500ms", "--buffers=all", "--", "a", "-b"],
            "run-as": [0, "--run-as", "u", "--ring-size", "4K", "--no-wait", "--adopt", "7", "--prepare", "f", "a"],
            "attach": [1, "-p", "1", "-p2", "--name", "a*", "--verify", "2min", "-qv", "--events", "e.ndjson"],
            "census": [2, "--core", "c", "--sysroot", "/s", "--buffers", "5", "-o-"],
            "census-pid": [2, "-p", "4194304", "--freeze"]}.items():
        seed("options", number, bytes(arguments[:1]) + b"".join(word.encode() + b"\0" for word in arguments[1:]))


def change_seeds():
    """Lists of changes: their places are found by fuzzing."""
    numbers = random.Random(1)
    for name in ("plain", "pimpl"):
        seed("learn", name, bytes([name == "pimpl"]))
        seed("learn", name + "-changed", bytes([name == "pimpl"]) + bytes(numbers.randrange(256) for _ in range(36)))
    seed("census", "changed", bytes(numbers.randrange(256) for _ in range(48)))


def protocol_seeds():
    """The first byte is where the stream is cut, the rest frames."""
    def frame(command, **options):
        body = json.dumps({"protocol": 1, "client": "0", "command": command, "options": options}).encode()
        return struct.pack(">I", len(body)) + body
    seed("protocol", "dump", b"\x80" + frame("dump", format="json", pids=[1, 2], devices=[0, -1], types=["DRAM", "L1_SMALL"],
                                             users=[0], min_size=1, older_ns=2, sort="age"))
    seed("protocol", "text", b"\xff" + frame("dump", format="text", buffers=-1, fail_if_any=True, fail_above=5, utf8=True,
                                             colour=False, width=20, sort="address"))
    seed("protocol", "marks", b"\0" + frame("mark", name="a") + frame("diff", **{"from": "a", "to": "b:1"}))
    seed("protocol", "wrong", b"\x10" + frame("ps", format="xml") + frame("ps", older="\x1b[2J") + b"\0\0\0\0\0\1\0\1")
    seed("protocol", "cut", b"\x40" + frame("watch")[:-1])


elf_seeds()
core_seeds()
decode_seeds()
text_seeds()
change_seeds()
protocol_seeds()
