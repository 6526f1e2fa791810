"""Writes data/torchscript.pt, a TorchScript archive as OpenAI's are (weights in f16, three integer buffers besides),
and data/torchscript.safetensors, the same weights: a ModifiedResNet and a text tower as small as there can be.

Run with PyTorch and safetensors: python golden/make_torchscript.py
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

WIDTH, EMBED, TEXT, CONTEXT, VOCABULARY = 2, 4, 8, 5, 12


def shapes():
    """Names and shapes as in openai/CLIP's model.py (MIT)."""
    yield from [("positional_embedding", (CONTEXT, TEXT)), ("text_projection", (TEXT, EMBED)), ("logit_scale", ())]
    yield from conv("visual.", 1, 3, WIDTH // 2, 3)
    yield from conv("visual.", 2, WIDTH // 2, WIDTH // 2, 3)
    yield from conv("visual.", 3, WIDTH // 2, WIDTH, 3)
    inputs = WIDTH
    for stage in range(4):
        planes, block = WIDTH * 2**stage, f"visual.layer{stage + 1}.0."
        yield from conv(block, 1, inputs, planes, 1)
        yield from conv(block, 2, planes, planes, 3)
        yield from conv(block, 3, planes, planes * 4, 1)
        yield f"{block}downsample.0.weight", (planes * 4, inputs, 1, 1)
        yield from norm(f"{block}downsample.1", planes * 4)
        inputs = planes * 4
    yield "visual.attnpool.positional_embedding", (2, inputs)
    for name, outputs in [("k", inputs), ("q", inputs), ("v", inputs), ("c", EMBED)]:
        yield from linear(f"visual.attnpool.{name}_proj", inputs, outputs)
    yield from [("transformer.resblocks.0.attn.in_proj_weight", (3 * TEXT, TEXT))]
    yield from [("transformer.resblocks.0.attn.in_proj_bias", (3 * TEXT,))]
    yield from linear("transformer.resblocks.0.attn.out_proj", TEXT, TEXT)
    yield from linear("transformer.resblocks.0.mlp.c_fc", TEXT, 4 * TEXT)
    yield from linear("transformer.resblocks.0.mlp.c_proj", 4 * TEXT, TEXT)
    for name in ["transformer.resblocks.0.ln_1", "transformer.resblocks.0.ln_2", "ln_final"]:
        yield from [(f"{name}.weight", (TEXT,)), (f"{name}.bias", (TEXT,))]
    yield "token_embedding.weight", (VOCABULARY, TEXT)


def conv(prefix, number, inputs, outputs, kernel):
    yield f"{prefix}conv{number}.weight", (outputs, inputs, kernel, kernel)
    yield from norm(f"{prefix}bn{number}", outputs)


def norm(name, width):
    yield from [(f"{name}.{part}", (width,)) for part in ["weight", "bias", "running_mean", "running_var"]]
    yield f"{name}.num_batches_tracked", None


def linear(name, inputs, outputs):
    yield from [(f"{name}.weight", (outputs, inputs)), (f"{name}.bias", (outputs,))]


class Node(nn.Module):
    def forward(self, x):
        return x


def main():
    torch.manual_seed(0)
    root, weights = Node(), {}
    for name, shape in shapes():
        *path, leaf = name.split(".")
        node = root
        for part in path:
            if part not in node._modules:
                node.add_module(part, Node())
            node = node._modules[part]
        if shape is None:
            node.register_buffer(leaf, torch.tensor(7))
            continue
        weights[name] = torch.randn(shape).half()
        if leaf.startswith("running"):
            node.register_buffer(leaf, weights[name])
        else:
            node.register_parameter(leaf, nn.Parameter(weights[name]))
    for name, value in [("input_resolution", 32), ("context_length", CONTEXT), ("vocab_size", VOCABULARY)]:
        root.register_buffer(name, torch.tensor(value))
    folder = Path(__file__).parent / "data"
    torch.jit.save(torch.jit.script(root), folder / "torchscript.pt")
    save_file(weights, folder / "torchscript.safetensors")


main()
