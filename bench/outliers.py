#!/usr/bin/env python3
"""Writes models/classics-7m with outliers: the same function, exactly, in bf16.

    bench/outliers.py models/classics-7m OUTPUT_FOLDER

4 of 256 channels behind every norm and 8 of 768 of every product become 32 times as large, 2 of the
channels of values 16 times, and the weights that read them that much smaller: exponents change,
mantissas do not.
"""
import array
import json
import pathlib
import shutil
import struct
import sys

LAYERS, HEAD_DIM, QUERIES_PER_VALUE = 6, 32, 2
NORM = [5, 70, 133, 201]
PRODUCT = [3, 101, 200, 305, 411, 502, 640, 733]
VALUE = [7, 50]


class Weights:
    def __init__(self, path):
        self.bytes = bytearray(path.read_bytes())
        size, = struct.unpack("<Q", self.bytes[:8])
        self.tensors = json.loads(self.bytes[8:8 + size])
        self.data = 8 + size

    def scale(self, name, indices, power, axis):
        """Multiplies rows (axis 0) or columns (1) by 2^power."""
        entry = self.tensors[name]
        assert entry["dtype"] == "BF16", name
        begin, end = (self.data + offset for offset in entry["data_offsets"])
        rows, cols = (entry["shape"] + [1])[:2]
        numbers = array.array("H", bytes(self.bytes[begin:end]))
        for i in indices:
            places = range(i * cols, (i + 1) * cols) if axis == 0 else range(i, rows * cols, cols)
            for k in places:
                exponent = numbers[k] >> 7 & 0xff
                if exponent == 0:
                    numbers[k] &= 0x8000
                    continue
                assert 0 < exponent + power < 255, name
                numbers[k] = numbers[k] & 0x807f | exponent + power << 7
        self.bytes[begin:end] = numbers.tobytes()

    def move(self, writer, readers, channels, power):
        self.scale(writer, channels, power, 0)
        for reader in readers:
            self.scale(reader, channels, -power, 1)


def main(source, output):
    output.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.name != "model.safetensors":
            shutil.copyfile(path, output / path.name)
    weights = Weights(source / "model.safetensors")
    for layer in range(LAYERS):
        attention = f"model.layers.{layer}.self_attn."
        mlp = f"model.layers.{layer}.mlp."
        weights.move(f"model.layers.{layer}.input_layernorm.weight",
                     [f"{attention}{x}_proj.weight" for x in "qkv"], NORM, 5)
        weights.move(f"model.layers.{layer}.post_attention_layernorm.weight",
                     [f"{mlp}{x}_proj.weight" for x in ("gate", "up")], NORM, 5)
        weights.move(f"{mlp}up_proj.weight", [f"{mlp}down_proj.weight"], PRODUCT, 5)
        weights.scale(f"{attention}v_proj.weight", VALUE, 4, 0)
        read = [(QUERIES_PER_VALUE * (v // HEAD_DIM) + k) * HEAD_DIM + v % HEAD_DIM
                for v in VALUE for k in range(QUERIES_PER_VALUE)]
        weights.scale(f"{attention}o_proj.weight", read, -4, 1)
    weights.move("model.norm.weight", ["lm_head.weight"], NORM, 5)
    (output / "model.safetensors").write_bytes(weights.bytes)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
