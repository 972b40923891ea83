#!/usr/bin/env python3
"""Quantized Hugging Face folders as their own projects define them, decoded by NumPy: a second
implementation of src/formats/folder_*.cc, written from the projects' packing rules.

    decode_folders.py BITSMITH MODEL

Compresses MODEL (a folder) to 4 bits with and without zero points, and to 8, exports each in every
format and as plain numbers, decodes the first and compares with the second, value for value. Exits
with 77 when numpy is not installed.
"""

import json
import pathlib
import struct
import subprocess
import sys
import tempfile

try:
    import numpy
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

DTYPES = {"F32": "<f4", "F16": "<f2", "I32": "<i4", "I64": "<i8", "I8": "i1"}


def read_safetensors(path):
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            halves = numpy.frombuffer(data[begin:end], "<u2").astype("<u4") << 16
            tensors[name] = halves.view("<f4").reshape(entry["shape"])
        else:
            tensors[name] = numpy.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(
                entry["shape"])
    return tensors


def unpack(words, bits, axis, count):
    """Numbers of `bits` bits along `axis`, lowest bits first, by way of single bits."""
    words = numpy.moveaxis(words.astype("<i4").view("<u4"), axis, -1)
    single = numpy.unpackbits(numpy.ascontiguousarray(words).view("u1"), axis=-1, bitorder="little")
    single = single[..., :count * bits].reshape(*single.shape[:-1], count, bits)
    numbers = (single.astype("i4") << numpy.arange(bits)).sum(axis=-1)
    return numpy.moveaxis(numbers, -1, axis)


def decode_gptq(tensors, module, config):
    rule = config
    for pattern, own in config.get("dynamic", {}).items():
        if pattern == "+:^" + module.replace(".", "\\.") + "$":
            rule = {**config, **own}
    bits = rule["bits"]
    scales = tensors[module + ".scales"].astype("f4")  # [groups, outputs]
    groups = tensors[module + ".g_idx"]
    q = unpack(tensors[module + ".qweight"], bits, 0, len(groups))  # [inputs, outputs]
    z = unpack(tensors[module + ".qzeros"], bits, 1, scales.shape[1])
    if config["checkpoint_format"] == "gptq":
        z = z + 1
    return (scales[groups] * (q - z[groups]).astype("f4")).T


def decode_awq(tensors, module, config):
    order = [0, 4, 1, 5, 2, 6, 3, 7]  # output j of a word is nibble order[j]

    def nibbles(words):
        numbers = unpack(words, 4, 1, words.shape[1] * 8)
        return numbers.reshape(len(words), -1, 8)[:, :, order].reshape(len(words), -1)

    q = nibbles(tensors[module + ".qweight"])
    z = nibbles(tensors[module + ".qzeros"])
    scales = tensors[module + ".scales"].astype("f4")
    size = config["group_size"] if config["group_size"] > 0 else len(q)
    groups = numpy.arange(len(q)) // size
    return (scales[groups] * (q - z[groups]).astype("f4")).T


def decode_compressed_tensors(tensors, module, config):
    own = [group for group in config["config_groups"].values()
           if module in group["targets"] or group["targets"] == ["Linear"]]
    weights = own[0]["weights"]
    bits = weights["num_bits"]
    rows, cols = tensors[module + ".weight_shape"]
    q = unpack(tensors[module + ".weight_packed"], bits, 1, cols) - 2**(bits - 1)
    scales = tensors[module + ".weight_scale"].astype("f4")
    z = numpy.zeros(scales.shape, "i4")
    if not weights["symmetric"]:
        z = unpack(tensors[module + ".weight_zero_point"], bits, 0, rows) - 2**(bits - 1)
    groups = numpy.arange(cols) // (weights["group_size"] or cols)
    return scales[:, groups] * (q - z[:, groups]).astype("f4")


DECODERS = {"gptq": (".qweight", decode_gptq), "awq": (".qweight", decode_awq),
            "compressed-tensors": (".weight_packed", decode_compressed_tensors)}


def check(bitsmith, checkpoint, work):
    plain = work / (checkpoint.stem + "-plain")
    subprocess.run([bitsmith, "export", checkpoint, "--format", "safetensors", "-o", plain,
                    "--quiet"], check=True, stdout=subprocess.DEVNULL)
    expected = read_safetensors(plain / "model.safetensors")
    for name, (part, decode) in DECODERS.items():
        folder = work / f"{checkpoint.stem}-{name}"
        done = subprocess.run([bitsmith, "export", checkpoint, "--format", name, "-o", folder,
                               "--quiet"], capture_output=True, text=True)
        if name == "awq" and checkpoint.stem == "eight":
            assert done.returncode != 0 and "AWQ has 4 bits" in done.stderr, done.stderr
            continue
        assert done.returncode == 0, done.stderr
        config = json.loads((folder / "config.json").read_text())["quantization_config"]
        tensors = read_safetensors(folder / "model.safetensors")
        modules = [t.removesuffix(part) for t in tensors if t.endswith(part)]
        assert len(modules) == 42, modules
        for module in modules:
            values = decode(tensors, module, config)
            numpy.testing.assert_array_equal(values, expected[module + ".weight"])
        for other in set(tensors) & set(expected):
            numpy.testing.assert_array_equal(tensors[other].astype("f4"), expected[other])
        print(f"{folder.name}: {len(modules)} matrices agree")


def main():
    bitsmith, model = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        for name, bits, symmetric in [("symmetric", 4, "true"), ("zeros", 4, "false"),
                                      ("eight", 8, "true")]:
            checkpoint = work / f"{name}.bitsmith"
            subprocess.run([bitsmith, "compress", model, "--recipe", "nearest", "-o", checkpoint,
                            "--set", f"code.bits={bits}", "--set", "code.group=64",
                            "--set", f"code.symmetric={symmetric}", "--quiet"],
                           check=True, stdout=subprocess.DEVNULL)
            check(bitsmith, checkpoint, work)


if __name__ == "__main__":
    main()
