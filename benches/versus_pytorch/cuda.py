"""The rows on one CUDA card, beside PyTorch on the same card: `run --device cuda`.

A side is a process of its own for each row and precision. Both hold the card at the same time and compute in turns, or one
after the other where they do not fit together. The clock is read after the device was waited for, at both ends of a sample
of several steps.
"""

import contextlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from cuda_check import compared
from cuda_report import Results, name, nvidia_smi
from measure import spread
from workers import HERE, Failure, Side, TooLong

DEVICE = "cuda"
PRECISIONS = ("bf16", "tf32", "f32")
# What each side does untimed: cuDNN's choice of algorithms, growing pools, compiling kernels.
WARM_UP = 3
# A sample lasts this long at least; it is aimed a little higher, because the steps that it is planned by may be slow.
SAMPLE_SECONDS, AIM = 0.3, 1.3
MOST_STEPS = 2000
BLOCKS = (3, 6)
# A side that takes longer for one answer hangs; torch.compile that takes longer is left out.
ANSWER_SECONDS, COMPILE_SECONDS = 180, 60


def jobs(filters):
    """Rows with a precision each, in the order in which they are asked for: all rows in bf16 first."""
    rows = json.loads((HERE / "rows-cuda.json").read_text())
    pairs = [(row, precision) for precision in PRECISIONS for row in rows if precision in row.get("precisions", PRECISIONS)]
    chosen = [job for job in pairs if not filters or any(part in name(*job) for part in filters)]
    if not chosen:
        raise Failure(f"no row on CUDA is called like {filters}; there are " + ", ".join(name(*job) for job in pairs))
    return chosen


