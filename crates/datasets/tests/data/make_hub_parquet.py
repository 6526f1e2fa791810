"""Writes hub.parquet as the Hub's image data sets are: a struct of bytes and path, row groups, snappy.

Run with pyarrow 20 or later: python make_hub_parquet.py
"""
import struct
import zlib

import pyarrow as pa
import pyarrow.parquet as pq


def png(level):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + bytes([level, 0, 0]) * 4 for _ in range(3))
    header = struct.pack(">IIBBBBB", 4, 3, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


images = [{"bytes": png(row), "path": f"ILSVRC2012_val_{row:08}.JPEG"} for row in range(40)]
labels = [row * 25 % 1000 for row in range(40)]
labels[3] = -1  # as in the Hub's test split
images[7] = None
labels[11] = 1000
schema = pa.schema([
    ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ("label", pa.int64()),
])
table = pa.table({"image": images, "label": labels}, schema=schema)
pq.write_table(table, "hub.parquet", row_group_size=15, compression="snappy", data_page_size=512)
