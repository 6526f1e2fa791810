"""Writes weights, inputs, features, loss and gradients of OpenAI's RN50 and ViT-B/32 at full size, with seeded random
weights, for the test `full_size` of the crate `clip`:

    python golden/make_full_size.py FOLDER
    CLEANBENCH_FULL_SIZE_GOLDEN=FOLDER cargo test --release --workspace --test model -- full_size --nocapture

Needs PyTorch and safetensors, 2.5 GB of disk and about 6 GB of memory. Computed in f64 from weights and pixels in f32;
what PyTorch itself gives in f32 is printed beside, so that a distance can be judged. The modules follow the
architecture of openai/CLIP's clip/model.py (MIT). `--count` prints the number of parameters of every published size
instead.
"""

import argparse
from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

VOCABULARY, CONTEXT = 49408, 77
# embedding, resolution, stages or blocks, width, patch, width of the text tower
SIZES = {
    "rn50": (1024, 224, (3, 4, 6, 3), 64, None, 512),
    "rn101": (512, 224, (3, 4, 23, 3), 64, None, 512),
    "rn50x4": (640, 288, (4, 6, 10, 6), 80, None, 640),
    "rn50x16": (768, 384, (6, 8, 18, 8), 96, None, 768),
    "rn50x64": (1024, 448, (3, 15, 36, 10), 128, None, 1024),
    "vit-b-32": (512, 224, 12, 768, 32, 512),
    "vit-b-16": (512, 224, 12, 768, 16, 512),
    "vit-l-14": (768, 224, 24, 1024, 14, 768),
    "vit-l-14-336": (768, 336, 24, 1024, 14, 768),
}


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Bottleneck(nn.Module):
    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, planes * 4, 1, bias=False), nn.BatchNorm2d(planes * 4)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample = None
        if stride > 1 or inputs != planes * 4:
            shortcut = nn.Conv2d(inputs, planes * 4, 1, bias=False)
            pool = ("-1", nn.AvgPool2d(stride))
            self.downsample = nn.Sequential(OrderedDict([pool, ("0", shortcut), ("1", nn.BatchNorm2d(planes * 4))]))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.pool(F.relu(self.bn2(self.conv2(y))))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class AttentionPool2d(nn.Module):
    def __init__(self, side, width, heads, outputs):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(side * side + 1, width) / width**0.5)
        self.k_proj, self.q_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj, self.heads = nn.Linear(width, outputs), heads

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)  # [B, HW, D]
        x = torch.cat([x.mean(1, keepdim=True), x], 1) + self.positional_embedding
        batch, length, width = x.shape
        split = lambda x: x.view(batch, -1, self.heads, width // self.heads).transpose(1, 2)
        q, k, v = split(self.q_proj(x[:, :1])), split(self.k_proj(x)), split(self.v_proj(x))
        x = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, width)
        return self.c_proj(x)


class ModifiedResNet(nn.Module):
    def __init__(self, resolution, layers, width, embed):
        super().__init__()
        half = width // 2
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = nn.Conv2d(half, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for stage, blocks in enumerate(layers):
            planes, parts = width * 2**stage, []
            for block in range(blocks):
                parts.append(Bottleneck(inputs, planes, 2 if stage > 0 and block == 0 else 1))
                inputs = planes * 4
            setattr(self, f"layer{stage + 1}", nn.Sequential(*parts))
        self.attnpool = AttentionPool2d(resolution // 32, inputs, width * 32 // 64, embed)

    def forward(self, x):
        for number in [1, 2, 3]:
            x = F.relu(getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x)))
        x = F.avg_pool2d(x, 2)
        return self.attnpool(self.layer4(self.layer3(self.layer2(self.layer1(x)))))


class Block(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2, self.causal = nn.LayerNorm(width), nn.LayerNorm(width), causal
        layers = [("c_fc", nn.Linear(width, 4 * width)), ("gelu", QuickGELU()), ("c_proj", nn.Linear(4 * width, width))]
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x):
        y, length, mask = self.ln_1(x), x.shape[1], None
        if self.causal:
            mask = torch.full((length, length), float("-inf"), dtype=x.dtype).triu(1)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width, layers, heads, causal):
        super().__init__()
        self.resblocks = nn.Sequential(*[Block(width, heads, causal) for _ in range(layers)])

    def forward(self, x):
        return self.resblocks(x)


