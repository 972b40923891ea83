"""Slow decoders of the codecs with codes of a fixed width and parameters per group (docs/FORMAT.md,
section 5); written from the specification, weight by weight."""

import math
import struct

import numpy


class FormatError(Exception):
    pass


def require(condition, message):
    if not condition:
        raise FormatError(message)


def ceil_div(a, b):
    return -(-a // b)


def up64(n):
    return ceil_div(n, 64) * 64


def f16(bits):
    return numpy.array([bits], "<u2").view("<f2").astype("<f4")[0]


def bit_planes(bits):
    """[(digits per byte, base, weight of the digit in the code)], in the order of the file."""
    planes, shift = [], 0
    for width in (8, 4, 2, 1):
        while bits - shift >= width:
            planes.append((8 // width, 1 << width, 1 << shift))
            shift += width
    return planes


def digit_planes(base, count):
    return [(8 if base == 2 else 5, base, base ** i) for i in range(count)]


class Codes:
    """Codes in panels of 16 rows, quads of 4 columns, planes of digits."""

    def __init__(self, data, offset, rows, columns, planes):
        self.data, self.offset, self.planes = data, offset, planes
        self.quads = ceil_div(columns, 4)
        self.panel_bytes = sum(64 * ceil_div(self.quads, n) for n, _, _ in planes)
        self.size = ceil_div(rows, 16) * self.panel_bytes

    def __call__(self, row, column):
        j, quad = row % 16 * 4 + column % 4, column // 4
        at = self.offset + row // 16 * self.panel_bytes
        code = 0
        for n, base, weight in self.planes:
            byte = self.data[at + quad // n * 64 + j]
            code += byte // base ** (quad % n) % base * weight
            at += 64 * ceil_div(self.quads, n)
        return code


class Grouped:
    """Header, codes and parameters of a tensor."""

    def __init__(self, data, rows, columns, planes, group, header=0, parameters=()):
        self.data = data
        self.group_columns = min(group, columns) if group else columns
        self.groups = ceil_div(columns, self.group_columns) if columns else 0
        self.code = Codes(data, up64(header), rows, columns, planes)
        self.parameters = parameters
        self.at = up64(header) + self.code.size
        total = self.at + up64(ceil_div(rows, 16) * self.groups * 16 * sum(parameters))
        require(len(data) == total, f"{len(data)} bytes, expected {total}")

    def parameter(self, row, group, index):
        at = self.at + (row // 16 * self.groups + group) * 16 * sum(self.parameters)
        at += 16 * sum(self.parameters[:index]) + row % 16 * self.parameters[index]
        return int.from_bytes(self.data[at:at + self.parameters[index]], "little")


def minifloat(code, exponent_bits, mantissa_bits, bias):
    """Magnitude of a code without sign."""
    exponent, mantissa = code >> mantissa_bits, code & (1 << mantissa_bits) - 1
    if exponent == 0:
        return mantissa * 2.0 ** (1 - bias - mantissa_bits)
    return (1 + mantissa / 2 ** mantissa_bits) * 2.0 ** (exponent - bias)


def scale_of(kind, pattern, unit):
    if kind == "f16":
        return f16(pattern)
    if kind == "f32":
        return numpy.uint32(pattern).view("<f4")
    if kind == "e8m0":
        return numpy.float32(2.0 ** (pattern - 127))
    m = minifloat(pattern & 127, 4, 3, 7) if kind == "e4m3" else minifloat(pattern, 5, 3, 15)
    return numpy.float32(m) * unit


def with_signs(magnitudes):
    return magnitudes + [-m for m in magnitudes]


def short(level):
    mantissa, exponent = math.frexp(level)
    return math.ldexp(math.floor(mantissa * 65536 + 0.5), exponent - 16)


def normalized(levels):
    return [x * 2.0 ** -math.floor(math.log2(max(levels))) for x in levels]


def minifloat_levels(options):
    e, m = options["exponent"], options["mantissa"]
    bias = 2 ** (e - 1) - 1 if e else 1
    reserved = {"none": 0, "nan": 1, "ieee": 2 ** m}[options["reserved"]]
    count = 2 ** (e + m)
    return with_signs(normalized([minifloat(k, e, m, bias) if k < count - reserved else 0.0
                                  for k in range(count)]))


def mx_levels(name):
    e, m, bias, reserved = {"e2m1": (2, 1, 1, 0), "e2m3": (2, 3, 1, 0), "e3m2": (3, 2, 3, 0),
                            "e4m3": (4, 3, 7, 1), "e5m2": (5, 2, 15, 4)}[name]
    count = 2 ** (e + m)
    return with_signs([minifloat(k, e, m, bias) if k < count - reserved else 0.0
                       for k in range(count)])


def pot_levels(options):
    count = 2 ** (options["bits"] - 1)
    levels = [2.0 ** (m - count + 1) for m in range(count)]
    if options["zero"]:
        levels[0] = 0.0
    return with_signs(levels)


def apot_levels(options):
    bits, k = options["bits"] - 1, options["terms"]
    levels = [0.0]
    for i in range(k):
        n = (bits + k - 1 - i) // k
        powers = [0.0] + [2.0 ** -(i + (2 ** n - 1 - m) * k) for m in range(1, 2 ** n)]
        levels = [x + p for p in powers for x in levels]
    return with_signs(normalized(levels))


def log2_levels(options):
    second = options["second"]
    largest = 2 ** (options["bits"] - 1 - second) - 1
    levels = []
    for a in range(largest + 1):
        for b in range(2 ** second):
            word = 2.0 ** (-(largest - a) / options["fraction"])
            levels.append(short(word * (1 + 2.0 ** -b) if b else word))
    levels[0] = 0.0
    return with_signs(levels)


def power_levels(bits, index):
    largest = 2 ** (bits - 1) - 1
    return with_signs([short((k / largest) ** ((8 + index) / 16)) for k in range(largest + 1)])


NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
       -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
       0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
       0.7229568362236023, 1.0]


def fixed_point(bits):
    return with_signs([2 * k / 2 ** (bits - 1) for k in range(2 ** (bits - 1))])


def mxint_levels(bits):
    half = 2 ** (bits - 1)
    return [2 * (k if k < half else k - 2 * half) / half for k in range(2 * half)]


def decode_grid(data, rows, columns, bits, group, scale, grids, per_group=False):
    """w = scale of the group * level of the code."""
    chosen_by_tensor = len(grids) > 1 and not per_group
    header = (4 if scale in ("e4m3", "e5m3") else 0) + (1 if chosen_by_tensor else 0)
    parameters = ({"f16": 2, "f32": 4}.get(scale, 1),) + ((1,) if per_group else ())
    tensor = Grouped(data, rows, columns, bit_planes(bits), group, header, parameters)
    unit, at = numpy.float32(1), 0
    if scale in ("e4m3", "e5m3"):
        unit, at = numpy.float32(struct.unpack_from("<f", data)[0]), 4
    grid = data[at] if chosen_by_tensor else 0
    result = numpy.empty((rows, columns), "<f4")
    for row in range(rows):
        for column in range(columns):
            g = column // tensor.group_columns
            s = scale_of(scale, tensor.parameter(row, g, 0), unit)
            levels = grids[tensor.parameter(row, g, 1) if per_group else grid]
            result[row, column] = s * numpy.float32(levels[tensor.code(row, column)])
    return result


def bitmod_levels(bits):
    magnitudes = {3: [0, 1, 2, 4], 4: [0, 0.5, 1, 1.5, 2, 3, 4, 6]}[bits]
    result = []
    for special in {3: [3, -3, 6, -6], 4: [5, -5, 8, -8]}[bits]:
        levels = with_signs(magnitudes)
        levels[len(magnitudes)] = special
        result.append([x / 4 for x in levels])
    return result


def grid_decoder(levels, bits=None, group=None, scale=None, grids=None, per_group=False):
    """Each argument is a function of the options, or a constant."""
    def decode(data, rows, columns, options):
        def value(x, name):
            return options[name] if x is None else x(options) if callable(x) else x
        all_grids = grids(options) if grids else [levels(options)]
        own = per_group and options.get("per_group", True)
        return decode_grid(data, rows, columns, value(bits, "bits"), value(group, "group"),
                           value(scale, "scale"), all_grids, own)
    return decode


DECODERS = {
    "minifloat": grid_decoder(minifloat_levels, bits=lambda o: 1 + o["exponent"] + o["mantissa"]),
    "nf4": grid_decoder(lambda o: NF4, bits=4),
    "mxfp": grid_decoder(lambda o: mx_levels(o["element"]), group=32, scale="e8m0",
                         bits=lambda o: 1 + int(o["element"][1]) + int(o["element"][3])),
    "mxint": grid_decoder(lambda o: mxint_levels(o["bits"]), group=32, scale="e8m0"),
    "bfp": grid_decoder(lambda o: fixed_point(o["bits"]), scale="e8m0"),
    "nvfp4": grid_decoder(lambda o: mx_levels("e2m1"), bits=4, group=16, scale="e4m3"),
    "bipolar": grid_decoder(lambda o: [(2 * u + 1 - 2 ** o["bits"]) / 2 ** (o["bits"] - 1)
                                       for u in range(2 ** o["bits"])]),
    "pot": grid_decoder(pot_levels),
    "apot": grid_decoder(apot_levels),
    "log2": grid_decoder(log2_levels),
    "power": grid_decoder(None, grids=lambda o: [power_levels(o["bits"], i) for i in range(33)],
                          per_group=True),
    "bitmod": grid_decoder(None, grids=lambda o: bitmod_levels(o["bits"]), per_group=True),
}


def decode_table(data, rows, columns, planes, group, parameter_count, levels):
    """levels(binary16 parameters of a group) gives the level of each code."""
    tensor = Grouped(data, rows, columns, planes, group, 0, (2,) * parameter_count)
    result = numpy.empty((rows, columns), "<f4")
    for row in range(rows):
        for g in range(tensor.groups):
            table = levels([f16(tensor.parameter(row, g, i)) for i in range(parameter_count)])
            for column in range(g * tensor.group_columns,
                                min((g + 1) * tensor.group_columns, columns)):
                result[row, column] = table[tensor.code(row, column)]
    return result


def decode_codebook(data, rows, columns, options):
    bits, scope = options["bits"], options["scope"]
    if scope in ("row", "group"):
        group = options["group"] if scope == "group" else 0
        return decode_table(data, rows, columns, bit_planes(bits), group, 2 ** bits, lambda p: p)
    scaled = scope == "tensor_scaled"
    tensor = Grouped(data, rows, columns, bit_planes(bits), options["group"] if scaled else 0,
                     2 * 2 ** bits, (2,) if scaled else ())
    entries = numpy.frombuffer(data, "<f2", 2 ** bits).astype("<f4")
    result = numpy.empty((rows, columns), "<f4")
    for row in range(rows):
        for column in range(columns):
            g = column // tensor.group_columns
            scale = f16(tensor.parameter(row, g, 0)) if scaled else numpy.float32(1)
            result[row, column] = scale * entries[tensor.code(row, column)]
    return result


def decode_affine(data, rows, columns, options):
    bits = options["bits"]
    return decode_table(data, rows, columns, bit_planes(bits), options["group"], 2,
                        lambda p: [p[1] + p[0] * numpy.float32(k) for k in range(2 ** bits)])


def decode_ternary(data, rows, columns, options):
    count = 1 if options["symmetric"] else 2
    return decode_table(data, rows, columns, digit_planes(3, 1), options["group"], count,
                        lambda p: [-p[-1], numpy.float32(0), p[0]])


def decode_binary(data, rows, columns, options):
    def levels(p):
        mean = p[1] if options["mean"] else numpy.float32(0)
        return [mean - p[0], mean + p[0]]
    return decode_table(data, rows, columns, bit_planes(1), options["group"],
                        2 if options["mean"] else 1, levels)


def decode_planes(data, rows, columns, options):
    values = {"sign": (-1, 1), "bit": (0, 1), "trit": (-1, 0, 1)}[options["digit"]]
    base, planes = len(values), options["planes"]

    def levels(p):
        table = []
        for code in range(base ** planes):
            level = p[planes] if options["mean"] else numpy.float32(0)
            for i in range(planes):
                level = level + p[i] * numpy.float32(values[code // base ** i % base])
            table.append(level)
        return table
    return decode_table(data, rows, columns, digit_planes(base, planes), options["group"],
                        planes + (1 if options["mean"] else 0), levels)


UNIVERSE = (0, 1, 2, 3, 4, 6, 8, 9, 12, 16, 17, 18, 20, 24, 32)


def decode_subsetq(data, rows, columns, options):
    bits = options["bits"]
    tensor = Grouped(data, rows, columns, bit_planes(bits), options["group"], 2, (2,))
    chosen = int.from_bytes(data[:2], "little")
    count = 2 ** (bits - 1)
    magnitudes = [float(u) for i, u in enumerate(UNIVERSE) if chosen >> i & 1][:count]
    levels = with_signs(magnitudes + [0.0] * (count - len(magnitudes)))
    result = numpy.empty((rows, columns), "<f4")
    for row in range(rows):
        for column in range(columns):
            scale = f16(tensor.parameter(row, column // tensor.group_columns, 0))
            result[row, column] = scale * numpy.float32(levels[tensor.code(row, column)])
    return result


DECODERS.update({"affine": decode_affine, "codebook": decode_codebook, "subsetq": decode_subsetq, "ternary": decode_ternary, "binary": decode_binary,
                 "planes": decode_planes})
