"""Slow decoders of the codecs that code several columns as one (docs/FORMAT.md, section 5)."""

import functools
import itertools

import numpy

from grouped_codecs import Grouped, bit_planes, ceil_div, f16, require, up64


def blocks_of(data, rows, columns, dim, bits, group, header, scaled):
    require(group % dim == 0, "group of whole blocks")
    return Grouped(data, rows, ceil_div(columns, dim), bit_planes(bits), group // dim, header,
                   (2,) if scaled else ())


def decode_vector(data, rows, columns, options):
    dim, bits, stages = options["dim"], options["bits"], options["stages"]
    blocks = ceil_div(columns, dim)
    positions = blocks if options["scope"] == "position" else 1
    numbers = stages * positions * 2 ** bits * dim
    tensor = blocks_of(data, rows, columns, dim, bits * stages,
                       options["group"] if options["scaled"] else 0, 2 * numbers, options["scaled"])
    entries = numpy.frombuffer(data, "<f2", numbers).astype("<f4")
    entries = entries.reshape(stages, positions, 2 ** bits, dim)
    result = numpy.empty((rows, columns), "<f4")
    for row in range(rows):
        for column in range(columns):
            block = column // dim
            code = tensor.code(row, block)
            total = numpy.float32(0)
            for stage in range(stages):
                index = code >> stage * bits & 2 ** bits - 1
                total = total + entries[stage, block if positions > 1 else 0, index, column % dim]
            if options["scaled"]:
                total = total * f16(tensor.parameter(row, block // tensor.group_columns, 0))
            result[row, column] = total
    return result


@functools.cache
def e8_patterns():
    small, twelve = [], []
    for odd in itertools.product((1, 3, 5), repeat=8):
        norm = sum(x * x for x in odd)  # 4 |a|²
        if norm <= 40:
            small.append((norm, odd))
        elif norm == 48:
            twelve.append(odd)
    patterns = [odd for _, odd in sorted(small)]
    return patterns + [twelve[j * 224 // 29] for j in range(29)]


def decode_e8(data, rows, columns, options):
    tensor = blocks_of(data, rows, columns, 8, 16, options["group"], 0, True)
    result = numpy.empty((rows, columns), "<f4")
    for row in range(rows):
        for column in range(columns):
            block = column // 8
            code = tensor.code(row, block)
            odd = e8_patterns()[code >> 8]
            negative = [code >> i + 1 & 1 for i in range(7)]
            # The sum of the signed halves of odd numbers is even.
            total = sum(-x if n else x for x, n in zip(odd, negative))
            negative.append(0 if (total + odd[7]) % 4 == 0 else 1)
            i = column % 8
            x = (-odd[i] if negative[i] else odd[i]) / 2 + (0.25 if code & 1 else -0.25)
            scale = f16(tensor.parameter(row, block // tensor.group_columns, 0))
            result[row, column] = numpy.float32(x) * scale
    return result


@functools.cache
def pyramid_points(n, k):
    if k == 0:
        return 1
    if n == 0:
        return 0
    return pyramid_points(n - 1, k) + pyramid_points(n, k - 1) + pyramid_points(n - 1, k - 1)


def pyramid_point(n, k, index):
    index %= pyramid_points(n, k)
    point = []
    for left in range(n - 1, -1, -1):
        for value in itertools.chain([0], *((m, -m) for m in range(1, k + 1))):
            count = pyramid_points(left, k - abs(value))
            if index < count:
                break
            index -= count
        point.append(value)
        k -= abs(value)
    return point


def decode_pvq(data, rows, columns, options):
    dim, pulses, gain_bits = options["dim"], options["pulses"], options["gain_bits"]
    bits = (pyramid_points(dim, pulses) - 1).bit_length() + gain_bits
    tensor = blocks_of(data, rows, columns, dim, bits, options["group"], 0, True)
    result = numpy.empty((rows, columns), "<f4")
    for row in range(rows):
        for block in range(ceil_div(columns, dim)):
            code = tensor.code(row, block)
            point = pyramid_point(dim, pulses, code >> gain_bits)
            scale = f16(tensor.parameter(row, block // tensor.group_columns, 0))
            largest = 2 ** gain_bits - 1
            length = scale * (numpy.float32(code & largest) / numpy.float32(largest))
            unit = length / numpy.sqrt(numpy.float32(sum(y * y for y in point)))
            for i in range(min(dim, columns - block * dim)):
                result[row, block * dim + i] = unit * numpy.float32(point[i])
    return result


LOOKUP_SCRAMBLE = bytes.fromhex("""
    8de5769a8be97d1e12f3327909cec6102495d4362c6d508f6c5a376a133a4a4c
    689fe3ae410244587fcfab700fa81f0d14b7ace19dc07798083ecd8e811ba519
    85a0332e7b462273c23807ee39a464eddecb72adf8a9423b45c4f0a2340a9071
    2fda4d6e552d16afd8e626d0b874c55c84976592b2e278a3f6b66949d52ac131""")
LOOKUP_MAGNITUDE = [
    0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5,
    6, 6, 7, 7, 7, 8, 8, 9, 9, 9, 10, 10, 11, 11, 11, 12,
    12, 13, 13, 13, 14, 14, 15, 15, 15, 16, 16, 17, 17, 18, 18, 19,
    19, 19, 20, 20, 21, 21, 22, 22, 23, 23, 24, 24, 25, 25, 26, 26,
    27, 27, 28, 28, 29, 29, 30, 30, 31, 31, 32, 33, 33, 34, 34, 35,
    36, 36, 37, 37, 38, 39, 39, 40, 41, 42, 42, 43, 44, 45, 45, 46,
    47, 48, 49, 49, 50, 51, 52, 53, 54, 55, 56, 57, 59, 60, 61, 62,
    64, 65, 67, 68, 70, 72, 74, 76, 79, 81, 85, 88, 93, 99, 107, 127]


def trellis_value(name, x):
    if name == "lookup":
        y = x // 256 ^ LOOKUP_SCRAMBLE[x % 128]
        magnitude = numpy.float32(LOOKUP_MAGNITUDE[y % 128] / 64)
        return magnitude if y >= 128 else -magnitude
    if name == "mul1":
        y = x * 0x83dcd12d & 0xffffffff
        return numpy.float32((sum(y.to_bytes(4, "little")) - 510) / 128)
    y = x * 0xcbac1fed if name == "mcg" else x * 89226354 + 64248484
    y = (y & 0x8fff8fff) ^ 0x3b603b60
    return f16(y & 0xffff) + f16(y >> 16 & 0xffff)


def decode_trellis(data, rows, columns, options):
    quarters, group = 4 * options["bits"] + options.get("quarters", 0), options["group"]
    require(quarters <= 16, "trellis: at most 4 bits")
    tiles = ceil_div(columns, 256)
    group_tiles = min(group // 256, tiles) if group else tiles
    groups = ceil_div(tiles, group_tiles) if tiles else 0
    whole = tiles - 1 if tiles else 0
    words = whole * 2 * quarters
    words += ceil_div(ceil_div(columns - whole * 256, 32) * 8 * quarters, 32)
    panels = ceil_div(rows, 16)
    scales = panels * words * 64
    require(len(data) == scales + up64(panels * groups * 32), "trellis: size")
    result = numpy.empty((rows, columns), "<f4")
    for row in range(rows):
        for tile in range(tiles):
            n = min(256, ceil_div(columns - tile * 256, 32) * 32)
            text = ""
            length = n * quarters // 4
            for word in range(tile * 2 * quarters, tile * 2 * quarters + ceil_div(length, 32)):
                at = (row // 16 * words + word) * 64 + row % 16 * 4
                text += format(int.from_bytes(data[at:at + 4], "little"), "032b")
            require("1" not in text[length:], "trellis: padding")
            text = text[:length]
            at = scales + (row // 16 * groups + tile // group_tiles) * 32 + row % 16 * 2
            scale = f16(int.from_bytes(data[at:at + 2], "little"))
            for column in range(min(n, columns - tile * 256)):
                end = (column + 1) * quarters // 4
                state = int((text + text)[length + end - 16:length + end], 2)
                result[row, tile * 256 + column] = scale * trellis_value(options["code"], state)
    return result


def decode_roots(data, rows, columns, options):
    require(options["group"] % 2 == 0, "group of whole blocks")
    tensor = Grouped(data, rows, ceil_div(columns, 2), bit_planes(2), options["group"] // 2, 0, (2, 2))
    result = numpy.zeros((rows, columns), "<f4")
    for row in range(rows):
        for block in range(ceil_div(columns, 2)):
            code = tensor.code(row, block)
            value = f16(tensor.parameter(row, block // tensor.group_columns, code % 2))
            column = 2 * block + code % 2
            if column < columns:
                result[row, column] = -value if code >= 2 else value
    return result


def decode_olive(data, rows, columns, options):
    require(options["group"] % 2 == 0, "group of whole blocks")
    tensor = Grouped(data, rows, ceil_div(columns, 2), bit_planes(8), options["group"] // 2, 0, (2,))
    result = numpy.zeros((rows, columns), "<f4")
    for row in range(rows):
        for column in range(columns):
            block = column // 2
            code = tensor.code(row, block)
            own, other = (code & 15, code >> 4) if column % 2 == 0 else (code >> 4, code & 15)
            if own == 8:
                number = 0
            elif other == 8:
                e, m = own >> 1 & 3, own & 1
                number = (2 + m) * 2 ** (e + 2) if e or m else 0
                number = -number if own > 8 else number
            else:
                number = own - 16 if own > 8 else own
            scale = f16(tensor.parameter(row, block // tensor.group_columns, 0))
            result[row, column] = scale * numpy.float32(number)
    return result


DECODERS = {"vector": decode_vector, "e8": decode_e8, "pvq": decode_pvq,
            "olive": decode_olive, "roots": decode_roots, "trellis": decode_trellis}
