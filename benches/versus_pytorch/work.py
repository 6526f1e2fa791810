"""The pieces of work in PyTorch. Counterparts: `crates/clip/benches/speed/{models,operations}.rs`."""

import torch
import torch.nn.functional as F

import models
from inputs import noise, signature, tokens

EPSILON = 1e-5
UNMERGED = 514


def load(place, name, vocabulary, weights):
    """A model, with the weights that our side wrote where they are given."""
    model = models.Clip(name, vocabulary)
    if weights:
        from safetensors.torch import load_file

        missing, unexpected = model.load_state_dict(load_file(weights), strict=False)
        missing = [name for name in missing if not name.endswith("num_batches_tracked")]
        if missing or unexpected:
            raise ValueError(f"the weights do not fit: missing {missing}, not wanted {unexpected}")
    return model.to(place.device, memory_format=torch.channels_last)


def pixels(model, batch):
    """Images that differ in more than noise, about as wide as normalised ones: 4×4 coloured squares under noise.
    Images of noise alone have nearly the same features, and their gradients are what rounding leaves."""
    side = model.resolution
    squares = noise((batch, 4, 4, 3), 2).repeat_interleave(side // 4, 1).repeat_interleave(side // 4, 2)
    return (noise((batch, side, side, 3), 1) * 0.5 + squares * 1.5).permute(0, 3, 1, 2)  # channels_last


def optimizer(model):
    """AdamW, fused, with decay of everything that has two or more dimensions."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, fused=True)


class Step:
    def __init__(self, place, weights, compiled, model, batch, length, vocabulary, in_modal, upload=False):
        self.place, self.model = place, load(place, model, vocabulary, weights).train()
        views = 2 if in_modal else 1
        self.inputs = pixels(self.model, views * batch), tokens(views * batch, length, vocabulary)
        self.upload = upload and place.device == "cuda"
        # Pinned memory, from which a copy does not keep the host waiting.
        self.inputs = [x.pin_memory() if self.upload else x.to(place.device) for x in self.inputs]
        self.optimizer = optimizer(self.model)
        loss = models.cleanclip_loss if in_modal else models.clip_loss
        self.loss = torch.compile(loss) if compiled else loss

    def gradients(self):
        self.optimizer.zero_grad(set_to_none=True)
        inputs = [x.to(self.place.device, non_blocking=True) for x in self.inputs] if self.upload else self.inputs
        with self.place.computing():
            loss = self.loss(self.model, *inputs)
        loss.backward()
        return loss

    def check(self):
        losses = [self.gradients().item()]
        signatures = {name: signature(p.grad) for name, p in self.model.named_parameters()}
        self.optimizer.step()
        for _ in range(2):
            losses.append(self.gradients().item())
            self.optimizer.step()
        return {"losses": losses, "signatures": signatures}

    def run(self):
        self.place.read(self.gradients())
        self.optimizer.step()


class Encode:
    def __init__(self, place, weights, compiled, model, batch):
        self.place, self.model = place, load(place, model, UNMERGED, weights).eval()
        self.pixels = pixels(self.model, batch).to(place.device)
        self.forward = torch.compile(self.model.visual) if compiled else self.model.visual

    @torch.inference_mode()
    def check(self):
        return {"losses": [], "signatures": {"features": signature(self.features())}}

    def features(self):
        with self.place.computing():
            return self.forward(self.pixels)

    @torch.inference_mode()
    def run(self):
        self.features()


class AdamW:
    def __init__(self, place, weights, compiled, model, vocabulary):
        self.model = load(place, model, vocabulary, weights)
        for parameter in self.model.parameters():
            gradient = noise(parameter.shape, 3)
            layout = torch.channels_last if gradient.ndim == 4 else torch.contiguous_format
            parameter.grad = gradient.contiguous(memory_format=layout)
        self.optimizer = optimizer(self.model)

    def check(self):
        self.run()
        return {"losses": [], "signatures": {name: signature(p) for name, p in self.model.named_parameters()}}

    def run(self):
        self.optimizer.step()


def channels_first(x):
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def channels_last(x):
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def leaf(shape, seed, bound=1.0):
    return channels_first(noise(shape, seed) * bound).requires_grad_()


def convolution(input, outputs, kernel, stride, padding, first):
    x = channels_first(noise(input, 1)) if first else leaf(input, 1)
    w = leaf((outputs, kernel, kernel, input[3]), 2, 0.1)
    return [x, w], lambda x, w: F.conv2d(x, w, None, stride, padding)


def batch_norm(input, residual):
    inputs = [leaf(input, 1), leaf((input[3],), 2), leaf((input[3],), 3)]
    if residual:
        inputs.append(leaf(input, 4))

    def forward(x, gamma, beta, residual=None):
        y = F.batch_norm(x, None, None, gamma, beta, True, 0.1, EPSILON)
        return F.relu(y if residual is None else y.add_(residual), inplace=True)

    return inputs, forward


def average_pool(input, size):
    return [leaf(input, 1)], lambda x: F.avg_pool2d(x, size)


def attention_pool(input, heads):
    _, height, width, channels = input
    inputs = [leaf(input, 1), leaf((height * width + 1, channels), 2)]
    for projection in range(3):
        inputs.append(leaf((channels, channels), 3 + 2 * projection, 0.02))
        bias = noise((channels,), 4 + 2 * projection)
        inputs.append(bias if projection == 1 else (bias * 0.1).requires_grad_())

    def forward(x, positions, qw, qb, kw, kb, vw, vb):
        return models.attention_pool(x, positions, (qw, qb), (kw, kb), (vw, vb), heads)

    return inputs, forward


def layer_norm(rows, width):
    inputs = [leaf((rows, width), 1), leaf((width,), 2), leaf((width,), 3)]
    return inputs, lambda x, gamma, beta: F.layer_norm(x, (width,), gamma, beta, EPSILON)


def quick_gelu(rows, width):
    return [leaf((rows, width), 1, 3.0)], models.quick_gelu


def linear(rows, inputs, outputs):
    return [leaf((rows, inputs), 1), leaf((outputs, inputs), 2, 0.1), leaf((outputs,), 3, 0.1)], F.linear


def attention(batch, tokens, width, heads, causal):
    inputs = [leaf((batch, tokens, width), seed) for seed in (1, 2, 3)]
    return inputs, lambda q, k, v: models.attention(q, k, v, heads, causal)


def embedding(vocabulary, width, batch, length):
    table = leaf((vocabulary, width), 1)
    return [table, tokens(batch, length, vocabulary)], lambda table, ids: F.embedding(ids, table)


class Operation:
    def __init__(self, compiled, parts):
        self.inputs, self.forward = parts
        self.wanted = [x for x in self.inputs if x.requires_grad]
        result = self.forward(*self.inputs)
        self.gradient = channels_first(noise(channels_last(result).shape, 50))
        if compiled:
            self.forward = torch.compile(self.forward)

    def pull_back(self):
        result = self.forward(*self.inputs)
        return result, torch.autograd.grad(result, self.wanted, self.gradient)

    def check(self):
        result, gradients = self.pull_back()
        signatures = {"result": signature(channels_last(result))}
        for index, gradient in enumerate(gradients):
            signatures[f"gradient {index}"] = signature(channels_last(gradient))
        return {"losses": [], "signatures": signatures}

    def run(self):
        self.pull_back()


class InfoNce:
    def __init__(self, compiled, batch, width):
        self.inputs = [leaf((batch, width), 1), leaf((batch, width), 2), torch.tensor(2.6593).requires_grad_()]
        self.forward = torch.compile(models.info_nce) if compiled else models.info_nce

    def pull_back(self):
        loss = self.forward(*self.inputs)
        return loss, torch.autograd.grad(loss, self.inputs)

    def check(self):
        loss, gradients = self.pull_back()
        signatures = {f"gradient {index}": signature(gradient) for index, gradient in enumerate(gradients)}
        return {"losses": [loss.item()], "signatures": signatures}

    def run(self):
        self.pull_back()


class Product:
    """On a GPU as a layer computes it: the second factor transposed, in f32, cast where autocast reads it."""

    def __init__(self, place, size):
        a, b = noise((size, size), 1), noise((size, size), 2)
        self.place, self.factors = place, (a.to(place.device, place.activations()), b.to(place.device))

    def product(self):
        with self.place.computing():
            return F.linear(*self.factors) if self.place.device == "cuda" else self.factors[0] @ self.factors[1]

    def check(self):
        return {"losses": [], "signatures": {"result": signature(self.product())}}

    def run(self):
        self.product()


OPERATIONS = {
    "convolution": convolution,
    "batch-norm": batch_norm,
    "average-pool": average_pool,
    "attention-pool": attention_pool,
    "layer-norm": layer_norm,
    "quick-gelu": quick_gelu,
    "linear": linear,
    "attention": attention,
    "embedding": embedding,
}
MODELS = {"step": Step, "encode": Encode, "adam-w": AdamW}


def prepare(work, weights, compiled, place):
    """Makes a piece of work, as `rows.json` describes it, ready."""
    ((kind, sizes),) = work.items()
    sizes = {name.replace("-", "_"): size for name, size in sizes.items()}
    if kind in MODELS:
        return MODELS[kind](place, weights, compiled, **sizes)
    if kind == "info-nce":
        return InfoNce(compiled, **sizes)
    if kind == "product":
        return Product(place, **sizes)
    return Operation(compiled, OPERATIONS[kind](**sizes))
