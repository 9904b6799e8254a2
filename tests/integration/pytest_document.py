# SPDX-License-Identifier: BSD-2-Clause
"""Runs what docs/pytest.md shows: its code blocks are files, named by their first line."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree

import harness

DOCS = os.path.join(harness.ROOT, "docs")
CLIENT = os.path.join(DOCS, "python", "bufscope_client.py")
# What its fixture answers at each stop, what `bufscope dump` answers, and the runtime's books, for us to compare.
RECORDER = '''
def record(name, buffers, books):
    dump = ["bufscope", "dump", "-p", str(os.getpid()), "--format", "json"]
    process, = json.loads(subprocess.run(dump, check=True, capture_output=True).stdout)["processes"]
    with open("record", "a") as file:
        print(json.dumps({"name": name, "buffers": buffers, "process": process, "books": books}), file=file)
'''


def blocks(document):
    """The Python of a page, block by block."""
    with open(os.path.join(DOCS, document)) as file:
        return re.findall(r"^```python\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)


def block(first_line):
    """All that docs/pytest.md shows of one file."""
    return "\n\n".join(text for text in blocks("pytest.md") if text.startswith(first_line + "\n"))


class Place:
    """A folder for one run of pytest that every user reaches and @user owns. Removed by close()."""

    def __init__(self, server, user=0):
        self.path = tempfile.mkdtemp(prefix="bufscope-pytest-")
        self.user = user
        os.chmod(self.path, 0o755)
        os.chown(self.path, user, -1)
        self.add(CLIENT)
        self.environment = {"BUFSCOPE_SOCKET": server.socket, "PYTHONDONTWRITEBYTECODE": "1",
                            "PATH": os.path.dirname(self.add(harness.BUFSCOPE)) + os.pathsep + os.environ["PATH"]}

    def close(self):
        shutil.rmtree(self.path)

    def add(self, path):
        """A copy; its path."""
        return shutil.copy(path, self.path)

    def write(self, name, text):
        with open(os.path.join(self.path, name), "w") as file:
            file.write(text)
        os.chmod(file.name, 0o644)

    def pytest(self, python="/usr/bin/python3", env=None, folders=()):
        """{test: "passed", "failure" (in the test) or "error" (in a fixture)}, and pytest's output."""
        environment = dict(env or os.environ, **self.environment)
        environment["PYTHONPATH"] = os.pathsep.join([self.path, *folders, *filter(None, [environment.get("PYTHONPATH")])])
        as_user = ["setpriv", "--reuid", str(self.user), "--clear-groups", "--"] if self.user else []
        done = subprocess.run([*as_user, python, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--rootdir", self.path,
                               "--junitxml", "result.xml"], cwd=self.path, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=harness.HANG_SECONDS)
        assert done.returncode in (0, 1), done.stdout
        results = {}
        for case in xml.etree.ElementTree.parse(os.path.join(self.path, "result.xml")).iter("testcase"):
            for result in [child.tag for child in case if child.tag in ("failure", "error", "skipped")] or ["passed"]:
                results[case.get("name")] = result
        return results, done.stdout

    def records(self):
        with open(os.path.join(self.path, "record")) as file:
            return [json.loads(line) for line in file]
