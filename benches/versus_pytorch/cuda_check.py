"""Whether two sides compute the same on a device that rounds factors of products to fewer bits than f32.

The tolerances were stated before anything ran on a GPU.

A factor of a product is rounded to 8 significant bits in bf16 (2^-9 relative at most), to 11 in tf32 (2^-12), to 24 in
f32. Between input and gradient lie some hundred products, whose roundings add like a random walk: a tensor's gradient is
off by 10 to 20 times one of them, and by several times that where many terms cancel. A loss and the norm of the whole
gradient are means over very many values and move less. In f32 it is the order of sums that differs: it turns single
ReLUs over, by which gradients of RN50 are off by up to 2.1e-2 against f64 on the CPU (`measure.py`). PyTorch's autocast
keeps the residual stream in f32, which our side rounds to bf16. PyTorch's bf16 on a CPU was off its f32, on the tiny
step, by 2.3e-3 in the norm, 1e-2 in the median tensor and 2e-1 in the worst, the second convolution of the stem: where
PyTorch itself is off, our side may be off it by that much more. A wrong gradient is off by about 1.
"""

import math
import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """Largest relative distances."""

    # Of the loss before any step.
    loss: float
    # Of losses after steps: AdamW turns the rounding of gradients that are 0 into whole steps.
    later: float
    # Of the norm of all gradients together.
    norm: float
    # Of each tensor's norm and projection, relative to its norm.
    tensor: float
    # What is 0 up to rounding, such as the gradient of the keys' bias, has no scale of its own: this share of the
    # largest tensor's norm is the least scale.
    floor: float


TOLERANCES = {
    "f32": Tolerance(loss=1e-4, later=5e-3, norm=1e-2, tensor=6e-2, floor=1e-4),
    "tf32": Tolerance(loss=2e-3, later=1e-2, norm=2e-2, tensor=1e-1, floor=1e-3),
    "bf16": Tolerance(loss=2e-2, later=5e-2, norm=5e-2, tensor=3e-1, floor=1e-2),
}


# The distance between numbers of which one is not finite: it exceeds every tolerance, and JSON has it.
NOT_FINITE = 1e30


def whole(check):
    """The norm of all tensors together."""
    return math.sqrt(sum(value["norm"] ** 2 for value in check["signatures"].values()))


def relative(a, b, scale=None):
    """The distance as a share of `scale`, or of the second number."""
    distance = abs(a - b) / max(abs(b) if scale is None else scale, 1e-30)
    return distance if math.isfinite(distance) else NOT_FINITE


def distances(side, other, tolerance, own=None):
    """How far a side's check is from another's. The tensor that is told is the one that is furthest, less how far the
    other's tensors are from f32 by themselves, where `own` says so."""
    losses = [relative(a, b) for a, b in zip(side["losses"], other["losses"])]
    a, b = side["signatures"], other["signatures"]
    floor = tolerance.floor * max((value["norm"] for value in b.values()), default=0.0)
    tensors = {}
    for key in a.keys() & b.keys():
        scale = max(b[key]["norm"], floor)
        tensors[key] = max(relative(a[key][part], b[key][part], scale) for part in ("norm", "projection"))
    allowed = lambda key: 0.0 if own is None else own.get(key, 0.0)
    name = max(tensors, key=lambda key: tensors[key] - allowed(key), default=None)
    return {
        "loss": losses[0] if losses else None,
        "later": max(losses[1:], default=None),
        "norm": relative(whole(side), whole(other)),
        "tensor": tensors.get(name, 0.0),
        "tensor_name": name,
        "tensor_own": allowed(name),
        "median_tensor": statistics.median(tensors.values()) if tensors else 0.0,
        "tensors": tensors,
        "only_one_side": sorted(a.keys() ^ b.keys()),
    }


def faults(found, tolerance):
    """What exceeds its tolerance, in words."""
    said = [f"only one side has {', '.join(found['only_one_side'][:3])}"] if found["only_one_side"] else []
    names = {"loss": "loss", "later": "losses after steps", "norm": "norm of all gradients", "tensor": found["tensor_name"]}
    for part, name in names.items():
        value, most = found[part], getattr(tolerance, part) + (found["tensor_own"] if part == "tensor" else 0.0)
        if value is not None and not value <= most:
            said.append(f"{name} off by {value:.1e} (tolerance {most:.1e})")
    return said


def compared(precision, ours, theirs, reference):
    """The sides against each other, and each against PyTorch in f32. Our side is the same as PyTorch's only if it is also
    as near to f32 as the tolerance says."""
    tolerance = TOLERANCES[precision]
    result = {}
    if reference is not None:
        result = {"ours_f32": distances(ours, reference, tolerance), "pytorch_f32": distances(theirs, reference, tolerance)}
    own = result["pytorch_f32"]["tensors"] if result else None
    result["sides"] = distances(ours, theirs, tolerance, own)
    said = faults(result["sides"], tolerance)
    if reference is not None:
        said += [f"against PyTorch in f32, ours: {fault}" for fault in faults(result["ours_f32"], tolerance)]
        said += [f"against its own f32, PyTorch: {fault}" for fault in faults(result["pytorch_f32"], tolerance)]
    return {**result, "faults": said}


def told(result):
    """A cell of the table."""
    if result["faults"]:
        return "**not the same**: " + "; ".join(result["faults"])
    sides = result["sides"]
    loss = "" if sides["loss"] is None else f"loss {sides['loss']:.0e}, "
    cell = f"same: {loss}norm {sides['norm']:.0e}, tensors at most {sides['tensor']:.0e}"
    if "ours_f32" in result:
        ours, theirs = (result[name]["median_tensor"] for name in ("ours_f32", "pytorch_f32"))
        cell += f"; from f32, median tensor: ours {ours:.0e}, PyTorch {theirs:.0e}"
    return cell
