"""The rows on one CUDA card, beside PyTorch on the same card: `run --device cuda`.

Both sides hold the card at the same time and compute in turns. A side is a process of its own for each row and
precision. The clock is read after the device was waited for, at both ends of a sample of several steps.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import same_numbers, spread
from workers import HERE, ROOT, Failure, Side

# What each side does untimed: cuDNN's choice of algorithms, growing pools, compiling kernels.
WARM_UP = 4
SAMPLE_SECONDS = 0.4
BLOCKS = (3, 6)
# Largest distance between the sides: of losses (relative) and of the norm and projection of gradients and features
# (relative to the norm). A product of bf16 factors rounds each to 8 bits (2^-9 relative), of tf32 to 11 (2^-12); a model
# has some hundred of them between input and gradient, whose roundings add like a random walk: 10 to 20 times one.
# PyTorch's autocast also keeps the residual stream in f32, which our side rounds. A wrong gradient is off by about 1.
TOLERANCES = {"f32": (1e-4, 6e-2), "tf32": (2e-3, 1e-1), "bf16": (2e-2, 3e-1)}
# NVIDIA's data sheet of the H100 SXM and H200, dense, in FLOP/s.
DATA_SHEET = {"bf16": 989e12, "tf32": 495e12, "f32": 67e12}
LEGEND = """Times are medians of a step in samples of several, between two waits for the device; *ratio* is PyTorch's time
over ours (above 1 ours is faster), the median over neighbouring blocks with the quartiles in brackets. *share* is the
model's operations (products and convolutions, forward and backward) over our time, of the data sheet's peak in that
precision. *memory* is the most that each side held: of our process as the driver counts it, context included, and of
PyTorch's allocator. PyTorch runs eagerly: fused AdamW, channels last, scaled_dot_product_attention, cudnn.benchmark; bf16 is
autocast with parameters in f32. *compiled* is the ratio against torch.compile, where it was asked for."""


def nvidia_smi(query):
    try:
        done = subprocess.run(["nvidia-smi", f"--query-{query}", "--format=csv,noheader,nounits"], capture_output=True, text=True)
        return done.stdout.strip()
    except OSError:
        return ""


def held(process):
    """Bytes of the card that a process holds."""
    for line in nvidia_smi("compute-apps=pid,used_memory").splitlines():
        pid, mebibytes = line.split(", ")
        if int(pid) == process:
            return int(mebibytes) << 20
    return None


def jobs(filters):
    """Rows with a precision each, in the order in which they are asked for: the first of each row, then the others."""
    rows = json.loads((HERE / "rows-cuda.json").read_text())
    pairs = [(row, precision) for row in rows for precision in row["precisions"]]
    chosen = [(row, p) for row, p in pairs if not filters or any(part in f"{row['name']}-{p}" for part in filters)]
    if not chosen:
        raise Failure(f"no row on CUDA is called like {filters}; there are " + ", ".join(f"{r['name']}-{p}" for r, p in pairs))
    return sorted(chosen, key=lambda job: job[0]["precisions"].index(job[1]) > 0)


class Sides:
    """Our process and PyTorch's, and torch.compile's where wanted."""

    def __init__(self, options, python, binary, precision):
        place = ("cuda", precision)
        self.all = [Side.ours(binary, os.cpu_count(), place), Side.pytorch(python, os.cpu_count(), "default", place=place)]
        if options.compile:
            self.all.append(Side.pytorch(python, os.cpu_count(), "default", compiled=True, place=place))

    def __enter__(self):
        return [side.start() for side in self.all]

    def __exit__(self, *_):
        for side in self.all:
            side.__exit__()


def prepared(sides, row, precision):
    """Both sides ready and compared; a difference is kept in the result."""
    result = {"name": f"{row['name']}-{precision}", "title": row["title"], "precision": precision, "sides": {}, "notes": []}
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder) / "weights.safetensors")
        result |= sides[0].ask("prepare", work=row["work"], weights=weights)
        ours = sides[0].ask("check")
        for side in sides[1:]:
            started = time.monotonic()
            result |= {"torch": side.ask("prepare", work=row["work"], weights=weights)["torch"]}
            theirs = side.ask("check")
            if side.name == "compiled":
                result["notes"].append(f"compiled in {time.monotonic() - started:.0f} s")
            try:
                result.setdefault("same", {})[side.name] = same_numbers(row["name"], ours, theirs, side.name, TOLERANCES[precision])
            except Failure as failure:
                result["notes"].append(str(failure))
    return result


def timed(sides, row, precision, quick):
    result = prepared(sides, row, precision)
    inner, blocks = {}, {side.name: [] for side in sides}
    for side in sides:
        side.ask("run", repetitions=1, inner=WARM_UP)
        seconds = side.ask("run", repetitions=1, inner=WARM_UP)["seconds"][0]
        inner[side.name] = max(2, math.ceil(SAMPLE_SECONDS / seconds))
    for block in range(BLOCKS[not quick]):
        for side in sides if block % 2 == 0 else reversed(sides):
            blocks[side.name] += side.ask("run", repetitions=1, inner=inner[side.name])["seconds"]
    for name, samples in blocks.items():
        result["sides"][name] = {**spread(samples), "samples": samples, "inner": inner[name]}
        if name != "ours":
            result["sides"][name]["ratio"] = spread([b / a for a, b in zip(blocks["ours"], samples)])
    result["sides"]["ours"]["memory"] = held(sides[0].process.pid)
    result["sides"]["pytorch"]["memory"] = sides[1].ask("device_memory")["peak"]
    result["share"] = result["flop"] / statistics.median(blocks["ours"]) / DATA_SHEET[precision]
    return result


def line(row):
    if "failure" in row:
        return f"| {row['title']} | {row['precision']} | {row['failure']} | | | | | | |"
    ours, theirs = row["sides"]["ours"], row["sides"]["pytorch"]
    ratio, compiled = theirs["ratio"], row["sides"].get("compiled")
    memory = " / ".join("?" if side["memory"] is None else f"{side['memory'] / 2**30:.1f}" for side in (ours, theirs))
    return (
        f"| {row['title']} | {row['precision']} | {ours['median'] * 1e3:.2f} | {theirs['median'] * 1e3:.2f} "
        f"| **{ratio['median']:.2f}** [{ratio['low']:.2f}, {ratio['high']:.2f}] "
        f"| {'–' if compiled is None else format(compiled['ratio']['median'], '.2f')} | {100 * row['share']:.0f} % | {memory} | {'; '.join(row['notes'])} |"
    )


class Results:
    """Written after each row, so that a run that is cut off keeps what it has."""

    def __init__(self, options, path):
        self.path, self.rows, self.left = path, [], []
        card = nvidia_smi("gpu=name,driver_version,memory.total")
        commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
        self.about = {"card": card, "started": time.strftime("%Y-%m-%d %H:%M:%S %Z"), "commit": options.commit or commit, "quick": options.quick, "note": options.note}

    def add(self, row):
        self.rows.append(row)
        print(line(row), flush=True)
        self.write()

    def write(self):
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        about = {**self.about, "torch": next((row["torch"] for row in self.rows if "torch" in row), None), "not_run": self.left}
        self.path.with_suffix(".json").write_text(json.dumps({"about": about, "rows": self.rows}, indent=1) + "\n")
        head = ["work", "precision", "ours, ms", "PyTorch, ms", "ratio", "compiled", "share", "memory, GiB (ours / PyTorch)", "notes"]
        lines = [f"# Beside PyTorch on {about['card']}", "", f"Commit {about['commit']}, PyTorch {about['torch']}, {about['started']}. {about['note']}", ""]
        lines += ["| " + " | ".join(head) + " |", "|---|---|--:|--:|--:|--:|--:|--:|---|", *map(line, self.rows), ""]
        if self.left:
            lines += ["Not run for lack of time: " + ", ".join(self.left) + ".", ""]
        self.path.with_suffix(".md").write_text("\n".join([*lines, LEGEND, ""]))


def table(options, python, binary, path):
    results, started = Results(options, path), time.monotonic()
    for row, precision in jobs(options.rows):
        if options.limit is not None and time.monotonic() - started > options.limit:
            results.left.append(f"{row['name']}-{precision}")
            continue
        try:
            with Sides(options, python, binary, precision) as sides:
                results.add(timed(sides, row, precision, options.quick))
        except Failure as failure:
            print(failure, file=sys.stderr)
            results.add({"name": f"{row['name']}-{precision}", "title": row["title"], "precision": precision, "failure": str(failure).splitlines()[0][:300]})
    results.write()
