"""Writes small files of many kinds, and their pixels as Pillow's `convert("RGB")` gives them, into data/decode/.

    python3 -m venv venv && venv/bin/pip install pillow numpy
    venv/bin/python golden/make_images.py

`NAME.jpg`, `.png`, `.webp` or `.gif` is the file, `NAME.rgb.png` what Pillow reads. Written with Pillow 13.0.0
(libjpeg-turbo 3.2.0, libwebp 1.6.0).
"""

import struct
import zlib
from pathlib import Path

import numpy
from PIL import Image

FOLDER = Path(__file__).parent / "data" / "decode"
generator = numpy.random.default_rng(0)


def picture(width, height, channels=3, noise=12):
    """A gradient with an edge and noise."""
    x, y = numpy.meshgrid(numpy.linspace(0, 255, width), numpy.linspace(0, 255, height))
    planes = [(x * (3 - at) + y * (at + 1)) / 4 for at in range(channels)]
    levels = numpy.stack(planes, axis=2)
    levels[height // 3 : height // 2, width // 4 : width // 2] = 255 - levels[height // 3 : height // 2, width // 4 : width // 2]
    levels += generator.normal(0, noise, levels.shape)
    return numpy.clip(levels, 0, 255).astype("uint8")


def image(*size, mode="RGB", **kind):
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    levels = picture(*size, channels, **kind)
    return Image.fromarray(levels[:, :, 0] if channels == 1 else levels, mode)


def png(width, height, kind, levels):
    """A PNG file of 16 bits: big-endian levels, line by line."""
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in levels)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def main():
    FOLDER.mkdir(exist_ok=True)
    save = lambda name, image, **how: image.save(FOLDER / name, **how)
    for sampling in ("4:4:4", "4:2:2", "4:2:0"):
        name = sampling.replace(":", "")
        save(f"baseline-{name}.jpg", image(53, 37), quality=90, subsampling=sampling)
        save(f"restarts-{name}.jpg", image(70, 41), quality=75, subsampling=sampling, restart_marker_blocks=3)
        save(f"optimised-{name}.jpg", image(40, 40), quality=50, subsampling=sampling, optimize=True)
        save(f"progressive-{name}.jpg", image(47, 35), quality=85, subsampling=sampling, progressive=True)
    save("grey.jpg", image(45, 29, mode="L"), quality=85)
    save("restart-rows.jpg", image(64, 64), quality=95, restart_marker_rows=1)
    save("coarse.jpg", image(61, 43, noise=60), quality=2)
    save("narrow.jpg", image(3, 40), quality=85)
    save("pixel.jpg", image(1, 1), quality=85)
    save("rgb.jpg", image(33, 22), quality=95, keep_rgb=True)
    save("cmyk.jpg", image(31, 24, mode="CMYK"), quality=90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: neither `open` nor `convert` turn it back
    save("exif-turned.jpg", image(40, 24), quality=90, exif=exif)
    save("rgba.png", image(20, 15, mode="RGBA"))
    save("grey-alpha.png", image(20, 15, mode="LA"))
    save("pixel.png", image(1, 1))
    save("line.png", image(300, 1))
    save("bilevel.png", image(21, 14, mode="L").convert("1"))
    palette = image(24, 18).quantize(16)
    save("palette.png", palette)
    save("palette-transparent.png", palette, transparency=3)
    wide = generator.integers(0, 65536, (12, 10 * 4))
    for name, kind, channels in (("grey-16", 0, 1), ("rgb-16", 2, 3), ("grey-alpha-16", 4, 2), ("rgba-16", 6, 4)):
        (FOLDER / f"{name}.png").write_bytes(png(10, 12, kind, wide[:, : 10 * channels]))
    frames = [image(28, 20, mode="RGBA") for _ in range(3)]
    save("animated.png", frames[0], save_all=True, append_images=frames[1:])
    save("lossy.webp", image(49, 33), quality=80)
    save("lossy-noise.webp", image(50, 34, noise=60), quality=30)
    save("lossy-alpha.webp", image(30, 22, mode="RGBA"), quality=80)
    save("lossless.webp", image(49, 33), lossless=True)
    save("lossless-alpha.webp", image(30, 22, mode="RGBA"), lossless=True, exact=True)
    save("pixel.webp", image(1, 1), quality=80)
    opaque = [image(28, 20) for _ in range(3)]
    save("animated.webp", opaque[0], save_all=True, append_images=opaque[1:], quality=80)
    save("still.gif", image(24, 18).quantize(32))
    save("transparent.gif", palette, transparency=3)
    save("animated.gif", opaque[0].quantize(32), save_all=True, append_images=[one.quantize(32) for one in opaque[1:]])
    for path in sorted(FOLDER.iterdir()):
        if not path.name.endswith(".rgb.png"):
            pixels = Image.open(path).convert("RGB")
            pixels.save(FOLDER / f"{path.name}.rgb.png", optimize=True)


if __name__ == "__main__":
    main()
