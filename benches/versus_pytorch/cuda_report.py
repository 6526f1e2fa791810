"""The table of a CUDA card, written after each row."""

import json
import subprocess
import time

from cuda_check import told
from workers import ROOT

# NVIDIA's data sheet of the H100 and H200 SXM, dense, in FLOP/s; of other cards no share is given.
DATA_SHEET = {"bf16": 989e12, "tf32": 495e12, "f32": 67e12}
DATA_SHEET_CARDS = ("H100 80GB HBM3", "H200")
LEGEND = """Times are medians of a step in samples of at least 0.3 s, by the clock between two waits for the device; beside
PyTorch's stands what CUDA's events count. *Ratio* is PyTorch's time over ours (above 1 ours is faster): the median over
neighbouring samples with the quartiles in brackets. *Compiled* is the ratio against torch.compile, where it was asked for.
*Per second* is samples (pairs, images) of ours and of PyTorch. *Share* is the model's operations (products and convolutions,
forward and backward) over the time, ours and PyTorch's: first of PyTorch's 8192³ product in that precision in the same run,
then of NVIDIA's data sheet (989, 495 and 67 TFLOP/s in bf16, tf32 and f32).

*Memory*: of our process, the growth of the card's used memory (nvidia-smi) while it warms up, context and kept memory
included; of PyTorch, torch.cuda.max_memory_allocated while it is timed, its tensors alone.

*Checked*: loss, two further losses and the gradient of every tensor (norm and projection onto noise) of both sides, which
start from the same weights and inputs, and each side against PyTorch in f32. The tolerances and where they come from are in
`benches/versus_pytorch/cuda_check.py`; a row that differs is timed all the same and says so.

PyTorch runs eagerly in its best form: fused AdamW, channels last, scaled_dot_product_attention, cudnn.benchmark, gradients set
to none; bf16 is autocast with parameters in f32. Neither side reads the loss within a sample. Pixels lie on the device
before a step, tokens too on PyTorch's side; ours looks for their ends on the host and copies them in each step. In the rows
whose pixels come from the host, PyTorch copies from pinned memory without waiting."""
HEAD = ["work", "precision", "ours, ms", "PyTorch, ms (events)", "ratio", "compiled", "per second", "share, ours", "share, PyTorch", "memory, GiB", "checked", "notes"]


def nvidia_smi(query):
    """The first card's values; nothing where there is no such program."""
    try:
        command = ["nvidia-smi", "-i", "0", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def name(row, precision):
    return f"{row['name']}-{precision}"


def share(row, side, about):
    flop = row.get("flop")
    if not flop:
        return "–"
    rate = flop / row["sides"][side]["median"]
    measured, card = about["peaks"].get(row["precision"]), any(card in about["card"] for card in DATA_SHEET_CARDS)
    shares = [f"{100 * rate / measured:.0f} %" if measured else "?", f"{100 * rate / DATA_SHEET[row['precision']]:.0f} %" if card else "–"]
    return " / ".join(shares)


def line(row, about):
    if "failure" in row:
        return f"| {row['title']} | {row['precision']} |" + " |" * (len(HEAD) - 3) + f" not measured: {row['failure']} |"
    ours, theirs, compiled = (row["sides"].get(side) for side in ("ours", "pytorch", "compiled"))
    ratio, events = theirs["ratio"], theirs["events"]
    memory = " / ".join("?" if side["memory"] is None else f"{side['memory'] / 2**30:.1f}" for side in (ours, theirs))
    cells = [row["title"], row["precision"], f"{ours['median'] * 1e3:.2f}"]
    cells += [f"{theirs['median'] * 1e3:.2f}" + ("" if events is None else f" ({events * 1e3:.2f})")]
    cells += [f"**{ratio['median']:.2f}** [{ratio['low']:.2f}, {ratio['high']:.2f}]"]
    cells += ["–" if compiled is None else f"{compiled['ratio']['median']:.2f}"]
    cells += ["–" if row["samples"] is None else f"{row['samples'] / ours['median']:.0f} / {row['samples'] / theirs['median']:.0f}"]
    cells += [share(row, side, about) for side in ("ours", "pytorch")]
    return "| " + " | ".join([*cells, memory, told(row["checked"]["pytorch"]), "; ".join(row["notes"])]) + " |"


class Results:
    """The rows so far, and what has not run: a run that is cut off keeps both."""

    def __init__(self, options, path, jobs):
        self.path, self.rows = path, []
        self.not_run = [name(*job) for job in jobs]
        commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
        self.about = {
            "card": nvidia_smi("name") or "no card",
            "driver": nvidia_smi("driver_version"),
            "memory_mib": nvidia_smi("memory.total"),
            "started": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
            "commit": options.commit or commit,
            "quick": options.quick,
            "note": options.note,
            "torch": None,
            "peaks": {},
        }
        print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD), flush=True)
        self.write()

    def add(self, row):
        self.rows.append(row)
        self.not_run.remove(row["name"])
        self.about["torch"] = row.get("torch") or self.about["torch"]
        print(line(row, self.about), flush=True)
        self.write()

    def write(self):
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = {"about": self.about, "not_run": self.not_run, "rows": self.rows}
        # Two endings after the whole name, which may itself hold a dot.
        for ending, text in ((".json", json.dumps(whole, indent=1) + "\n"), (".md", self.markdown())):
            self.path.with_name(self.path.name + ending).write_text(text)

    def markdown(self):
        about = self.about
        peaks = ", ".join(f"{precision} {peak / 1e12:.0f}" for precision, peak in about["peaks"].items())
        lines = [
            f"# Beside PyTorch on {about['card']}{', quick run' if about['quick'] else ''}",
            "",
            f"{about['started']}, commit {about['commit']}, PyTorch {about['torch']}, driver {about['driver']}, {about['memory_mib']} MiB. "
            f"PyTorch's 8192³ product, TFLOP/s: {peaks or 'not measured'}. {about['note']}".rstrip(),
            "",
            "Written by `benches/versus_pytorch/run --device cuda`; the samples are in the JSON file beside this one.",
            "",
            "| " + " | ".join(HEAD) + " |",
            "|---|---|" + "--:|" * 8 + "---|---|",
            *[line(row, about) for row in self.rows],
            "",
        ]
        if self.not_run:
            lines += ["Not run: " + ", ".join(self.not_run) + ".", ""]
        return "\n".join([*lines, LEGEND, ""])