class VisionTransformer(nn.Module):
    def __init__(self, resolution, patch, width, layers, embed):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn((resolution // patch) ** 2 + 1, width) * width**-0.5)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, width // 64, False)
        self.proj = nn.Parameter(torch.randn(width, embed) * width**-0.5)

    def forward(self, x):
        x = self.conv1(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


class CLIP(nn.Module):
    def __init__(self, name):
        super().__init__()
        embed, resolution, layers, width, patch, text = SIZES[name]
        if patch is None:
            self.visual = ModifiedResNet(resolution, layers, width, embed)
        else:
            self.visual = VisionTransformer(resolution, patch, width, layers, embed)
        self.transformer = Transformer(text, 12, text // 64, True)
        self.token_embedding = nn.Embedding(VOCABULARY, text)
        self.positional_embedding = nn.Parameter(torch.randn(CONTEXT, text) * 0.01)
        self.ln_final = nn.LayerNorm(text)
        self.text_projection = nn.Parameter(torch.randn(text, embed) * text**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def text(self, tokens):
        x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        x = self.ln_final(self.transformer(x))
        return x[torch.arange(len(x)), tokens.argmax(-1)] @ self.text_projection


def perturb(model):
    """No norm at its initial value, so that every parameter matters. Batch norms keep the inputs of ReLUs away from 0
    (nearly all; half of the channels above and half below): a ReLU whose input is 0 but for rounding has two right gradients, and of
    20 million some always are (PyTorch's own gradients in f32 and f64 then differ by a fifth). ReLUs that are on for
    one pixel and off for another are compared at reduced width (`rn_golden.safetensors`)."""
    for name, module in model.named_modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, 1.0, 0.1)
            nn.init.normal_(module.bias, 0.0, 0.1)
        if isinstance(module, nn.BatchNorm2d):
            within = name.endswith("bn3") and name != "visual.bn3"  # added to a shortcut that is above 0
            nn.init.normal_(module.weight, 0.1 if within else 0.6, 0.02)
            nn.init.normal_(module.bias, 0.0 if within else 3.0, 0.05)
            if not within and not name.endswith("downsample.1"):
                module.bias.data *= torch.randint(0, 2, module.bias.shape) * 2 - 1
            module.running_mean.normal_(0.0, 0.1)
            module.running_var.uniform_(0.5, 1.5)


def clearance(model, pixels):
    """The smallest distance of a ReLU's input from 0 in training."""
    relu, smallest = F.relu, [float("inf")]

    def watched(x):
        smallest[0] = min(smallest[0], x.abs().min().item())
        return relu(x)

    F.relu = watched
    with torch.no_grad():
        model.train().visual(pixels)
    F.relu = relu
    return smallest[0]


def measure(model, pixels, tokens):
    with torch.no_grad():
        model.eval()
        numbers = {"image_features": model.visual(pixels), "text_features": model.text(tokens)}
    model.train().zero_grad()
    images, texts = F.normalize(model.visual(pixels)), F.normalize(model.text(tokens))
    logits = model.logit_scale.exp() * images @ texts.t()
    labels = torch.arange(len(logits))
    loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels)) / 2
    loss.backward()
    numbers["loss"] = loss.detach()
    numbers.update({f"grad.{name}": value.grad.clone() for name, value in model.named_parameters()})
    return numbers


def make(name, folder):
    torch.manual_seed(0)
    model = CLIP(name)
    perturb(model)
    state = {key: value.clone() for key, value in model.state_dict().items() if "num_batches" not in key}
    save_file(state, folder / f"{name}_weights.safetensors")
    side = SIZES[name][1]
    pixels, tokens = torch.randn(2, 3, side, side), torch.randint(1, VOCABULARY - 2, (2, CONTEXT))
    tokens[:, 0], tokens[0, 20:], tokens[1, 60:] = VOCABULARY - 2, 0, 0
    tokens[0, 19] = tokens[1, 59] = VOCABULARY - 1
    if isinstance(model.visual, ModifiedResNet):
        print(f"{name}: inputs of ReLUs are at least {clearance(model, pixels):.1e} from 0")
        model.load_state_dict(state, strict=False)
    single = measure(model, pixels, tokens)
    model.load_state_dict(state, strict=False)
    double = measure(model.double(), pixels.double(), tokens)
    numbers = {key: value.float().contiguous() for key, value in double.items()}
    worst = lambda key: ((single[key] - double[key]).abs().max() / double[key].abs().max().clamp(min=1e-3)).item()
    gradients = sorted(((worst(key), key) for key in double if key.startswith("grad.")), reverse=True)
    print(f"{name}: loss {double['loss']:.6f}; PyTorch in f32 against f64:")
    for key in ["image_features", "text_features"]:
        print(f"  {key} max abs {(single[key] - double[key]).abs().max():.2e} of {double[key].abs().max():.2f}")
    print("  worst gradients, of their largest entry:", *(f"{far:.1e} {key}" for far, key in gradients[:5]))
    numbers.update(pixels=pixels, tokens=tokens)
    save_file(numbers, folder / f"{name}_golden.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--only", nargs="*", choices=SIZES)
    parser.add_argument("--count", action="store_true")
    arguments = parser.parse_args()
    if arguments.count:
        for name in SIZES:
            with torch.device("meta"):
                print(name, sum(value.numel() for value in CLIP(name).parameters()))
        return
    if arguments.folder is None:
        parser.error("name a folder")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    for name in arguments.only or ["rn50", "vit-b-32"]:
        make(name, arguments.folder)


main()
