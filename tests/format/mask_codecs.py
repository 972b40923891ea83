"""Slow decoders of `focused` and of the codecs with a mask (docs/FORMAT.md, section 5)."""

import json
import math
import struct

import numpy

from grouped_codecs import Codes, Grouped, bit_planes, ceil_div, require, up64


def focused_levels(data, bits):
    largest_float = float(numpy.finfo("<f4").max)
    kind, signs, *exponents = struct.unpack_from("<BBbbbb", data)
    unit = struct.unpack_from("<f", data, 8)[0]
    unit = unit if math.isfinite(unit) else 0.0
    recentralized = kind == 1 and bits > 2
    magnitude_bits = bits - (2 if recentralized else 1)
    levels = []
    for code in range(2 ** bits):
        c = code >> bits - 1 if recentralized else 0
        m = code & 2 ** magnitude_bits - 1
        level = 2.0 ** (exponents[2 + c] - (2 ** magnitude_bits - 1) + m) if m else 0.0
        if code >> magnitude_bits & 1:
            level = -level
        if recentralized:
            level += (-1 if signs >> c & 1 else 1) * 2.0 ** exponents[c]
        levels.append(numpy.float32(min(max(level * unit, -largest_float), largest_float)))
    return levels


def decode_focused(data, rows, columns, options):
    bits = options["bits"]
    tensor = Grouped(data, rows, columns, bit_planes(bits), 0, 12)
    levels = focused_levels(data, bits) if rows * columns else []
    result = numpy.empty((rows, columns), "<f4")
    for row in range(rows):
        for column in range(columns):
            result[row, column] = levels[tensor.code(row, column)]
    return result


def bits_of(data):
    return [byte >> i & 1 for byte in data for i in range(8)]


