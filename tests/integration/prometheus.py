# SPDX-License-Identifier: BSD-2-Clause
"""Metrics for tests: the endpoint of `bufscope serve`, its text, and a real Prometheus that scrapes it."""
import json
import os
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request

from harness import HANG_SECONDS, Program

SAMPLE = re.compile(r'(\w+)(?:\{(.*)\})? (\S+)')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
ESCAPED = {"n": "\n", '"': '"', "\\": "\\"}
# Of the metrics that are per process, device and type: the key of each in a report.
CELLS = {name: name for name in ("live_bytes", "live_buffers", "held_bytes", "held_buffers", "peak_bytes", "peak_buffers")}
COUNTS = {"allocations": "allocated", "frees": "freed", "unknown_frees": "unknown_frees",
          "double_frees": "double_frees", "lost_records": "lost_records"}


class Sample:
    def __init__(self, name, labels, value):
        self.name, self.labels, self.value = name, labels, value


def parse(text):
    """The samples of either format."""
    samples = []
    for line in text.splitlines():
        if line.startswith("#") or not line:
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        found = {key: re.sub(r"\\(.)", lambda match: ESCAPED[match.group(1)], escaped)
                 for key, escaped in LABEL.findall(labels or "")}
        samples.append(Sample(name, found, value))
    return samples


def families(text):
    """name -> type, as the text declares them."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def number(samples, name):
    """The value of the only sample of that name."""
    value, = [sample.value for sample in samples if sample.name == name]
    return float(value)


def nanoseconds(value):
    """A time as it is written in a sample, without loss."""
    seconds, _, fraction = value.partition(".")
    return int(seconds) * 1000000000 + int((fraction + "0" * 9)[:9])


class Endpoint:
    def __init__(self, url):
        self.url = url

    @classmethod
    def of(cls, program):
        """That of a program which tells of it on stderr."""
        return cls(program.wait_stderr(r"metrics at (http://\S+)").group(1))

    @property
    def address(self):
        return urllib.parse.urlsplit(self.url).netloc

    def get(self, openmetrics=False):
        request = urllib.request.Request(self.url)
        if openmetrics:
            request.add_header("Accept", "application/openmetrics-text; version=1.0.0, text/plain; q=0.5")
        with urllib.request.urlopen(request, timeout=HANG_SECONDS) as answer:
            return answer.read().decode()

    def now(self, openmetrics=False):
        """The text of this moment: one that was made before is given again for a while."""
        return self.since(time.time_ns(), openmetrics)

    def since(self, moment_ns, openmetrics=False):
        deadline = time.monotonic() + HANG_SECONDS
        while True:
            text = self.get(openmetrics)
            taken, = [sample.value for sample in parse(text) if sample.name == "bufscope_snapshot_timestamp_seconds"]
            if nanoseconds(taken) >= moment_ns:
                return text
            assert time.monotonic() < deadline, f"no metrics that are newer than {moment_ns}"
            time.sleep(0.02)


class Prometheus(Program):
    """
    Scrapes one endpoint all the time; its data is in the test's folder. What is asked for is of the scrape that
    scraped() waited for: a later one may fail on a busy machine.
    """

    def __init__(self, endpoint, folder, rules=None):
        config = {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
                  "rule_files": [str(rules)] if rules else [],
                  "scrape_configs": [{"job_name": "bufscope", "static_configs": [{"targets": [endpoint.address]}]}]}
        path = os.path.join(str(folder), "prometheus.yml")
        with open(path, "w") as file:
            json.dump(config, file)             # which is YAML as well
        super().__init__([shutil.which("prometheus"), "--config.file", path, "--web.listen-address", "127.0.0.1:0",
                          "--storage.tsdb.path", os.path.join(str(folder), "prometheus")], folder, "prometheus")
        port = self.wait_stderr(r'msg="Listening on" address=127\.0\.0\.1:(\d+)').group(1)
        self.api = f"http://127.0.0.1:{port}/api/v1/"
        self.wait_stderr("Server is ready")
        self.time = None        # of that scrape

    def ask(self, path):
        with urllib.request.urlopen(self.api + path, timeout=HANG_SECONDS) as answer:
            result = json.load(answer)
        assert result["status"] == "success", result
        return result["data"]

    def query(self, expression, now=False):
        """An instant query's samples."""
        arguments = {"query": expression}
        if not now and self.time is not None:
            arguments["time"] = self.time
        result = self.ask("query?" + urllib.parse.urlencode(arguments))["result"]
        return [Sample(row["metric"].get("__name__"), row["metric"], row["value"][1]) for row in result]

    def rules(self):
        return self.ask("rules")["groups"]

    def scraped(self, moment=None):
        """Until what it has was true at @moment (Unix time; now) or later."""
        moment = time.time() if moment is None else moment
        taken = "bufscope_snapshot_timestamp_seconds"
        deadline = time.monotonic() + HANG_SECONDS
        while True:
            # Of the scrape itself: one that has begun but not ended yet has a later time.
            self.time = next((sample.value for sample in self.query(f"timestamp({taken})", now=True)), None)
            if self.time and any(float(sample.value) >= moment for sample in self.query(taken)):
                return
            assert time.monotonic() < deadline, f"nothing was scraped; stderr:\n{self.stderr()}"
            time.sleep(0.05)


