"""Measurement: alternating blocks of both sides, after a check that both compute the same."""

import contextlib
import json
import math
import os
import statistics
import sys
import time
from pathlib import Path

from workers import HERE, Failure, Side

# A sample lasts about this long, several runs of short work together.
SAMPLE_SECONDS = 0.03
# What a block of samples lasts, and how many blocks each side gets: (quick, full).
BLOCK_SECONDS = (0.15, 0.4)
BLOCKS = (4, 12)
# Between blocks, so that the threads of the side before have gone to sleep.
PAUSE_SECONDS = 0.02
# Largest distance of losses (relative) and of results and gradients (relative to the norm) between the sides. Both
# sum in f32 in different orders, which turns single ReLUs over: one of two million is 8e-4 in a batch norm, and
# against f64 the gradients of RN50's step are off by up to 1.3e-2 on our side and 2.1e-2 on PyTorch's (batch 8).
# A wrong gradient is off by about 1.
LOSS_TOLERANCE = 1e-4
LATER_LOSS_TOLERANCE = 5e-3  # AdamW turns rounding of gradients that are 0 into whole steps
SIGNATURE_TOLERANCE = 2e-3
MODEL_SIGNATURE_TOLERANCE = 6e-2
# Short work, and work that memory bounds: where the wait policy of OpenMP's threads shows.
PROBES = ("linear-tiny", "quick-gelu-vit")
PEAK = {"name": "sgemm", "work": {"product": {"size": 1536}}}


def wanted(filters):
    """The rows whose names contain one of the filters."""
    rows = json.loads((HERE / "rows.json").read_text())
    chosen = [row for row in rows if not filters or any(part in row["name"] for part in filters)]
    for part in filters:
        if not any(part in row["name"] for row in rows):
            raise Failure(f"no row's name contains {part!r}; --list names them")
    return chosen


def is_model(row):
    return next(iter(row["work"])) in ("step", "encode")


def has_model(row):
    return is_model(row) or "adam-w" in row["work"]


def tiny_step(batch, threads):
    """The tiny model's step at another batch."""
    row = next(row for row in wanted([]) if row["name"] == "tiny-step")
    work = {"step": {**row["work"]["step"], "batch": batch}}
    return {"name": f"tiny-step-{batch}-{threads}", "title": f"tiny CLIP step, batch {batch}, {threads} thread(s)", "work": work}


@contextlib.contextmanager
def Sides(sides):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(side) for side in sides]


def peak(sides):
    """FLOP/s of the faster side's matrix product."""
    flop = None
    for side in sides[:2]:
        answer = side.ask("prepare", work=PEAK["work"], weights=None)
        flop = flop or answer["flop"]
        side.ask("run", repetitions=1, inner=1)
    samples = [side.ask("run", repetitions=1, inner=2)["seconds"][0] for _ in range(3) for side in sides[:2]]
    return flop / min(samples)


def wait_policy(python, threads):
    """The wait policy of OpenMP's threads with which PyTorch is faster here and now. Threads that spin while they
    wait are faster on a quiet machine and many times slower on a shared one."""
    rows = [row for row in wanted([]) if row["name"] in PROBES]
    policies = {policy: Side.pytorch(python, threads, policy) for policy in ("default", "passive")}
    logarithms = dict.fromkeys(policies, 0.0)
    with Sides(policies.values()):
        for row in rows:
            for side in policies.values():
                side.ask("prepare", work=row["work"], weights=None)
            samples = {policy: [] for policy in policies}
            for _ in range(6):
                for policy, side in policies.items():
                    samples[policy] += side.ask("run", repetitions=1, inner=3)["seconds"]
            for policy in policies:
                logarithms[policy] += math.log(statistics.median(samples[policy][1:]))
    return min(policies, key=logarithms.get)


