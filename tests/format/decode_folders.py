#!/usr/bin/env python3
"""Quantized Hugging Face folders as their own projects define them, decoded by NumPy: a second
implementation of src/formats/folder_*.cc, written from the projects' packing rules.

    decode_folders.py BITSMITH MODEL

Compresses MODEL (a folder) to integers of 4 bits with and without zero points, and of 8, and to FP8,
MXFP4, MXFP8 and NVFP4, exports each in every format that has it and as plain numbers, decodes the
first and compares with the second, value for value. Exits
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

import decode_checkpoint  # after numpy, which it needs

DTYPES = {"F32": "<f4", "F16": "<f2", "I32": "<i4", "I64": "<i8", "I8": "i1",
          "U8": "u1", "F8_E4M3": "u1"}


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


def minifloat(codes, exponent_bits, mantissa_bits, bias):
    """Numbers with a sign in front of exponent and mantissa."""
    magnitude = codes & (1 << exponent_bits + mantissa_bits) - 1
    exponent = (magnitude >> mantissa_bits).astype("i4")
    mantissa = (magnitude & (1 << mantissa_bits) - 1) / 2**mantissa_bits
    numbers = numpy.where(exponent > 0, numpy.ldexp(1 + mantissa, exponent - bias),
                          numpy.ldexp(mantissa, 1 - bias))
    return (numpy.where(codes >> exponent_bits + mantissa_bits, -1, 1) * numbers).astype("f4")


# The format of a layer, by the parts that it has.
FLOATS = {("weight", "float"): "float-quantized", ("weight", "byte"): "mxfp8-quantized",
          ("packed", "byte"): "mxfp4-pack-quantized", ("packed", "global"): "nvfp4-pack-quantized"}


def module_format(tensors, module):
    if module + ".weight_global_scale" in tensors:
        return "packed", "global"
    scale = "byte" if tensors[module + ".weight_scale"].dtype == "u1" else "float"
    return "packed" if module + ".weight_packed" in tensors else "weight", scale


def decode_floats(tensors, module, weights):
    """OCP's FP8 and Microscaling formats, and NVIDIA's NVFP4, whose scale of the tensor divides."""
    scales = tensors[module + ".weight_scale"]
    if weights["num_bits"] == 4:
        pairs = tensors[module + ".weight_packed"]
        codes = numpy.stack([pairs & 15, pairs >> 4], axis=-1).reshape(len(pairs), -1)
        numbers = minifloat(codes, 2, 1, 1)
    else:
        numbers = minifloat(tensors[module + ".weight"], 4, 3, 7)
    if weights["strategy"] == "tensor_group":
        scales = minifloat(scales, 4, 3, 7) / tensors[module + ".weight_global_scale"]
    elif weights["strategy"] == "group":
        scales = numpy.ldexp(numpy.float32(1), scales.astype("i4") - 127)
    size = weights["group_size"] or numbers.shape[1]
    return numbers * numpy.repeat(scales, size, axis=1)


def decode_compressed_tensors(tensors, module, config):
    own = [group for group in config["config_groups"].values()
           if module in group["targets"] or group["targets"] == ["Linear"]]
    weights = own[0]["weights"]
    if weights["type"] == "float":
        assert own[0]["format"] == config["format"] == FLOATS[module_format(tensors, module)]
        return decode_floats(tensors, module, weights)
    if own[0]["format"] == "int-quantized":
        return tensors[module + ".weight_scale"].astype("f4") * tensors[module + ".weight"]
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
            "compressed-tensors": (".weight_scale", decode_compressed_tensors)}
FLOAT_RECIPES = ["fp8", "mxfp4", "mxfp8", "nvfp4"]


def check(bitsmith, checkpoint, work):
    plain = work / (checkpoint.stem + "-plain")
    subprocess.run([bitsmith, "export", checkpoint, "--format", "safetensors", "-o", plain,
                    "--quiet"], check=True, stdout=subprocess.DEVNULL)
    expected = read_safetensors(plain / "model.safetensors")
    for name, (part, decode) in DECODERS.items():
        folder = work / f"{checkpoint.stem}-{name}"
        done = subprocess.run([bitsmith, "export", checkpoint, "--format", name, "-o", folder,
                               "--quiet"], capture_output=True, text=True)
        if checkpoint.stem == "ordered" and name != "gptq" or (
                checkpoint.stem in FLOAT_RECIPES and name != "compressed-tensors"):
            assert done.returncode != 0 and "has no matrix whose codes" in done.stderr, done.stderr
            continue
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
        for other in set(tensors) & set(expected) - {module + ".weight" for module in modules}:
            numpy.testing.assert_array_equal(tensors[other].astype("f4"), expected[other])
        print(f"{folder.name}: {len(modules)} matrices agree")


def check_read_again(bitsmith, folder, work):
    """A folder of desc_act, whose numbers bitsmith reads as its definition does."""
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert config["desc_act"] is True
    tensors = read_safetensors(folder / "model.safetensors")
    subprocess.run([bitsmith, "export", folder, "--format", "safetensors", "-o", work / "again",
                    "--quiet"], check=True, stdout=subprocess.DEVNULL)
    again = read_safetensors(work / "again" / "model.safetensors")
    orders = set()
    for name, groups in tensors.items():
        if not name.endswith(".g_idx"):
            continue
        module = name.removesuffix(".g_idx")
        orders.add(groups.tobytes())
        numpy.testing.assert_array_equal(decode_gptq(tensors, module, config),
                                         again[module + ".weight"])
    assert len(orders) > 10, len(orders)
    print(f"{folder.name}: read again")


def check_rounded_inputs(bitsmith, model, work):
    """Weights and activations of 8 bits; what they were is decoded from the checkpoint."""
    checkpoint, folder = work / "rounded.bitsmith", work / "rounded-ct"
    subprocess.run([bitsmith, "compress", model, "--recipe", "nearest", "-o", checkpoint, "--quiet",
                    "--set", "code.bits=8", "--set", "code.group=0", "--set", "activations.bits=8",
                    "--set", "activations.per_token=true"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([bitsmith, "export", checkpoint, "--format", "compressed-tensors", "-o", folder,
                    "--quiet"], check=True, stdout=subprocess.DEVNULL)
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    group = config["config_groups"]["group_0"]
    assert group["format"] == config["format"] == "int-quantized", config
    assert group["input_activations"]["strategy"] == "token", config
    _, expected, _ = decode_checkpoint.decode_checkpoint(checkpoint)
    tensors = read_safetensors(folder / "model.safetensors")
    modules = [t.removesuffix(".weight_scale") for t in tensors if t.endswith(".weight_scale")]
    assert len(modules) == 42, modules
    for module in modules:
        values = decode_compressed_tensors(tensors, module, config)
        numpy.testing.assert_array_equal(values.ravel(),
                                         numpy.ravel(expected[module + ".weight"]))
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
        ordered = work / "ordered.bitsmith"
        inner = json.dumps({"codec": "int", "options": {"bits": 4, "group": 64, "symmetric": True}})
        (work / "ordered.toml").write_text(
            'id = "ordered"\nsummary = "columns of like power share groups"\n'
            f"[code]\ncodec = \"ordered\"\ninner = '{inner}'\n"
            '[solve.matrices]\nid = "nearest"\n[solve.tables]\nid = "nearest"\n'
            '[allocate]\nid = "uniform"\n')
        subprocess.run([bitsmith, "compress", model, "--recipe", work / "ordered.toml", "-o",
                        ordered, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        check(bitsmith, ordered, work)
        check_read_again(bitsmith, work / "ordered-gptq", work)
        check_rounded_inputs(bitsmith, model, work)
        for recipe in FLOAT_RECIPES:
            checkpoint = work / f"{recipe}.bitsmith"
            subprocess.run([bitsmith, "compress", model, "--recipe", recipe, "-o", checkpoint,
                            "--quiet"], check=True, stdout=subprocess.DEVNULL)
            check(bitsmith, checkpoint, work)


if __name__ == "__main__":
    main()
