#!/usr/bin/env python3
"""Writes ID.bin for every ggml codec: blocks of random bytes, then what ggml decodes them to.

    make_vectors.py LIBGGML_BASE FOLDER

LIBGGML_BASE is libggml-base.so of llama.cpp, for instance of the package node-llama-cpp
(node_modules/@node-llama-cpp/linux-x64/bins/linux-x64). A file holds six blocks and their values
as binary32: four with ordinary scales, two of random bytes alone (infinite scales, unused codes).
"""

import ctypes
import pathlib
import random
import struct
import sys

# id: ggml's function, columns, bytes, where its binary16 numbers lie
FORMATS = {
    "q4_0": ("q4_0", 32, 18, [0]),
    "q4_1": ("q4_1", 32, 20, [0, 2]),
    "q5_0": ("q5_0", 32, 22, [0]),
    "q5_1": ("q5_1", 32, 24, [0, 2]),
    "q8_0": ("q8_0", 32, 34, [0]),
    "q2_k": ("q2_K", 256, 84, [80, 82]),
    "q3_k": ("q3_K", 256, 110, [108]),
    "q4_k": ("q4_K", 256, 144, [0, 2]),
    "q5_k": ("q5_K", 256, 176, [0, 2]),
    "q6_k": ("q6_K", 256, 210, [208]),
    "iq4_nl": ("iq4_nl", 32, 18, [0]),
    "iq4_xs": ("iq4_xs", 256, 136, [0]),
    "tq1_0": ("tq1_0", 256, 54, [52]),
    "tq2_0": ("tq2_0", 256, 66, [64]),
    "mxfp4_ggml": ("mxfp4", 32, 17, []),
    "nvfp4_ggml": ("nvfp4", 64, 36, []),
}
ORDINARY, HOSTILE = 4, 2


def main():
    library = ctypes.CDLL(sys.argv[1])
    folder = pathlib.Path(sys.argv[2])
    for name, (function, columns, size, halves) in FORMATS.items():
        draw = random.Random(name)
        blocks = b""
        for index in range(ORDINARY + HOSTILE):
            block = bytearray(draw.randbytes(size))
            if index < ORDINARY:
                for at in halves:
                    block[at:at + 2] = struct.pack("<e", draw.gauss(0, 0.01))
            if name == "mxfp4_ggml" and index < ORDINARY:
                block[0] = draw.randrange(100, 130)
            if name == "nvfp4_ggml" and index < ORDINARY:
                block[0:4] = bytes(draw.randrange(0, 127) for _ in range(4))
            blocks += bytes(block)
        values = (ctypes.c_float * (columns * (ORDINARY + HOSTILE)))()
        decode = getattr(library, "dequantize_row_" + function)
        decode(blocks, values, ctypes.c_int64(len(values)))
        (folder / f"{name}.bin").write_bytes(blocks + bytes(values))


main()
