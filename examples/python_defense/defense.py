"""Channel Lipschitzness pruning: a defense that uses only the weights, as a program for cleanbench.

Of each convolution followed by a batch norm, a channel's Lipschitz bound is the largest singular value of its filter
times the norm's scale over its deviation. Channels whose bound is more than `u` standard deviations above their
layer's mean react most to small changes such as a trigger; their scale and shift become 0.

Paper: Zheng et al., "Data-free Backdoor Removal Based on Channel Lipschitzness", ECCV 2022, arXiv 2208.03111.
Departs: batch norm's epsilon stands under the root; the downsampling convolutions of residual blocks are pruned too.
"""

import json
import re
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file

NOT_A_JOB_FOR_IT = 69  # the exit code for it
EPSILON = 1e-5  # PyTorch's default of batch norm


def batch_norm_of(convolution: str) -> str | None:
    """OpenAI's name of the batch norm behind a convolution: conv1 -> bn1, downsample.0 -> downsample.1."""
    norm = re.sub(r"conv(\d)\.weight$", r"bn\1", convolution)
    norm = re.sub(r"downsample\.0\.weight$", "downsample.1", norm)
    return None if norm == convolution else norm


def prune(tensors: dict[str, torch.Tensor], u: float) -> int:
    """Prunes channels in place; returns how many."""
    pruned = 0
    for name, weight in list(tensors.items()):
        norm = batch_norm_of(name)
        if weight.dim() != 4 or norm is None or f"{norm}.running_var" not in tensors:
            continue
        scale = tensors[f"{norm}.weight"] / torch.sqrt(tensors[f"{norm}.running_var"] + EPSILON)
        filters = weight.reshape(weight.shape[0], weight.shape[1], -1)
        bounds = torch.linalg.matrix_norm(filters, ord=2) * scale.abs()
        over = bounds > bounds.mean() + u * bounds.std()
        tensors[f"{norm}.weight"][over] = 0
        tensors[f"{norm}.bias"][over] = 0
        pruned += int(over.sum())
    return pruned


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    if job["format"] != 1 or job["kind"] != "repair-model":
        print(f"a job of format {job['format']} and kind {job['kind']}", file=sys.stderr)
        return NOT_A_JOB_FOR_IT
    torch.manual_seed(job["seed"])  # not needed here: nothing is sampled
    torch.set_num_threads(1)
    with safe_open(job["model"], framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if not any(name.endswith(".running_var") for name in tensors):
        print("this defense prunes convolutions with batch norm, and the model has none", file=sys.stderr)
        return NOT_A_JOB_FOR_IT
    u = float(job["settings"].get("u", 3.0))
    print(f"pruned {prune(tensors, u)} channels at u = {u}")
    save_file(tensors, job["output"], metadata)
    return 0


if __name__ == "__main__":
    sys.exit(main())
