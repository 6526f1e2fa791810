"""Where models compute, and in which precision. Counterpart: `crates/clip/benches/speed/place.rs`."""

import contextlib

import torch


class Place:
    """The CPU in f32, or CUDA in f32, tf32 or bf16 (autocast, with parameters in f32)."""

    def __init__(self, device="cpu", precision="f32"):
        self.device, self.precision = device, precision
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.benchmark = device == "cuda"

    def computing(self):
        if self.precision == "bf16":
            return torch.autocast(self.device, torch.bfloat16)
        return contextlib.nullcontext()

    def activations(self):
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def wait(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def moment(self):
        """Now, as the device counts it; nothing on the CPU."""
        if self.device != "cuda":
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def read(self, loss):
        """On the CPU the loss is read each step, as our side has it; on CUDA neither side waits for it."""
        return loss.item() if self.device == "cpu" else None
