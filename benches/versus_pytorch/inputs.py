"""Inputs that our side makes too, and numbers that stand for a whole tensor when the sides are compared.

Counterpart: `crates/clip/benches/speed/inputs.rs`.
"""

import numpy
import torch

CHUNK = 1 << 20


def _hash(index, seed):
    """Numbers in [0, 2^32) from indices and a seed (the finaliser of Wellons' "lowbias32")."""
    x = index * numpy.uint32(0x9E3779B9) + numpy.uint32(seed * 0x85EBCA6B & 0xFFFFFFFF)
    x = (x ^ (x >> numpy.uint32(16))) * numpy.uint32(0x7FEB352D)
    x = (x ^ (x >> numpy.uint32(15))) * numpy.uint32(0x846CA68B)
    return x ^ (x >> numpy.uint32(16))


def _uniform(start, stop, seed):
    """Uniform in [-1, 1), exact in f32."""
    index = numpy.arange(start, stop, dtype=numpy.uint32)
    return (_hash(index, seed) >> numpy.uint32(8)).astype(numpy.float32) / numpy.float32(1 << 23) - numpy.float32(1)


def noise(shape, seed):
    """Noise in [-1, 1)."""
    count = int(numpy.prod(shape))
    return torch.from_numpy(_uniform(0, count, seed)).reshape(shape)


def tokens(batch, length, vocabulary):
    """Texts [B, L]: a start token, words, an end token up to two places before the last, then zeros."""
    at = numpy.arange(batch * length, dtype=numpy.uint32)
    row, place = at // length, at % length
    end = length - 1 - row % 3
    words = (_hash(at, 7) % numpy.uint32(vocabulary - 2)).astype(numpy.int64)
    words = numpy.where(place == 0, vocabulary - 2, words)
    words = numpy.where(place == end, vocabulary - 1, words)
    words = numpy.where(place > end, 0, words)
    return torch.from_numpy(words).reshape(batch, length)


def signature(tensor):
    """A tensor's norm and its projection onto noise, in the order of its axes."""
    values = tensor.detach().float().cpu().contiguous().reshape(-1).numpy()
    square = projection = 0.0
    for start in range(0, values.size, CHUNK):
        part = values[start : start + CHUNK].astype(numpy.float64)
        square += float(part @ part)
        projection += float(part @ _uniform(start, start + part.size, 1000).astype(numpy.float64))
    return {"norm": square**0.5, "projection": projection}
