#!/usr/bin/env python3
"""Decodes bitsmith checkpoints slowly; a second implementation of docs/FORMAT.md.

    decode_checkpoint.py FILE            lists the tensors of FILE after checking all checksums
    decode_checkpoint.py --golden DIR    decodes every DIR/*.bitsmith and compares each value with
                                         DIR/*.f32: all tensors in the order of their names, binary32

Exits with 77 when numpy or xxhash (Debian: python3-numpy, python3-xxhash) is not installed.
"""

import gzip
import json
import pathlib
import struct
import sys

try:
    import numpy
    import xxhash
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

import block_codecs
import grouped_codecs
import mask_codecs
from grouped_codecs import FormatError, ceil_div, require, up64

DTYPES = {"F32": numpy.dtype("<f4"), "F16": numpy.dtype("<f2"), "BF16": numpy.dtype("<u2"),
          "U8": numpy.dtype("u1")}
SCALE_BYTES = {"f16": 2, "f32": 4}
PLAIN_CODECS = {"f32": "F32", "f16": "F16", "bf16": "BF16"}
FILE_PREFIX = "bitsmith.file/"


def checksum(data):
    return xxhash.xxh3_64(data).hexdigest()


def no_duplicates(pairs):
    result = dict(pairs)
    require(len(result) == len(pairs), "a key appears twice")
    return result


def read_container(data):
    """Section 1: returns metadata and {name: (dtype, shape, offset in the file, bytes)}."""
    require(len(data) >= 8, "shorter than 8 bytes")
    (size,) = struct.unpack_from("<Q", data)
    require(size <= 100_000_000 and 8 + size <= len(data), "header size")
    text = data[8:8 + size]
    require(text[:1] == b"{", "header does not start with {")
    require((8 + size) % 64 == 0, "data does not start at a multiple of 64")
    header = json.loads(text.decode("utf-8"), object_pairs_hook=no_duplicates)
    metadata = header.pop("__metadata__")
    require(all(isinstance(v, str) for v in metadata.values()), "metadata must be strings")
    tensors = {}
    position = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        item = DTYPES[entry["dtype"]].itemsize
        count = 1
        for extent in entry["shape"]:
            count *= extent
        require(begin == position and end - begin == count * item, f"{name}: offsets or size")
        alignment = 64 if (end - begin) % 64 == 0 else item
        require(begin % alignment == 0, f"{name}: starts at {begin}")
        tensors[name] = (entry["dtype"], entry["shape"], data[8 + size + begin:8 + size + end])
        position = end
    require(8 + size + position == len(data), "bytes after the last tensor, or too few")
    return metadata, tensors


def unpack_metadata(metadata, tensors):
    """Section 9: moves what the tensor bitsmith.metadata holds to the other entries."""
    _, _, data = tensors.pop("bitsmith.metadata")
    message = gzip.decompress(data)
    texts = []
    at = 0
    while at < len(message):
        (size,) = struct.unpack_from("<Q", message, at)
        texts.append(message[at + 8:at + 8 + size].decode())
        require(at + 8 + size <= len(message), "packed metadata end within a text")
        at += 8 + size
    keys = texts[0::2]
    require(len(texts) % 2 == 0 and keys == sorted(set(keys), key=str.encode)
            and not metadata.keys() & set(keys), "packed metadata")
    metadata.update(zip(keys, texts[1::2]))


def metadata_checksum(metadata):
    """Section 4."""
    message = b""
    for key, value in sorted((k.encode(), v.encode()) for k, v in metadata.items()):
        if key != b"bitsmith.checksum":
            message += struct.pack("<Q", len(key)) + key + struct.pack("<Q", len(value)) + value
    return checksum(message)


def matrix_shape(shape):
    """Section 3."""
    if not shape:
        return 1, 1
    if len(shape) == 1:
        return 1, shape[0]
    columns = 1
    for extent in shape[1:]:
        columns *= extent
    return shape[0], columns