class Watch:
    """The most that the card's used memory grows by within the block, in bytes; none where nvidia-smi does not say."""

    def __enter__(self):
        self.before, self.most, self.growth = self.number(nvidia_smi("memory.used")), 0, None
        if self.before is not None:
            command = ["nvidia-smi", "-i", "0", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-lms", "50"]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self.reader = threading.Thread(target=self.read, daemon=True)
            self.reader.start()
        return self

    def __exit__(self, *_):
        if self.before is None:
            return
        self.process.kill()
        self.process.wait()
        self.reader.join(timeout=5)
        self.most = max(self.most, self.number(nvidia_smi("memory.used")) or 0)
        self.growth = max(0, self.most - self.before) << 20

    def read(self):
        for line in self.process.stdout:
            self.most = max(self.most, self.number(line) or 0)

    @staticmethod
    def number(text):
        return int(text) if text.strip().isdigit() else None


def no_memory(failure):
    """Whether a side said that the card's memory is full."""
    return re.search(r"out of memory(?!\?)|OUT_OF_MEMORY|ALLOC_FAILED", str(failure), re.IGNORECASE) is not None


class Job:
    """A row in one precision."""

    def __init__(self, options, row, precision, about, references):
        self.options, self.row, self.precision = options, row, precision
        # What one row finds out for later ones: the peak in each precision, and what each row gives in f32.
        self.about, self.references = about, references
        self.checks, self.samples, self.events, self.inner, self.memory = {}, {}, {}, {}, {}
        facts = {key: row[key] for key in ("title", "samples", "work")}
        self.result = {"name": name(row, precision), **facts, "precision": precision, "sides": {}, "notes": []}

    def ask(self, side, request, seconds=ANSWER_SECONDS, **arguments):
        return side.ask(request, seconds=seconds, **arguments)

    def learn(self, pytorch, weights):
        """The card's peak and the row's results in f32, where they are not known yet. Before anything else fills the card."""
        if self.precision not in self.about["peaks"]:
            self.about["peaks"][self.precision] = self.ask(pytorch, "peak")["flop_per_second"]
        key = self.row["name"].removesuffix("-upload")
        if self.precision != "f32" and key not in self.references:
            self.references[key] = self.ask(pytorch, "reference", work=self.row["work"], weights=weights)

    def prepare(self, group, weights):
        """Every side ready, checked and warm. torch.compile that fails is left out."""
        sides = {side.name: side for side in group}
        if "ours" in sides:
            with Watch() as first:
                self.result |= self.ask(sides["ours"], "prepare", work=self.row["work"], weights=weights)
        if "pytorch" in sides:
            self.learn(sides["pytorch"], weights)
        if "ours" in sides:
            with Watch() as then:
                self.warm(sides["ours"])
            self.memory["ours"] = None if first.growth is None or then.growth is None else first.growth + then.growth
        for side in [side for side in group if side.name != "ours"]:
            try:
                answer = self.ask(side, "prepare", work=self.row["work"], weights=weights)
                self.result["torch"] = answer["torch"]
                self.warm(side, COMPILE_SECONDS if side.name == "compiled" else ANSWER_SECONDS)
                self.ask(side, "count_memory")
            except Failure as failure:
                if side.name == "pytorch" or (no_memory(failure) and len(group) > 1):
                    raise
                reason = f"not within {COMPILE_SECONDS} s" if isinstance(failure, TooLong) else shortly(failure)
                self.result["notes"].append(f"torch.compile left out: {reason}")
                group.remove(side)

    def warm(self, side, seconds=ANSWER_SECONDS):
        started = time.monotonic()
        self.checks[side.name] = self.ask(side, "check", seconds)
        if side.name == "compiled":
            self.result["notes"].append(f"compiled, and its check done, in {time.monotonic() - started:.0f} s")
        self.ask(side, "run", repetitions=1, inner=WARM_UP)
        took = self.ask(side, "run", repetitions=1, inner=WARM_UP)["seconds"][0]
        self.inner[side.name] = min(MOST_STEPS, max(2, math.ceil(AIM * SAMPLE_SECONDS / took)))

    def time(self, group):
        for block in range(BLOCKS[not self.options.quick]):
            for side in group if block % 2 == 0 else reversed(group):
                answer = self.ask(side, "run", repetitions=1, inner=self.inner[side.name])
                self.samples.setdefault(side.name, []).extend(answer["seconds"])
                self.events.setdefault(side.name, []).extend(answer.get("events", []))
        for side in group:
            if side.name != "ours":
                found = self.ask(side, "device_memory")
                self.memory[side.name] = found["allocated"]
                self.result.setdefault("reserved", {})[side.name] = found["reserved"]

    def finished(self):
        for side, samples in self.samples.items():
            events = spread(self.events[side])["median"] if self.events[side] else None
            facts = {"memory": self.memory[side], "inner": self.inner[side], "events": events, "samples": samples}
            self.result["sides"][side] = {**spread(samples), **facts}
            if side != "ours":
                self.result["sides"][side]["ratio"] = spread([b / a for a, b in zip(self.samples["ours"], samples)])
        reference = self.references.get(self.row["name"].removesuffix("-upload")) if self.precision != "f32" else None
        others = [side for side in self.samples if side != "ours"]
        self.result["checked"] = {side: compared(self.precision, self.checks["ours"], self.checks[side], reference) for side in others}
        if self.result["checked"].get("compiled", {}).get("faults"):
            self.result["notes"].append("torch.compile: not the same")
        return self.result


def shortly(failure):
    return " ".join(str(failure).split()).replace("|", "/")[:300] or "it failed"


def sides(options, python, binary, precision):
    """Our process and PyTorch's, and torch.compile's where wanted; none started yet."""
    place, threads = (DEVICE, precision), os.cpu_count()
    found = [Side.ours(binary, threads, place), Side.pytorch(python, threads, "default", place=place)]
    if options.compile:
        found.append(Side.pytorch(python, threads, "default", compiled=True, place=place))
    return found


def measured(job, groups):
    """The row's result; each group of sides holds the card together."""
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder) / "weights.safetensors") if "product" not in job.row["work"] else None
        for group in groups:
            with contextlib.ExitStack() as stack:
                for side in group:
                    stack.enter_context(side)
                job.prepare(group, weights)
                job.time(group)
    return job.finished()


def one(options, python, binary, results, references, row, precision):
    """A row, its sides in turns; one after the other where the card does not hold them together."""
    begin = lambda: (Job(options, row, precision, results.about, references), sides(options, python, binary, precision))
    try:
        job, together = begin()
        return measured(job, [together])
    except Failure as failure:
        if not no_memory(failure):
            raise
        print(f"{name(row, precision)}: {shortly(failure)}; one side after the other", file=sys.stderr)
    job, each = begin()
    job.result["notes"].append("one side after the other, for lack of memory")
    return measured(job, [[side] for side in each])


def table(options, python, binary, path):
    wanted = jobs(options.rows)
    results, references, started = Results(options, path, wanted), {}, time.monotonic()
    for row, precision in wanted:
        if options.limit is not None and time.monotonic() - started > options.limit:
            break
        print(f"{name(row, precision)} ...", file=sys.stderr, flush=True)
        try:
            results.add(one(options, python, binary, results, references, row, precision))
        except Failure as failure:
            print(failure, file=sys.stderr)
            facts = {key: row[key] for key in ("title", "samples")}
            results.add({"name": name(row, precision), **facts, "precision": precision, "failure": shortly(failure)})
    if results.not_run:
        print("not run: " + ", ".join(results.not_run))