def gone(server, pid):
    """Until a service has taken in the end of a process."""
    deadline = time.monotonic() + HANG_SECONDS
    while server.process(pid):
        assert time.monotonic() < deadline, f"process {pid} has ended and is still there"


def cells(samples, name, pid):
    """{(device, type): value} of a metric of one process."""
    return {(sample.labels["device"], sample.labels["type"]): int(float(sample.value)) for sample in samples
            if sample.name == f"bufscope_process_{name}" and sample.labels["pid"] == str(pid)}


def nonzero(figures):
    """A type that only the books know of, with nothing in it, is no row of a report."""
    return {key: value for key, value in figures.items() if value}


def reported_cells(process, key):
    """The same out of a report."""
    return {("unknown" if device["device"] is None or device["device"] < 0 else str(device["device"]), row["type"]): row[key]
            for device in process["devices"] for row in device["types"]}


def labels_of(process):
    """What every series of a process says of it."""
    return {"pid": str(process["pid"]), "process": os.path.basename(process["command"][0]),
            "user": str(process["user"]), "container": process["cgroup"]}


def assert_equals_report(samples, process):
    """All that the metrics tell of one process is what the report tells."""
    pid, known = process["pid"], labels_of(process)
    for name, key in CELLS.items():
        assert nonzero(cells(samples, name, pid)) == nonzero(reported_cells(process, key)), name
    for name, key in COUNTS.items():
        value, = [sample.value for sample in samples
                  if sample.name == f"bufscope_process_{name}_total" and sample.labels["pid"] == str(pid)]
        assert int(value) == process[key], name
    exact, = [sample.value for sample in samples
              if sample.name == "bufscope_process_exact" and sample.labels["pid"] == str(pid)]
    assert int(exact) == process["exact"]
    for sample in samples:
        if sample.labels.get("pid") == str(pid):
            assert {key: sample.labels[key] for key in known} == known, sample.name


def assert_totals_are_sums(samples):
    """Of one scrape: the figures of all processes are the sums of those of each."""
    for name in ("live_bytes", "live_buffers", "held_bytes", "held_buffers", "footprint_bytes"):
        sums = {}
        for sample in samples:
            if sample.name == f"bufscope_process_{name}":
                kind = sample.labels["type"]
                sums[kind] = sums.get(kind, 0) + int(sample.value)
        totals = {sample.labels["type"]: int(sample.value) for sample in samples if sample.name == f"bufscope_{name}"}
        assert totals == sums, name


def check_text(text):
    """promtool has nothing to say against it."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True,
                                  timeout=HANG_SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
