"""CLIP in PyTorch, written for speed: channels_last, scaled_dot_product_attention, activations in place.

The parameters have OpenAI's names, so that the weights that our side writes load as they are.
"""

import torch
import torch.nn.functional as F
from torch import nn

RN50 = {"resolution": 224, "layers": [3, 4, 6, 3], "width": 64, "stem_stride": 2}
TINY = {"resolution": 32, "layers": [1, 1, 1], "width": 16, "stem_stride": 1}
VIT_B_32 = {"resolution": 224, "patch": 32, "width": 768, "layers": 12}
# embedding, image tower, text tower: context, width, heads, layers
PRESETS = {
    "tiny": (128, TINY, (32, 64, 2, 2)),
    "rn50": (1024, RN50, (77, 512, 8, 12)),
    "vit-b-32": (512, VIT_B_32, (77, 512, 8, 12)),
}


class Bottleneck(nn.Module):
    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, planes * 4, 1, bias=False), nn.BatchNorm2d(planes * 4)
        self.stride = stride
        self.downsample = None
        if stride > 1 or inputs != planes * 4:
            convolution = nn.Conv2d(inputs, planes * 4, 1, bias=False)
            self.downsample = nn.ModuleDict({"0": convolution, "1": nn.BatchNorm2d(planes * 4)})

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        if self.stride > 1:
            y, x = F.avg_pool2d(y, self.stride), F.avg_pool2d(x, self.stride)
        y = self.bn3(self.conv3(y))
        if self.downsample is not None:
            x = self.downsample["1"](self.downsample["0"](x))
        return F.relu(y.add_(x), inplace=True)


def attention(q, k, v, heads, causal):
    """[B, L, D] each, to [B, L, D]."""
    batch, length, width = q.shape
    split = lambda x: x.view(batch, -1, heads, width // heads).transpose(1, 2)
    y = F.scaled_dot_product_attention(split(q), split(k), split(v), is_causal=causal)
    return y.transpose(1, 2).reshape(batch, length, width)


def attention_pool(x, positions, query, key, value, heads):
    """Attention of the mean over positions of [B, C, H, W] to [B, C], the output projection left out."""
    x = x.flatten(2).transpose(1, 2)  # [B, HW, C], a view of channels_last
    x = torch.cat([x.mean(1, keepdim=True), x], 1) + positions
    q = F.linear(x[:, :1], *query)
    return attention(q, F.linear(x, *key), F.linear(x, *value), heads, False)[:, 0]


class AttentionPool(nn.Module):
    def __init__(self, side, width, embed_dim):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(side * side + 1, width) / width**0.5)
        self.k_proj, self.q_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.c_proj = nn.Linear(width, width), nn.Linear(width, embed_dim)
        self.heads = max(width // 64, 1)

    def forward(self, x):
        parts = [(layer.weight, layer.bias) for layer in (self.q_proj, self.k_proj, self.v_proj)]
        return self.c_proj(attention_pool(x, self.positional_embedding, *parts, self.heads))


class ResNet(nn.Module):
    def __init__(self, resolution, layers, width, stem_stride, embed_dim):
        super().__init__()
        half = width // 2
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, stem_stride, 1, bias=False), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = nn.Conv2d(half, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for stage, count in enumerate(layers):
            blocks = []
            for index in range(count):
                blocks.append(Bottleneck(inputs, width << stage, 2 if stage > 0 and index == 0 else 1))
                inputs = (width << stage) * 4
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.stages = len(layers)
        side = resolution // (2 * stem_stride) >> (len(layers) - 1)
        self.attnpool = AttentionPool(side, inputs, embed_dim)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = F.avg_pool2d(F.relu(self.bn3(self.conv3(x)), inplace=True), 2)
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.attnpool(x)


class Attention(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.heads, self.causal = heads, causal

    def forward(self, x):
        q, k, v = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        return self.out_proj(attention(q, k, v, self.heads, self.causal))


class Block(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.attn = Attention(width, heads, causal)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        hidden = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](quick_gelu(hidden))


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


class Transformer(nn.Module):
    def __init__(self, width, heads, layers, causal):
        super().__init__()
        self.resblocks = nn.Sequential(*[Block(width, heads, causal) for _ in range(layers)])

    def forward(self, x):
        return self.resblocks(x)


class ViT(nn.Module):
    def __init__(self, resolution, patch, width, layers, embed_dim):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn((resolution // patch) ** 2 + 1, width) * width**-0.5)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, width // 64, layers, False)
        self.proj = nn.Parameter(torch.randn(width, embed_dim) * width**-0.5)

    def forward(self, x):
        x = self.conv1(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


class Clip(nn.Module):
    def __init__(self, name, vocabulary):
        super().__init__()
        embed_dim, image, (context, width, heads, layers) = PRESETS[name]
        self.resolution = image["resolution"]
        self.visual = (ViT if "patch" in image else ResNet)(**image, embed_dim=embed_dim)
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.randn(context, width) * 0.01)
        self.transformer = Transformer(width, heads, layers, True)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, embed_dim) * width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(2.6592600))

    def encode_text(self, tokens):
        x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        x = self.transformer(x)
        return self.ln_final(x[torch.arange(len(tokens), device=x.device), tokens.argmax(-1)]) @ self.text_projection


def info_nce(images, texts, logit_scale):
    """Symmetric InfoNCE of features that are not yet normalised."""
    logits = logit_scale.exp() * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).t()
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own)) / 2


def in_modal(features, augmented, logit_scale):
    """CleanCLIP's term within a modality, one direction."""
    logits = logit_scale.exp() * F.normalize(features, dim=-1) @ F.normalize(augmented, dim=-1).t()
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def clip_loss(model, pixels, tokens):
    return info_nce(model.visual(pixels), model.encode_text(tokens), model.logit_scale)


def cleanclip_loss(model, pixels, tokens):
    images, texts = model.visual(pixels).chunk(2), model.encode_text(tokens).chunk(2)
    within = in_modal(*images, model.logit_scale) + in_modal(*texts, model.logit_scale)
    return info_nce(images[0], texts[0], model.logit_scale) + within / 2