def sparse_sizes(rows, columns, options):
    """Columns of a run, runs of a row, columns of the inner matrix."""
    run = min(options.get("run", 1), max(columns, 1))
    runs = ceil_div(columns, run)
    block = options["of"] or max(runs, 1)
    keep = min(max(math.floor(options["density"] * block + 0.5), 1), block)
    return run, runs, (runs // block * keep + min(runs % block, keep)) * run


def decode_sparse(data, rows, columns, options, decode):
    """decode(scheme, bytes, rows, columns): of the inner codec."""
    run, runs, inner_columns = sparse_sizes(rows, columns, options)
    mask = Codes(data, 0, rows, runs, bit_planes(1))
    dense = decode(json.loads(options["inner"]), data[mask.size:], rows, inner_columns)
    result = numpy.zeros((rows, columns), "<f4")
    for row in range(rows):
        kept = [r for r in range(runs) if mask(row, r)]
        for place, r in enumerate(kept):
            end = min((r + 1) * run, columns)
            result[row, r * run:end] = dense[row, place * run:place * run + end - r * run]
    return result


def up64_bits(columns):
    """Bytes of a mask of columns."""
    return up64(ceil_div(columns, 8))


def salient_parts(rows, columns, options):
    """The schemes of salient columns and of others, with their shapes."""
    count = math.floor(options["fraction"] * columns + 0.5)
    return [(json.loads(options["salient"]), rows, count),
            (json.loads(options["inner"]), rows, columns - count)]


def sum_parts(rows, columns, options):
    return [(scheme, rows, columns) for scheme in json.loads(options["inner"])]


def ordered_parts(rows, columns, options):
    return [(json.loads(options["inner"]), rows, columns)]


def decode_parts(data, at, parts, decode, size_of):
    """Parts that follow each other from byte `at` on; size_of(scheme, rows, columns) in bytes."""
    matrices = []
    for scheme, rows, columns in parts:
        size = size_of(scheme, rows, columns)
        matrices.append(decode(scheme, data[at:at + size], rows, columns))
        at += size
    require(at == len(data), f"{len(data)} bytes, expected {at}")
    return matrices


def decode_salient(data, rows, columns, options, decode, size_of):
    matrices = decode_parts(data, up64_bits(columns), salient_parts(rows, columns, options), decode,
                            size_of)
    mask = bits_of(data[:up64_bits(columns)])[:columns]
    result = numpy.empty((rows, columns), "<f4")
    result[:, [c for c in range(columns) if mask[c]]] = matrices[0]
    result[:, [c for c in range(columns) if not mask[c]]] = matrices[1]
    return result


def decode_ordered(data, rows, columns, options, decode, size_of):
    own = up64(4 * columns)
    (matrix,) = decode_parts(data, own, ordered_parts(rows, columns, options), decode, size_of)
    result = numpy.empty((rows, columns), "<f4")
    result[:, numpy.frombuffer(data[:4 * columns], "<u4")] = matrix
    return result


def decode_sum(data, rows, columns, options, decode, size_of):
    result = numpy.zeros((rows, columns), "<f4")
    for term in decode_parts(data, 0, sum_parts(rows, columns, options), decode, size_of):
        result = result + term
    return result


def outliers_sizes(rows, columns, options):
    """Outliers of a row, bytes of a column number."""
    return math.floor(options["fraction"] * columns + 0.5), 2 if columns <= 65536 else 4


def decode_outliers(data, rows, columns, options, decode):
    count, width = outliers_sizes(rows, columns, options)
    own = rows * count * (width + 2)
    result = numpy.array(decode(json.loads(options["inner"]), data[:len(data) - own], rows, columns))
    own_data = data[len(data) - own:]
    places = numpy.frombuffer(own_data[:rows * count * width], f"<u{width}").reshape(rows, count)
    values = numpy.frombuffer(own_data[rows * count * width:], "<f2").reshape(rows, count)
    for row in range(rows):
        for place, value in zip(places[row], values[row]):
            if place < columns:
                result[row, place] = value
    return result


def pruned_sizes(rows, columns, options):
    """Survivors, bytes of the mask, rows and columns of the inner matrix."""
    n = rows * columns
    survivors = math.floor(options["density"] * n + 0.5)
    width = options["gap_bits"]
    gaps = options["gaps"] or (survivors + (n - survivors) // (2 ** width - 1) if width else 0)
    mask_bytes = ceil_div(gaps * width, 8) if width else ceil_div(n, 8)
    inner_columns = ceil_div(survivors, 16)
    return (survivors, mask_bytes,
            ceil_div(survivors, inner_columns) if inner_columns else 0, inner_columns)


def decode_pruned(data, rows, columns, options, decode):
    survivors, mask_bytes, inner_rows, inner_columns = pruned_sizes(rows, columns, options)
    width, bits = options["gap_bits"], bits_of(data[:mask_bytes])
    places = []
    if width == 0:
        places = [i for i in range(rows * columns) if bits[i]]
    else:
        position = at = 0
        while len(places) < survivors:
            gap = sum(bits[at + i] << i for i in range(width))
            at += width
            position += gap
            if gap < 2 ** width - 1:
                places.append(position)
                position += 1
    require(len(places) == survivors, "pruned: survivors")
    dense = decode(json.loads(options["inner"]), data[mask_bytes:], inner_rows, inner_columns)
    result = numpy.zeros(rows * columns, "<f4")
    result[places] = dense.reshape(-1)[:survivors]
    return result.reshape(rows, columns)


def packed_planes(decode, rows, columns, bits):
    """The bytes of codes in planes; decode(width, count) gives the symbols of the next stream."""
    panels, quads = ceil_div(rows, 16), ceil_div(columns, 4)
    octets = ceil_div(quads, 8)
    codes = decode(bits, panels * octets * 512)
    out = bytearray()
    for panel in range(panels):
        shift = 0
        for p in (p for p in (8, 4, 2, 1) if bits & p):
            plane = bytearray(64 * ceil_div(quads * p, 8))
            for quad in range(8 * octets):
                for j in range(64):
                    code = codes[(panel * 8 * octets + quad) * 64 + j]
                    at = quad * p // 8 * 64 + j
                    if at < len(plane):
                        plane[at] |= (code >> shift & (1 << p) - 1) << quad % (8 // p) * p
            out += plane
            shift += p
    return bytes(out)


def packed_grouped(decode, rows, columns, bits, header, parameter_bytes):
    """The bytes of a grouped codec; parameter_bytes: of their section."""
    head = bytes(decode(8, up64(header)))
    codes = packed_planes(decode, rows, columns, bits)
    return head + codes + bytes(decode(8, up64(parameter_bytes)))


def packed_pruned(decode, rows, columns, options, packed):
    """packed(scheme, rows, columns): of the inner codec."""
    _, mask_bytes, inner_rows, inner_columns = pruned_sizes(rows, columns, options)
    width = min(options["gap_bits"], 8) or 1
    count = 8 * mask_bytes // width
    number = sum(symbol << i * width for i, symbol in enumerate(decode(width, count)))
    rest = decode(1, 8 * mask_bytes - count * width)
    number += sum(bit << count * width + i for i, bit in enumerate(rest))
    return (number.to_bytes(mask_bytes, "little") +
            packed(json.loads(options["inner"]), inner_rows, inner_columns))
