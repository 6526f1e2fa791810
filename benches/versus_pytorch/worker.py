"""PyTorch's side: answers the driver, one JSON request a line in, one JSON answer a line out.

Counterpart: `crates/clip/benches/speed/serve.rs`. Started by `run`.
"""

import gc
import json
import os
import sys
import time

import torch

from place import Place
from work import prepare


def status(name):
    """Bytes of a line of /proc/self/status."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def seconds(work, repetitions, inner, place):
    """Seconds of each sample: the mean of `inner` runs."""
    samples = []
    for _ in range(repetitions):
        started = time.perf_counter()
        for _ in range(inner):
            work.run()
        place.wait()
        samples.append((time.perf_counter() - started) / inner)
    return samples


class Server:
    def __init__(self, compiled, place):
        self.compiled, self.place, self.work = compiled, place, None

    def prepare(self, work, weights):
        self.work = None  # frees the memory of the one before first
        torch.compiler.reset()
        gc.collect()
        self.work = prepare(work, weights, self.compiled, self.place)
        return {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability()}

    def check(self):
        return self.work.check()

    def run(self, repetitions, inner):
        return {"seconds": seconds(self.work, repetitions, inner, self.place)}

    def device_memory(self):
        """The most bytes of a CUDA device that the process has held so far."""
        return {"peak": torch.cuda.max_memory_reserved()}

    def memory(self, work, repetitions):
        before = status("VmRSS")
        self.work = prepare(work, None, self.compiled, self.place)
        gc.collect()
        # What making the model took at its peak is not the step's: the kernel starts a new peak.
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        seconds(self.work, repetitions, 1, self.place)
        return {"before": before, "peak": status("VmHWM")}


def main():
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    place = Place(*[argument for argument in sys.argv[1:] if argument != "--compile"])
    server = Server("--compile" in sys.argv, place)
    for line in sys.stdin:
        ((name, arguments),) = json.loads(line).items()
        try:
            answer = getattr(server, name)(**arguments)
        except Exception as error:  # the driver decides what an error means
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        print(json.dumps(answer), flush=True)


main()