def same(row, ours, theirs, name):
    """Fails if the sides do not compute the same."""
    for index, (a, b) in enumerate(zip(ours["losses"], theirs["losses"], strict=True)):
        tolerance = LOSS_TOLERANCE if index == 0 else LATER_LOSS_TOLERANCE
        if not abs(a - b) <= tolerance * abs(b):
            raise Failure(f"{row['name']}: loss {index}: ours {a}, {name} {b}; the sides do not compute the same")
    a, b = ours["signatures"], theirs["signatures"]
    if a.keys() != b.keys():
        raise Failure(f"{row['name']}: only one side has {sorted(a.keys() ^ b.keys())}")
    norms = [value["norm"] for value in b.values()]
    # What is 0 up to rounding, such as the gradient of the keys' bias, has no scale of its own.
    floor = 1e-4 * max(norms, default=0.0)
    largest, tolerance = 0.0, MODEL_SIGNATURE_TOLERANCE if is_model(row) else SIGNATURE_TOLERANCE
    for key in a:
        scale = max(b[key]["norm"], floor)
        for part in ("norm", "projection"):
            distance = abs(a[key][part] - b[key][part]) / scale
            largest = max(largest, distance)
            if not distance <= tolerance:
                raise Failure(f"{row['name']}: {key}: ours {a[key]}, {name} {b[key]}; the sides do not compute the same")
    return {"losses": len(ours["losses"]), "tensors": len(a), "largest_distance": largest}


class Others:
    """Processor time used by other processes between two moments, as a share of all cores."""

    def __init__(self, sides):
        self.processes = [side.process.pid for side in sides]
        self.before = self.now()

    def now(self):
        with open("/proc/stat") as file:
            user, nice, system, _, _, interrupt, soft, steal = map(int, file.readline().split()[1:9])
        own = 0
        for process in [*self.processes, os.getpid()]:
            with open(f"/proc/{process}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            own += int(fields[11]) + int(fields[12])
        ticks = time.monotonic() * os.sysconf("SC_CLK_TCK")
        return user + nice + system + interrupt + soft + steal - own, ticks

    def share(self):
        (busy, then), (later, now) = self.before, self.now()
        return max(0.0, (later - busy) / ((now - then) * os.cpu_count()))


def prepared(sides, row, folder):
    """Both sides ready and compared. A further side that fails is left out, and its reason kept."""
    weights = str(Path(folder) / "weights.safetensors")
    count = sides[0].ask("prepare", work=row["work"], weights=weights if has_model(row) else None)
    result = {"name": row["name"], "title": row["title"], **count, "sides": {}, "failures": {}}
    kept, ours = [sides[0]], sides[0].ask("check")
    for side in sides[1:]:
        try:
            side.ask("prepare", work=row["work"], weights=weights if has_model(row) else None)
            result.setdefault("same", {})[side.name] = same(row, ours, side.ask("check"), side.name)
            kept.append(side)
        except Failure as failure:
            if side.name == "pytorch":
                raise
            result["failures"][side.name] = str(failure)
    if has_model(row):
        os.unlink(weights)
    return result, kept


def row(sides, row, quick, folder):
    """Times a row: alternating blocks of every side, in reversed order each time."""
    print(f"{row['name']} ...", end="", file=sys.stderr, flush=True)
    result, sides = prepared(sides, row, folder)
    plan, blocks = {}, {side.name: [] for side in sides}
    for side in sides:
        seconds = min(side.ask("run", repetitions=2, inner=1)["seconds"])
        inner = max(1, min(10_000, math.ceil(SAMPLE_SECONDS / max(seconds, 1e-9))))
        plan[side.name] = {"inner": inner, "repetitions": max(1, round(BLOCK_SECONDS[not quick] / (seconds * inner)))}
    others = Others(sides)
    for block in range(BLOCKS[not quick]):
        for side in sides if block % 2 == 0 else reversed(sides):
            time.sleep(PAUSE_SECONDS)
            blocks[side.name].append(side.ask("run", **plan[side.name])["seconds"])
    result["others"] = others.share()
    medians = {name: [statistics.median(block) for block in of] for name, of in blocks.items()}
    for name, of in blocks.items():
        samples = [sample for block in of for sample in block]
        result["sides"][name] = {**spread(samples), "samples": samples, **plan[name]}
    for name in medians.keys() - {"ours"}:
        # Of neighbouring blocks: the load from other processes affects both alike.
        result["sides"][name]["ratio"] = spread([b / a for a, b in zip(medians["ours"], medians[name])])
    print("", file=sys.stderr)
    return result


def spread(samples):
    """Median and quartiles."""
    if len(samples) < 2:
        return {"median": samples[0], "low": samples[0], "high": samples[0]}
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high}


def memory(sides, row):
    """Peak memory of each side in a process of its own: before the model is made, and the peak of three runs."""
    found = {}
    for side in sides:
        try:
            with side.fresh() as fresh:
                found[side.name] = fresh.ask("memory", work=row["work"], repetitions=3)
        except Failure as failure:
            if side.name != "compiled":
                raise
            print(failure, file=sys.stderr)
    return found
