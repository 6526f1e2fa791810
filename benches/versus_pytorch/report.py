"""The table, as Markdown and JSON."""

import json
import os
import platform
import subprocess
import time

from workers import ROOT

LEGEND = """Times are medians of samples; *spread* is half of the distance between the quartiles, as a share of the median. *ratio* is PyTorch's time over ours (PyTorch = 1.0; above 1 ours is faster): the median over neighbouring blocks, with the quartiles in brackets. *GFLOP* are those of matrix products and convolutions, two per multiplication and addition, forward and backward where there is a backward pass, as OpenAI writes the models (our attention pool does fewer); no number means that memory bounds the row, and *rate* then is in GB/s of tensors read or written once per pass. *peak* is the share of the fastest matrix product (1536³, either side) seen in this run. *others* is the share of all cores that other processes took while the row was timed: above a few percent the row says little.

*Memory* is the largest resident size (VmHWM) of a fresh process during three runs; *growth* is that less the resident size before the model was made, which for PyTorch is mostly its libraries.

Before a row is timed both sides get the same weights and inputs, and loss, result and the gradient of every tensor are compared (norm and projection onto noise)."""


def command(*words):
    try:
        return subprocess.run(words, capture_output=True, text=True, cwd=ROOT).stdout.strip()
    except OSError:
        return ""


def processor():
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


class Results:
    """The rows so far. Written after each, so that a stopped run keeps what it has."""

    def __init__(self, options, path, policy):
        self.path, self.peaks, self.rows = path, [], []
        self.about = {
            "started": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
            "commit": command("git", "describe", "--always", "--dirty"),
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": "1 and 2" if options.scaling else options.threads,
            "quick": options.quick,
            "wait_policy": policy,
            "note": options.note,
            "load_before": os.getloadavg(),
        }

    def peak(self, flop_per_second):
        self.peaks.append(flop_per_second)

    def add(self, result):
        self.rows.append(result)
        if len(self.rows) == 1:
            print(heading())
        print(line(result, self.best()), flush=True)
        self.write()

    def best(self):
        return max(self.peaks, default=0.0)

    def finish(self):
        self.about["load_after"] = os.getloadavg()
        self.write()
        if self.best():
            print(f"\nsgemm peak {self.best() / 1e9:.0f} GFLOP/s")
        print_failures(self.rows)
        if self.path:
            print(f"stored in {self.path}.md and .json")

    def write(self):
        if not self.path:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = {**self.about, "peak_flop_per_second": self.best(), "peaks": self.peaks, "rows": self.rows}
        self.path.with_suffix(".json").write_text(json.dumps(whole, indent=1) + "\n")
        self.path.with_suffix(".md").write_text(self.markdown())

    def markdown(self):
        about = self.about
        loads = " to ".join(f"{about[key][0]:.1f}" for key in ("load_before", "load_after") if key in about)
        text = [
            f"# Beside PyTorch, {about['threads']} threads{', quick run' if about['quick'] else ''}",
            "",
            f"{about['started']}, commit {about['commit']}, {about['processor']}, {about['cores']} cores, load {loads}, OpenMP's wait policy {about['wait_policy']}, sgemm peak {self.best() / 1e9:.0f} GFLOP/s.",
            f"What else ran: {about['note'] or 'not stated'}.",
            "",
            "Written by `benches/versus_pytorch/run`; the samples are in the JSON file beside this one.",
            "",
            heading(),
            *[line(result, self.best()) for result in self.rows],
        ]
        if any("memory" in result for result in self.rows):
            text += ["", memory_heading(), *[memory_line(row) for row in self.rows if "memory" in row]]
        text += ["", LEGEND]
        for result in self.rows:
            text += [f"\n{result['name']}, {side}: {reason}" for side, reason in result["failures"].items()]
        return "\n".join(text) + "\n"


def print_failures(rows):
    for result in rows:
        for side, reason in result["failures"].items():
            print(f"{result['name']}, {side}: {reason}")


def heading():
    names = ["row", "ours, ms", "spread", "PyTorch, ms", "spread", "**ratio**", "compiled, ms", "ratio", "GFLOP", "rate", "peak, ours", "peak, PyTorch", "others"]
    return f"| {' | '.join(names)} |\n|---|{'---:|' * (len(names) - 1)}"


def time_cells(side):
    if side is None:
        return ["", ""]
    return [f"{side['median'] * 1e3:.4g}", f"{50 * (side['high'] - side['low']) / side['median']:.0f} %"]


def line(result, peak):
    sides = result["sides"]
    ours, pytorch, compiled = sides["ours"], sides["pytorch"], sides.get("compiled")
    ratio = pytorch["ratio"]
    cells = [result["title"], *time_cells(ours), *time_cells(pytorch)]
    cells.append(f"**{ratio['median']:.2f}** ({ratio['low']:.2f}–{ratio['high']:.2f})")
    failed = "failed" if "compiled" in result["failures"] else ""
    cells += [time_cells(compiled)[0], f"{compiled['ratio']['median']:.2f}"] if compiled else [failed, ""]
    flop, each = result["flop"], (ours["median"], pytorch["median"])
    if flop:
        cells += [f"{flop / 1e9:.4g}", f"{flop / each[0] / 1e9:.0f} GFLOP/s"]
        cells += [f"{100 * flop / seconds / peak:.0f} %" if peak else "" for seconds in each]
    else:
        cells += ["", f"{result['bytes'] / each[0] / 1e9:.1f} GB/s", "", ""]
    cells.append(f"{100 * result['others']:.0f} %")
    return f"| {' | '.join(cells)} |"


def memory_heading():
    names = ["peak memory, MiB", "ours", "growth", "PyTorch", "growth", "ours / PyTorch", "of the growth"]
    return f"| {' | '.join(names)} |\n|---|{'---:|' * (len(names) - 1)}"


def memory_line(result):
    cells, values = [result["title"]], []
    for side in ("ours", "pytorch"):
        found = result["memory"][side]
        values.append((found["peak"], found["peak"] - found["before"]))
        cells += [f"{value / (1 << 20):.0f}" for value in values[-1]]
    cells += [f"{a / b:.2f}" for a, b in zip(*values)]
    return f"| {' | '.join(cells)} |"
