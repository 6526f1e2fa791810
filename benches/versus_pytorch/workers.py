"""The processes of both sides, and what is needed to start them."""

import json
import os
import select
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
REMEDY = f"""make one with
    python3 -m venv {HERE / '.venv'}
    {HERE / '.venv/bin/pip'} install torch numpy safetensors --extra-index-url https://download.pytorch.org/whl/cpu
or name another with --python"""
# PyTorch keeps freed memory too, as our side does: glibc otherwise returns large blocks to the system after each
# use, and the kernel clears them again. Measured on the tiny step: see README.md.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


class Failure(Exception):
    """What the user has to mend."""


class TooLong(Failure):
    """A side that did not answer in time, and was stopped."""


def find_python(chosen):
    """A Python that can import PyTorch."""
    own = HERE / ".venv/bin/python"
    python = chosen or (str(own) if own.exists() else None)
    if python is None:
        raise Failure(f"there is no Python with PyTorch; {REMEDY}")
    if shutil.which(python) is None:
        raise Failure(f"{python} is no program; {REMEDY}")
    found = subprocess.run([python, "-c", "import torch, numpy, safetensors.torch"], capture_output=True, text=True)
    if found.returncode != 0:
        reason = (found.stderr.strip().splitlines() or ["it failed"])[-1]
        raise Failure(f"{python} does not import torch, numpy and safetensors ({reason}); {REMEDY}")
    return python


def build(binary):
    """Our side's program, built where none is given."""
    if binary is not None:
        if not os.access(binary, os.X_OK):
            raise Failure(f"{binary} is no program; leave --binary out to have it built")
        return binary
    if shutil.which("cargo") is None:
        raise Failure("cargo is missing; install Rust (https://rustup.rs) or give a built program with --binary")
    command = ["cargo", "bench", "-p", "clip", "--bench", "speed", "--no-run", "--message-format", "json"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        raise Failure(f"`{' '.join(command[:7])}` failed; its messages are above")
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return next(Path(m["executable"]) for m in reversed(messages) if m.get("executable"))


class Side:
    """A process that answers one JSON request a line."""

    def __init__(self, name, command, environment):
        self.name, self.command, self.environment = name, command, environment
        self.process = None

    @classmethod
    def ours(cls, binary, threads, place=()):
        return cls("ours", [str(binary), "serve", *place], {"RAYON_NUM_THREADS": str(threads)})

    @classmethod
    def pytorch(cls, python, threads, policy, compiled=False, place=()):
        command = [python, str(HERE / "worker.py"), *place] + (["--compile"] if compiled else [])
        environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), **KEEP_MEMORY}
        environment |= {} if policy == "default" else {"OMP_WAIT_POLICY": policy}
        return cls("compiled" if compiled else "pytorch", command, environment)

    def start(self):
        environment = {**os.environ, **self.environment}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, text=True, env=environment)
        return self

    def fresh(self):
        """Another process of the same kind."""
        return Side(self.name, self.command, self.environment)

    def ask(self, request, seconds=None, **arguments):
        """The answer; an error of the other side is a failure that names it, and so is none within `seconds`."""
        try:
            self.process.stdin.write(json.dumps({request: arguments}) + "\n")
            self.process.stdin.flush()
            # Answers come one a request, a line each: nothing waits in the buffer.
            if seconds is not None and not select.select([self.process.stdout], [], [], seconds)[0]:
                self.process.kill()
                raise TooLong(f"{self.name}: no answer to {request!r} within {seconds:.0f} s")
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Failure(f"{self.name}: the process ended during {request!r} (out of memory?)")
        answer = json.loads(line)
        if "error" in answer:
            raise Failure(f"{self.name}: {request}: {answer['error']}")
        return answer

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        try:
            self.process.stdin.close()  # it ends at the end of its input
            self.process.wait(timeout=20)
        except BrokenPipeError:
            self.process.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
