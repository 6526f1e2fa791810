"""Writes odd GIFs, and the pixels of their first picture as Pillow's `convert("RGB")` gives them, into data/decode/.

    python3 -m venv venv && venv/bin/pip install pillow
    venv/bin/python golden/make_gifs.py                    # the project's own
    venv/bin/python golden/make_gifs.py FOLDER 400 1       # 400 others by seed 1, for CLEANBENCH_GOLDEN

Written with Pillow 13.0.0: pictures that do not fill the canvas or leave it, transparency, palettes that are short, grey
or local, interlaced lines, several pictures. (Of GIFs without any palette Pillow makes greys; here they are refused.)
"""

import io
import random
import struct
import sys
import warnings
from pathlib import Path

from PIL import Image

OWN = Path(__file__).parent / "data" / "decode"


def lzw(indices, bits):
    """LZW codes of one width, with a clear code before the table grows."""
    clear, end, width = 1 << bits, (1 << bits) + 1, bits + 1
    stream, held, out = 0, 0, bytearray()

    def put(code):
        nonlocal stream, held
        stream |= code << held
        held += width
        while held >= 8:
            out.append(stream & 255)
            stream >>= 8
            held -= 8

    for at, index in enumerate(indices):
        if at % ((1 << bits) - 2) == 0:
            put(clear)
        put(index)
    put(end)
    if held:
        out.append(stream & 255)
    blocks = [bytes(out[at : at + 255]) for at in range(0, len(out), 255)]
    return bytes([bits]) + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def palette(draw, size):
    kind = draw.choice(["colours", "colours", "grey"])
    if kind == "grey":
        return bytes(level for index in range(size) for level in [index] * 3)
    return bytes(draw.randrange(256) for _ in range(3 * size))


def interlaced(lines):
    order = [*range(0, len(lines), 8), *range(4, len(lines), 8), *range(2, len(lines), 4), *range(1, len(lines), 2)]
    return [lines[row] for row in order]


def picture(draw, screen, with_global):
    """A picture with what stands before it."""
    out = b""
    if draw.random() < 0.5:
        out += b"!\xf9\x04" + bytes([draw.choice([0, 1, 1, 1]) | draw.randrange(4) << 2, 5, 0, draw.randrange(20)]) + b"\0"
    if draw.random() < 0.2:
        out += b"!\xfe\x05hello\0"
    left, top = (draw.choice([0, 0, draw.randrange(6)]) for _ in range(2))
    width, height = (max(1, side + draw.choice([0, 0, -3, -7, 4])) for side in screen)
    bits = draw.randrange(2, 9)
    has_palette = not with_global or draw.random() < 0.3
    local = draw.randrange(1, bits + 1) if has_palette else 0
    flags = (128 | local - 1 if local else 0) | draw.choice([0, 64])
    out += b"," + struct.pack("<HHHHB", left, top, width, height, flags)
    if local:
        out += palette(draw, 1 << local)
    lines = [[draw.randrange(1 << bits) for _ in range(width)] for _ in range(height)]
    if flags & 64:
        lines = interlaced(lines)
    return out + lzw([index for line in lines for index in line], bits)


def gif(draw):
    screen = [draw.randrange(1, 24) for _ in range(2)]
    size = draw.choice([0, 1, 2, 4, 8])
    flags = 128 | size - 1 if size else 0
    out = b"GIF89a" + struct.pack("<HHBBB", *screen, flags, draw.randrange(8), 0)
    if size:
        out += palette(draw, 1 << size)
    count = draw.choice([1, 1, 2])
    return out + b"".join(picture(draw, screen, size > 0) for _ in range(count)) + b";", count


def main():
    folder, count, seed = OWN, 24, 0
    if len(sys.argv) > 1:
        folder, count, seed = Path(sys.argv[1]) / "decode", int(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    draw, written = random.Random(seed), 0
    while written < count:
        data, pictures = gif(draw)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = Image.open(io.BytesIO(data)).convert("RGB")
        name = f"{'animated' if pictures > 1 else 'still'}-odd-{written:02}.gif"
        (folder / name).write_bytes(data)
        pixels.save(folder / f"{name}.rgb.png", optimize=True)
        written += 1


main()
