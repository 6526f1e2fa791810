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


# The product whose rate is the device's peak; how many make a sample; samples of warm-up, and those that count.
PEAK_SIZE, PEAK_INNER, PEAK_RUNS = 8192, 4, (2, 6)


def seconds(work, repetitions, inner, place):
    """Seconds of each sample, the mean of `inner` runs: by the clock, and on CUDA by its events as well."""
    samples, events = [], []
    for _ in range(repetitions):
        place.wait()
        started, first = time.perf_counter(), place.moment()
        for _ in range(inner):
            work.run()
        last = place.moment()
        place.wait()
        samples.append((time.perf_counter() - started) / inner)
        if first is not None:
            events.append(first.elapsed_time(last) / 1e3 / inner)
    return {"seconds": samples, "events": events}


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
        return seconds(self.work, repetitions, inner, self.place)

    def reference(self, work, weights):
        """What the work gives in f32, whatever this process computes in."""
        try:
            result = prepare(work, weights, False, Place(self.place.device, "f32")).check()
        finally:
            Place(self.place.device, self.place.precision)  # sets PyTorch's switches again
        self.release()
        return result

    def peak(self):
        """FLOP/s of the fastest of a few large products in the precision of this process."""
        size = (PEAK_SIZE, PEAK_SIZE) if self.place.device == "cuda" else (512, 512)
        a, b = (torch.randn(size, device=self.place.device, dtype=self.place.activations()) for _ in range(2))
        times = []
        for _ in range(sum(PEAK_RUNS)):
            self.place.wait()
            started = time.perf_counter()
            for _ in range(PEAK_INNER):
                a @ b
            self.place.wait()
            times.append((time.perf_counter() - started) / PEAK_INNER)
        del a, b
        self.release()
        return {"flop_per_second": 2.0 * size[0] ** 3 / min(times[PEAK_RUNS[0] :])}

    def release(self):
        gc.collect()
        if self.place.device == "cuda":
            torch.cuda.empty_cache()

    def count_memory(self):
        """What the device's allocator has held at most counts from here."""
        if self.place.device == "cuda":
            self.release()
            torch.cuda.reset_peak_memory_stats()
        return {}

    def device_memory(self):
        """The most bytes of tensors since `count_memory`, and of what the allocator kept for them."""
        if self.place.device != "cuda":
            return {"allocated": None, "reserved": None}
        return {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}

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
