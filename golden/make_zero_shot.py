"""Makes data/zero_shot.{json,safetensors}: CLIP's zero-shot head by PyTorch, on which the released set is silent.

    python golden/make_zero_shot.py        # needs torch and safetensors; numbers made with torch 2.15, CPU, one thread

As the released evaluation builds it: for each class every template is filled in and encoded, the features are
normalised, averaged and normalised again; scores are cosine similarities of normalised image features with that.
The model is small and random, with the 514 tokens of a byte vocabulary, so that texts go through the tokenizer too.
"""

import json
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benches/versus_pytorch"))
sys.dont_write_bytecode = True
import models

CONTEXT = 40
CLASSES = ["banana", "red apple", "cat", "ufo"]
TEMPLATES = ["a photo of a {}.", "a bad photo of the {}", "{}!", "itap of my {}, no. 2"]


def tokens(text):
    """OpenAI's tokens of lower-case ASCII where no pair of bytes is merged, padded with 0."""
    found = [512]
    for word in re.findall(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+", text):
        numbers = [ord(letter) - ord("!") for letter in word]
        found += numbers[:-1] + [numbers[-1] + 256]
    found.append(513)
    assert len(found) <= CONTEXT, text
    return found + [0] * (CONTEXT - len(found))


def normalised(features):
    return features / features.norm(dim=-1, keepdim=True)


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    torch.manual_seed(4)
    models.PRESETS["head"] = (24, {"resolution": 32, "patch": 8, "width": 64, "layers": 1}, (CONTEXT, 64, 1, 1))
    clip = models.Clip("head", 514).eval()
    clip.token_embedding.weight.mul_(0.3)
    head = []
    for name in CLASSES:
        prompts = torch.tensor([tokens(template.replace("{}", name)) for template in TEMPLATES])
        head.append(normalised(normalised(clip.encode_text(prompts)).mean(0)))
    head = torch.stack(head)
    pixels = torch.randn(5, 3, 32, 32)
    features = clip.visual(pixels)
    tensors = {f"weights.{name}": value for name, value in clip.state_dict().items()}
    tensors |= {"pixels": pixels, "features": features, "head": head, "scores": normalised(features) @ head.t()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, HERE / "data/zero_shot.safetensors")
    texts = {"classes": CLASSES, "templates": TEMPLATES, "torch": torch.__version__}
    (HERE / "data/zero_shot.json").write_text(json.dumps(texts, indent=1) + "\n")


main()