def decode_int(data, rows, columns, options):
    """Section 5, `int`, weight by weight."""
    bits = options["bits"]
    group_columns = min(options["group"], columns) if options["group"] else columns
    groups = ceil_div(columns, group_columns)
    panels, quads = ceil_div(rows, 16), ceil_div(columns, 4)
    widths = [p for p in (8, 4, 2, 1) if bits & p]
    panel_bytes = 64 * sum(ceil_div(quads * p, 8) for p in widths)
    scales_offset = panels * panel_bytes
    kind = options.get("scale", "f16")
    size = SCALE_BYTES.get(kind, 1)
    zeros_offset = up64(scales_offset + panels * groups * 16 * size)
    unit_offset = zeros_offset
    if not options["symmetric"]:
        unit_offset = up64(zeros_offset + panels * groups * 2 * bits)
    has_unit = kind in ("e4m3", "e5m3")
    total = unit_offset + (64 if has_unit else 0)
    unit = numpy.frombuffer(data, "<f4", 1, unit_offset)[0] if has_unit else None
    require(len(data) == total, f"int: {len(data)} bytes, expected {total}")

    def code(row, column):
        j = row % 16 * 4 + column % 4
        k = column // 4
        offset = row // 16 * panel_bytes
        value = shift = 0
        for p in widths:
            byte = data[offset + k * p // 8 * 64 + j]
            value |= (byte >> (k % (8 // p) * p) & (1 << p) - 1) << shift
            shift += p
            offset += 64 * ceil_div(quads * p, 8)
        return value

    def scale(row, group):
        at = scales_offset + ((row // 16 * groups + group) * 16 + row % 16) * size
        pattern = int.from_bytes(data[at:at + size], "little")
        return grouped_codecs.scale_of(kind, pattern, unit)

    def zero(row, group):
        if options["symmetric"]:
            return 0.5 if bits == 1 else 2 ** (bits - 1)
        at = zeros_offset + (row // 16 * groups + group) * 2 * bits
        packed = int.from_bytes(data[at:at + 2 * bits], "little")
        return packed >> (row % 16 * bits) & (1 << bits) - 1

    result = numpy.empty((rows, columns), "<f4")
    for row in range(rows):
        for group in range(groups):
            s, z = scale(row, group), zero(row, group)
            for column in range(group * group_columns, min((group + 1) * group_columns, columns)):
                result[row, column] = s * numpy.float32(code(row, column) - z)
    return result


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        require(self.at + count <= len(self.data), "entropy: ends too early")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "little")

    def rest(self):
        return self.take(len(self.data) - self.at)


def huffman_decode(data, count):
    """Section 8, `huffman`, bit by bit."""
    reader = Reader(data)
    first, last = reader.number(1), reader.number(1)
    require(first < last, "huffman: first and last")
    halves = reader.take(ceil_div(last - first + 1, 2))
    lengths = [(halves[i // 2] >> i % 2 * 4 & 15, first + i) for i in range(last - first + 1)]
    words, word, previous = {}, -1, 0
    for length, byte in sorted(item for item in lengths if item[0] > 0):
        word = word + 1 << length - previous
        previous = length
        words[length, word] = byte
    require(previous <= 12 and word == (1 << previous) - 1, "huffman: lengths")
    sizes = [reader.number(4) for _ in range(3)]
    streams = [reader.take(size) for size in sizes] + [reader.rest()]
    part = ceil_div(count, 4)
    out = bytearray()
    for s, stream in enumerate(streams):
        bits = "".join(f"{byte:08b}"[::-1] for byte in stream)
        position = 0
        for _ in range(max(0, min(count, (s + 1) * part) - s * part)):
            length = word = 0
            while (length, word) not in words:
                require(position < len(bits), "huffman: stream ends too early")
                word = word * 2 + int(bits[position])
                position, length = position + 1, length + 1
            out.append(words[length, word])
        require(len(bits) - position < 8 and "1" not in bits[position:], "huffman: bits are left")
    return bytes(out)


def rans_decode(data, count):
    """Section 8, `rans`."""
    reader = Reader(data)
    first, last = reader.number(1), reader.number(1)
    require(first < last, "rans: first and last")
    slots = []  # (byte, frequency, place)
    for byte in range(first, last + 1):
        f = reader.number(1)
        if f >= 128:
            f = (f - 128) * 256 + reader.number(1)
        slots += [(byte, f, place) for place in range(f)]
    require(len(slots) == 4096, "rans: sum of frequencies")
    states = [reader.number(4) for _ in range(32)]
    out = bytearray()
    for i in range(count):
        x = states[i % 32]
        byte, f, place = slots[x % 4096]
        x = f * (x // 4096) + place
        if x < 65536:
            x = x * 65536 + reader.number(2)
        states[i % 32] = x
        out.append(byte)
    require(all(x == 65536 for x in states) and not reader.rest(), "rans: end")
    return bytes(out)


CODERS = {"huffman": huffman_decode, "rans": rans_decode}


def unpack_bits(data, width, count):
    number = int.from_bytes(data, "little")
    require(len(data) == ceil_div(count * width, 8) and number >> count * width == 0, "packed bits")
    return [number >> i * width & (1 << width) - 1 for i in range(count)]


def decode_stream(coder, data, width, count):
    """Section 8: the symbols of one stream."""
    reader = Reader(data)
    require(reader.number(8) == count, "entropy: number of symbols")
    block_symbols = 1 << 20
    sizes = [reader.number(4) for _ in range(ceil_div(count, block_symbols))]
    symbols = []
    for b, size in enumerate(sizes):
        block = Reader(reader.take(size))
        n = min(block_symbols, count - b * block_symbols)
        form = block.number(1)
        if form == 0:
            symbols += unpack_bits(block.rest(), width, n)
        elif form == 1:
            symbols += [block.number(1)] * n
            require(not block.rest(), "entropy: constant")
        else:
            k = block.number(1)
            require(form == 2 and k >= 1 and k * width <= 8, "entropy: form of a block")
            tuples = CODERS[coder](block.rest(), ceil_div(n, k))
            split = [t >> i * width & (1 << width) - 1 for t in tuples for i in range(k)]
            require(not any(split[n:]) and all(t >> k * width == 0 for t in tuples), "tuples")
            symbols += split[:n]
    require(not reader.rest() and all(s < 1 << width for s in symbols), "entropy: symbols")
    return symbols


def packed_int(decode, rows, columns, options):
    """The packed bytes of `int`; decode(width, count) gives the symbols of the next stream."""
    bits, symmetric = options["bits"], options["symmetric"]
    group_columns = min(options["group"], columns) if options["group"] else columns
    groups = ceil_div(columns, group_columns)
    panels = ceil_div(rows, 16)
    out = bytearray(mask_codecs.packed_planes(decode, rows, columns, bits))
    kind = options.get("scale", "f16")
    size = SCALE_BYTES.get(kind, 1)
    count = up64(panels * groups * 16 * size) // size
    planes = [decode(8, count) for _ in range(size)]
    for number in zip(*reversed(planes)):
        out += bytes(number)
    if not symmetric:
        zeros = decode(bits, panels * groups * 16)
        number = sum(zero << i * bits for i, zero in enumerate(zeros))
        out += number.to_bytes(panels * groups * 2 * bits, "little")
        out += bytes(decode(8, ceil_div(len(out), 64) * 64 - len(out)))
    if kind in ("e4m3", "e5m3"):
        out += bytes(decode(8, 64))
    return bytes(out)


def packed_size(scheme, rows, columns):
    """Bytes of a matrix, of the codecs that other codecs have as parts."""
    codec, options = scheme["codec"], scheme.get("options", {})
    if codec in PLAIN_CODECS:
        return rows * columns * DTYPES[PLAIN_CODECS[codec]].itemsize
    panels, quads = ceil_div(rows, 16), ceil_div(columns, 4)
    if codec == "sparse":
        _, runs, inner_columns = mask_codecs.sparse_sizes(rows, columns, options)
        mask = 64 * panels * ceil_div(ceil_div(runs, 4), 8)
        return mask + packed_size(json.loads(options["inner"]), rows, inner_columns)
    require(codec in ("int", "binary"), f"size of codec {codec}")
    bits = options["bits"] if codec == "int" else 1
    group = min(options["group"], columns) if options["group"] else columns
    parameters = panels * (ceil_div(columns, group) if columns else 0)
    size = panels * sum(64 * ceil_div(quads * p, 8) for p in (8, 4, 2, 1) if bits & p)
    kind = options.get("scale", "f16")
    scale = SCALE_BYTES.get(kind, 1)
    size = up64(size + parameters * 16 * scale * (2 if options.get("mean") else 1))
    if codec == "int" and not options["symmetric"]:
        size = up64(size + parameters * 2 * bits)
    return size + (64 if kind in ("e4m3", "e5m3") else 0)


def has_code_streams(codec, options):
    """Whether a grouped codec's streams are header, codes and parameters."""
    return codec == "focused" or (codec == "codebook" and options.get("symbols") == "codes" and
                                  options["scope"] in ("tensor", "tensor_scaled"))


PARTS = {"salient": mask_codecs.salient_parts, "sum": mask_codecs.sum_parts,
         "ordered": mask_codecs.ordered_parts}
# Bytes of the codec itself in front of the parts, of so many columns.
OWN_BYTES = {"salient": mask_codecs.up64_bits, "sum": lambda columns: 0,
             "ordered": lambda columns: up64(4 * columns)}
ONE_STREAM = ("binary", "sparse")


def stream_count(codec, options):
    if codec in PLAIN_CODECS:
        return DTYPES[PLAIN_CODECS[codec]].itemsize
    if codec == "int":
        kind = options.get("scale", "f16")
        scales = SCALE_BYTES.get(kind, 1) + (1 if kind in ("e4m3", "e5m3") else 0)
        return 1 + scales + (0 if options["symmetric"] else 2)
    if codec == "pruned":
        inner = json.loads(options["inner"])
        return 2 + stream_count(inner["codec"], inner["options"])
    if codec == "outliers":
        inner = json.loads(options["inner"])
        return stream_count(inner["codec"], inner["options"]) + 1
    if codec in PARTS:
        parts = PARTS[codec](0, 0, options)
        return (codec != "sum") + sum(stream_count(s["codec"], s["options"])
                                          for s, _, _ in parts)
    if codec in ONE_STREAM:
        return 1
    require(has_code_streams(codec, options), f"entropy: codec {codec}")
    return 3


def packed_plain(decode, codec, count):
    item = DTYPES[PLAIN_CODECS[codec]].itemsize
    planes = [decode(8, count) for _ in range(item)]
    out = bytearray()
    for number_bytes in zip(*planes):
        number = int.from_bytes(bytes(number_bytes), "big")
        if codec != "f16":
            number = number >> 1 | (number & 1) << 8 * item - 1
        out += number.to_bytes(item, "little")
    return bytes(out)


def packed_bytes(decode, codec, options, rows, columns):
    """The packed bytes; decode(width, count) gives the symbols of the next stream."""
    if codec in PLAIN_CODECS:
        return packed_plain(decode, codec, rows * columns)
    if codec == "int":
        return packed_int(decode, rows, columns, options)
    if codec == "pruned":
        def packed(inner, r, c):
            return packed_bytes(decode, inner["codec"], inner["options"], r, c)
        return mask_codecs.packed_pruned(decode, rows, columns, options, packed)
    if codec == "outliers":
        inner = json.loads(options["inner"])
        count, width = mask_codecs.outliers_sizes(rows, columns, options)
        dense = packed_bytes(decode, inner["codec"], inner["options"], rows, columns)
        return dense + bytes(decode(8, rows * count * (width + 2)))
    if codec in PARTS:
        own = OWN_BYTES[codec](columns)
        out = bytes(decode(8, own)) if own else b""
        for inner, r, c in PARTS[codec](rows, columns, options):
            out += packed_bytes(decode, inner["codec"], inner["options"], r, c)
        return out
    if codec in ONE_STREAM:
        return bytes(decode(8, packed_size({"codec": codec, "options": options}, rows, columns)))
    header = 12 if codec == "focused" else 2 * 2 ** options["bits"]
    parameters = 0
    if codec == "codebook" and options["scope"] == "tensor_scaled":
        group = min(options["group"], columns) if options["group"] else columns
        parameters = ceil_div(rows, 16) * ceil_div(columns, group) * 32 if columns else 0
    return mask_codecs.packed_grouped(decode, rows, columns, options["bits"], header, parameters)


def entropy_decode(entry, data):
    """Section 8: the packed bytes of a tensor."""
    codec, options = entry["scheme"]["codec"], entry["scheme"]["options"]
    rows, columns = matrix_shape(entry["shape"])
    reader = Reader(data)
    sizes = iter([reader.number(8) for _ in range(stream_count(codec, options))])

    def decode(width, count):
        return decode_stream(entry["entropy"]["coder"], reader.take(next(sizes)), width, count)

    packed = packed_bytes(decode, codec, options, rows, columns)
    require(len(data) >= ceil_div(len(packed), 1024), "entropy: too small")
    padding = reader.rest()
    require(not any(padding) and (not padding or len(data) == ceil_div(len(packed), 1024)),
            "entropy: bytes after the last stream")
    require(checksum(packed) == entry["entropy"]["checksum"], "checksum of the packed bytes")
    return packed


IQ4_LEVELS = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
E2M1_LEVELS = [0, .5, 1, 1.5, 2, 3, 4, 6, 0, -.5, -1, -1.5, -2, -3, -4, -6]


def half(block, at):
    return numpy.frombuffer(bytes(block), "<f2", 1, at).astype("<f4")[0]


def halves(data):
    return [b & 15 for b in data] + [b >> 4 for b in data]


def stripes(data):
    return [b >> shift & 3 for shift in (0, 2, 4, 6) for b in data]


def runs(unpack, data, size):
    return [code for at in range(0, len(data), size) for code in unpack(data[at:at + size])]


def high_bits(data):
    return [data[i % 32] >> i // 32 & 1 for i in range(256)]


def six_bit_factors(b):
    """The factors of scales and of offsets of 8 sub-blocks."""
    scales = [b[j] & 63 for j in range(4)] + [b[j + 8] & 15 | b[j] >> 6 << 4 for j in range(4)]
    mins = [b[j + 4] & 63 for j in range(4)] + [b[j + 8] >> 4 | b[j + 4] >> 6 << 4 for j in range(4)]
    return scales, mins


def trits(data, count):
    result = []
    for n in range(count):
        for byte in data:
            result.append((byte * 3 ** n % 256) * 3 >> 8)
    return result


def e4m3(bits):
    if bits == 0x7f:
        return 0.0
    exponent, mantissa = bits >> 3 & 15, bits & 7
    return mantissa * 2.0 ** -9 if exponent == 0 else (8 + mantissa) * 2.0 ** (exponent - 10)


def q_5(b, at):
    bits = int.from_bytes(b[at:at + 4], "little")
    return [c | (bits >> i & 1) << 4 for i, c in enumerate(halves(b[at + 4:]))]


def q3_k(b):
    low = runs(stripes, b[32:96], 32)
    levels = [c + 4 * h - 4 for c, h in zip(low, high_bits(b[:32]))]
    f = b[96:108]
    factors = [(f[j % 8] >> j // 8 * 4 & 15 | (f[8 + j % 4] >> j // 4 * 2 & 3) << 4) - 32
               for j in range(16)]
    return levels, [half(b, 108) * numpy.float32(k) for k in factors], None


def k_with_mins(d, m, scales, mins, levels):
    return (levels, [d * numpy.float32(k) for k in scales],
            [-(m * numpy.float32(n)) for n in mins])


def q6_k(b):
    low = runs(halves, b[:128], 64)
    levels = [c + 16 * h - 32 for c, h in zip(low, runs(stripes, b[128:192], 32))]
    factors = numpy.frombuffer(bytes(b), "i1", 16, 192)
    return levels, [half(b, 208) * numpy.float32(k) for k in factors], None


def q5_k(b):
    levels = [c + 16 * h for c, h in zip(runs(halves, b[48:], 32), high_bits(b[16:48]))]
    return k_with_mins(half(b, 0), half(b, 2), *six_bit_factors(b[4:16]), levels)


def iq4_xs(b):
    high = int.from_bytes(b[2:4], "little")
    factors = [(b[4 + j // 2] >> j % 2 * 4 & 15 | (high >> 2 * j & 3) << 4) - 32 for j in range(8)]
    return ([IQ4_LEVELS[c] for c in runs(halves, b[8:], 16)],
            [half(b, 0) * numpy.float32(k) for k in factors], None)


def tq1_0(b):
    codes = trits(b[:32], 5) + trits(b[32:48], 5) + trits(b[48:52], 4)
    return [c - 1 for c in codes], [half(b, 52)], None


# Section 5, blocks of ggml: columns and bytes of a block, and a function that gives its levels in
# order, the scales of its sub-blocks, and their offsets or None.
GGML = {
    "q4_0": (32, 18, lambda b, o: ([c - 8 for c in halves(b[2:])], [half(b, 0)], None)),
    "q4_1": (32, 20, lambda b, o: (halves(b[4:]), [half(b, 0)], [half(b, 2)])),
    "q5_0": (32, 22, lambda b, o: ([c - 16 for c in q_5(b, 2)], [half(b, 0)], None)),
    "q5_1": (32, 24, lambda b, o: (q_5(b, 4), [half(b, 0)], [half(b, 2)])),
    "q8_0": (32, 34, lambda b, o: (numpy.frombuffer(bytes(b), "i1", 32, 2), [half(b, 0)], None)),
    "q2_k": (256, 84, lambda b, o: k_with_mins(half(b, 80), half(b, 82), [x & 15 for x in b[:16]],
                                               [x >> 4 for x in b[:16]],
                                               runs(stripes, b[16:80], 32))),
    "q3_k": (256, 110, lambda b, o: q3_k(b)),
    "q4_k": (256, 144, lambda b, o: k_with_mins(half(b, 0), half(b, 2), *six_bit_factors(b[4:16]),
                                                runs(halves, b[16:], 32))),
    "q5_k": (256, 176, lambda b, o: q5_k(b)),
    "q6_k": (256, 210, lambda b, o: q6_k(b)),
    "iq4_nl": (32, 18, lambda b, o: ([IQ4_LEVELS[c] for c in halves(b[2:])], [half(b, 0)], None)),
    "iq4_xs": (256, 136, lambda b, o: iq4_xs(b)),
    "tq1_0": (256, 54, lambda b, o: tq1_0(b)),
    "tq2_0": (256, 66, lambda b, o: ([c - 1 for c in runs(stripes, b[:64], 32)], [half(b, 64)],
                                     None)),
    "mxfp4_ggml": (32, 17, lambda b, o: ([2 * E2M1_LEVELS[c] for c in halves(b[1:])],
                                         [numpy.ldexp(numpy.float32(1), int(b[0]) - 128)], None)),
    "nvfp4_ggml": (64, 36, lambda b, o: ([E2M1_LEVELS[c] for c in runs(halves, b[4:], 8)],
                                         [numpy.float32(o["tensor_scale"]) * numpy.float32(e4m3(x))
                                          for x in b[:4]], None)),
}


def decode_ggml(data, rows, columns, codec, options):
    block_columns, block_bytes, unpack = GGML[codec]
    require(columns % block_columns == 0, f"{codec}: rows of {columns}")
    blocks = rows * columns // block_columns
    require(len(data) == blocks * block_bytes, f"{codec}: {len(data)} bytes")
    result = numpy.empty((blocks, block_columns), "<f4")
    for i in range(blocks):
        levels, scales, offsets = unpack(data[i * block_bytes:(i + 1) * block_bytes], options)
        width = block_columns // len(scales)
        product = numpy.repeat(numpy.array(scales, "<f4"), width) * numpy.array(levels, "<f4")
        if offsets is not None:
            product = product + numpy.repeat(numpy.array(offsets, "<f4"), width)
        result[i] = product
    return result.reshape(rows, columns)


def decode_plain(data, codec):
    numbers = numpy.frombuffer(data, DTYPES[PLAIN_CODECS[codec]])
    if codec == "bf16":
        return (numbers.astype("<u4") << 16).view("<f4")
    return numbers.astype("<f4")


def decode_packed(scheme, data, rows, columns):
    """Section 5: a matrix of a scheme."""
    codec, options = scheme["codec"], scheme["options"]
    if codec in PLAIN_CODECS:
        return decode_plain(data, codec).reshape(rows, columns)
    if codec in GGML:
        return decode_ggml(data, rows, columns, codec, options)
    if codec == "outliers":
        return mask_codecs.decode_outliers(data, rows, columns, options, decode_packed)
    if codec == "salient":
        return mask_codecs.decode_salient(data, rows, columns, options, decode_packed, packed_size)
    if codec == "ordered":
        return mask_codecs.decode_ordered(data, rows, columns, options, decode_packed, packed_size)
    if codec == "sum":
        return mask_codecs.decode_sum(data, rows, columns, options, decode_packed, packed_size)
    if codec == "sparse":
        return mask_codecs.decode_sparse(data, rows, columns, options, decode_packed)
    if codec == "pruned":
        return mask_codecs.decode_pruned(data, rows, columns, options, decode_packed)
    decoders = {"int": decode_int, "focused": mask_codecs.decode_focused,
                **grouped_codecs.DECODERS, **block_codecs.DECODERS}
    require(codec in decoders, f"unknown codec {codec}")
    return decoders[codec](data, rows, columns, options)


def decode_tensor(entry, stored):
    """One tensor of `bitsmith.tensors` as binary32, in its own shape."""
    dtype, stored_shape, data = stored
    require(checksum(data) == entry["checksum"], "checksum")
    codec, options = entry["scheme"]["codec"], entry["scheme"]["options"]
    rows, columns = matrix_shape(entry["shape"])
    if "entropy" in entry:
        require(dtype == "U8" and stored_shape == [len(data)], "dtype or shape")
        data = entropy_decode(entry, data)
        dtype, stored_shape = PLAIN_CODECS.get(codec, "U8"), entry["shape"]
        if codec not in PLAIN_CODECS:
            stored_shape = [len(data)]
    if codec in PLAIN_CODECS:
        require(dtype == PLAIN_CODECS[codec] and stored_shape == entry["shape"], "dtype or shape")
        values = decode_plain(data, codec)
    else:
        require(dtype == "U8" and stored_shape == [len(data)], "dtype or shape")
        values = decode_packed(entry["scheme"], data, rows, columns)
    return values.reshape(entry["shape"])


def decode_checkpoint(path):
    """Checks a whole file; returns ({name: entry}, {name: values}, {file name: bytes})."""
    metadata, stored = read_container(pathlib.Path(path).read_bytes())
    require(metadata.get("format") == "bitsmith", "format")
    version = metadata.get("bitsmith.version")
    require(version in ("1", "2", "3"), "version")
    if version == "3":
        unpack_metadata(metadata, stored)
    require(metadata_checksum(metadata) == metadata["bitsmith.checksum"], "metadata checksum")
    entries = json.loads(metadata["bitsmith.tensors"])
    require(version != "1" or not any("entropy" in e for e in entries.values()),
            "entropy coding in a file of version 1")
    graph = json.loads(metadata["bitsmith.graph"])
    parameters = {p["name"]: p["shape"] for p in graph["parameters"]}
    require(parameters == {n: e["shape"] for n, e in entries.items()}, "graph and tensors differ")
    values = {}
    for name, entry in sorted(entries.items(), key=lambda item: item[0].encode()):
        try:
            values[name] = decode_tensor(entry, stored.pop(name))
        except FormatError as error:
            raise FormatError(f"{name}: {error}") from None
    files = {}
    for name, entry in json.loads(metadata["bitsmith.files"]).items():
        files[name] = stored.pop(FILE_PREFIX + name)[2]
        require(checksum(files[name]) == entry["checksum"], f"{name}: checksum")
    require(not stored, f"not listed: {list(stored)}")
    return entries, values, files


def check_golden(folder):
    paths = sorted(pathlib.Path(folder).glob("*.bitsmith"))
    require(len(paths) >= 2, f"no golden files in {folder}")
    for path in paths:
        _, values, _ = decode_checkpoint(path)
        expected = path.with_suffix(".f32").read_bytes()
        actual = b"".join(v.astype("<f4").tobytes() for v in values.values())
        require(actual == expected, f"{path}: values differ from those expected")
        print(f"{path.name}: {len(values)} tensors, {len(actual) // 4} values agree")


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "--golden":
        check_golden(arguments[1])
    elif len(arguments) == 1 and not arguments[0].startswith("-"):
        entries, values, files = decode_checkpoint(arguments[0])
        for name, value in values.items():
            scheme = entries[name]["scheme"]
            print(f"{name} {list(value.shape)} {scheme['codec']} {json.dumps(scheme['options'])} "
                  f"mean {value.mean(dtype='f8'):.6g} rms {numpy.sqrt((value.astype('f8') ** 2).mean()):.6g}")
        for name, data in files.items():
            print(f"file {name} {len(data)} bytes")
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except FormatError as error:
        print(f"error: {error}")
        sys.exit(1)
