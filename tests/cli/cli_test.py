"""Runs the built `bitsmith` as a user does: help, exit codes, JSON, output of every command.

    cli_test.py PATH_OF_BITSMITH

Needs no packages. A model of some 130 kB is written here byte by byte, so that nothing but the
program itself is tested; real models are used when they are there.
"""

import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = sys.argv.pop(1)
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = os.environ.get("BITSMITH_DATA", os.path.join(SOURCE, "..", "shared", "data"))
COMMANDS = ["run", "eval", "inspect", "export", "convert", "bench", "list"]
COMPILER_COMMANDS = ["compress", "plan", "sweep", "compare", "imatrix"]
HAS_COMPILER = os.path.exists(os.path.join(os.path.dirname(os.path.abspath(PROGRAM)),
                                           "bitsmith-compiler"))
TRAIN = os.path.join(os.path.dirname(os.path.abspath(PROGRAM)), "train")
needs_compiler = unittest.skipUnless(HAS_COMPILER, "built without torch")


def bitsmith(*arguments, stdin=""):
    return subprocess.run([PROGRAM, *arguments], input=stdin, capture_output=True, text=True,
                          timeout=300)


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def byte_characters():
    """The characters that byte-level tokenizers write for the bytes 0 to 255."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(256, 512))
    return [chr(b if b in printable else next(others)) for b in range(256)]


def write_model(folder, context=64, bad_weight=None, eos=256, extra=()):
    """A random llama of one layer with a token for each byte; `bad_weight` replaces one weight,
    `extra` names tensors that such a model does not have."""
    os.makedirs(folder)
    hidden, ffn, heads, kv_heads, head_dim, vocab = 32, 64, 4, 2, 8, 257
    config = {"model_type": "llama", "vocab_size": vocab, "hidden_size": hidden,
              "intermediate_size": ffn, "num_hidden_layers": 1, "num_attention_heads": heads,
              "num_key_value_heads": kv_heads, "head_dim": head_dim, "hidden_act": "silu",
              "max_position_embeddings": context, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
              "tie_word_embeddings": True, "eos_token_id": eos}
    layer = "model.layers.0."
    shapes = {"model.embed_tokens.weight": [vocab, hidden],
              layer + "input_layernorm.weight": [hidden],
              layer + "self_attn.q_proj.weight": [heads * head_dim, hidden],
              layer + "self_attn.k_proj.weight": [kv_heads * head_dim, hidden],
              layer + "self_attn.v_proj.weight": [kv_heads * head_dim, hidden],
              layer + "self_attn.o_proj.weight": [hidden, heads * head_dim],
              layer + "post_attention_layernorm.weight": [hidden],
              layer + "mlp.gate_proj.weight": [ffn, hidden],
              layer + "mlp.up_proj.weight": [ffn, hidden],
              layer + "mlp.down_proj.weight": [hidden, ffn],
              "model.norm.weight": [hidden]}
    shapes.update({name: [hidden] for name in extra})
    generator = random.Random(1)
    header, data = {}, b""
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [1.0 if len(shape) == 1 else generator.gauss(0, 0.15) for _ in range(count)]
        if bad_weight is not None and name.endswith("up_proj.weight"):
            values[5 * hidden + 7] = bad_weight
        raw = struct.pack(f"<{count}f", *values)
        header[name] = {"dtype": "F32", "shape": shape,
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    vocabulary = {character: byte for byte, character in enumerate(byte_characters())}
    end = {"id": 256, "content": "<|end|>", "special": True, "single_word": False,
           "lstrip": False, "rstrip": False, "normalized": False}
    tokenizer = {"version": "1.0", "added_tokens": [end], "normalizer": None,
                 "pre_tokenizer": level, "post_processor": None, "decoder": level,
                 "model": {"type": "BPE", "vocab": vocabulary, "merges": []}}
    with open(os.path.join(folder, "tokenizer.json"), "w") as file:
        json.dump(tokenizer, file)
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as file:
        json.dump({"eos_token": "<|end|>"}, file)


def write_zeros(folder, layers):
    """A llama of FP8 matrices of zeros, 67 MB a layer, in a file that takes no space; its bytes."""
    os.makedirs(folder)
    hidden, ffn = 2048, 8192
    header, end = {}, 0

    def add(name, dtype, shape, size):
        nonlocal end
        begin, end = end, end + size * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}

    def matrix(name, rows, columns):
        add(name + ".weight", "F8_E4M3", [rows, columns], 1)
        add(name + ".weight_scale", "BF16", [rows, 1], 2)

    add("model.embed_tokens.weight", "BF16", [256, hidden], 2)
    add("model.norm.weight", "BF16", [hidden], 2)
    for i in range(layers):
        layer = f"model.layers.{i}."
        add(layer + "input_layernorm.weight", "BF16", [hidden], 2)
        add(layer + "post_attention_layernorm.weight", "BF16", [hidden], 2)
        for name in "qkvo":
            matrix(layer + f"self_attn.{name}_proj", hidden, hidden)
        matrix(layer + "mlp.gate_proj", ffn, hidden)
        matrix(layer + "mlp.up_proj", ffn, hidden)
        matrix(layer + "mlp.down_proj", hidden, ffn)
    config = {"model_type": "llama", "vocab_size": 256, "hidden_size": hidden,
              "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": 16,
              "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
              "quantization_config": {
                  "quant_method": "compressed-tensors",
                  "config_groups": {"group_0": {"targets": ["Linear"],
                                                "weights": {"num_bits": 8, "type": "float"}}}}}
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)
    text = json.dumps(header).encode()
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return end


def peak_bytes(*arguments):
    """The largest memory of a command that must succeed."""
    process = subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    return usage.ru_maxrss * 1024


def field(number, value):
    """A field of a protobuf message: bytes and texts with their length, numbers as varint."""
    def varint(n):
        result = b""
        while n > 127:
            result += bytes([n % 128 + 128])
            n //= 128
        return result + bytes([n])
    if isinstance(value, int):
        return varint(8 * number) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(8 * number + 2) + varint(len(value)) + value


def write_network(path, classes=4):
    """An ONNX network for grey images of 2 x 2 pixels: class c is as likely as pixel c is bright."""
    def tensor_type(extents):
        dims = b"".join(field(1, field(2 if isinstance(e, str) else 1, e)) for e in extents)
        return field(1, field(1, 1) + field(2, dims))
    weights = [1.0 if i == o else 0.0 for o in range(classes) for i in range(4)]
    tensor = (field(1, classes) + field(1, 4) + field(2, 1) + field(8, "w") +
              field(9, struct.pack(f"<{4 * classes}f", *weights)))
    flatten = field(1, "x") + field(2, "row") + field(3, "flat") + field(4, "Flatten")
    transposed = field(5, field(1, "transB") + field(3, 1) + field(20, 2))
    gemm = (field(1, "row") + field(1, "w") + field(2, "y") + field(3, "fc") + field(4, "Gemm") +
            transposed)
    softmax = field(1, "y") + field(2, "p") + field(3, "prob") + field(4, "Softmax")
    graph = (b"".join(field(1, node) for node in (flatten, gemm, softmax)) + field(2, "net") +
             field(5, tensor) + field(11, field(1, "x") + field(2, tensor_type(["n", 1, 2, 2]))) +
             field(12, field(1, "p") + field(2, tensor_type(["n", classes]))))
    with open(path, "wb") as file:
        file.write(field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13)))


def write_images(folder):
    """Ten images, of which the brightest pixel is pixel i mod 4; the labels of two are wrong."""
    with open(os.path.join(folder, "ten-images-idx3-ubyte"), "wb") as file:
        file.write(struct.pack(">IIII", 0x803, 10, 2, 2))
        for i in range(10):
            file.write(bytes(200 if p == i % 4 else 10 * p for p in range(4)))
    with open(os.path.join(folder, "ten-labels-idx1-ubyte"), "wb") as file:
        file.write(struct.pack(">II", 0x801, 10) + bytes((i + (i > 7)) % 4 for i in range(10)))
    return os.path.join(folder, "ten-images-idx3-ubyte")


class CommandLine(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="bitsmith-cli-")
        cls.model = os.path.join(cls.folder, "model")
        write_model(cls.model)
        cls.text = os.path.join(cls.folder, "text.txt")
        with open(cls.text, "w") as file:
            file.write("It was a dark night, and the captain was asleep. " * 20)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def fails(self, code, *arguments):
        """Expects this exit code, one line on standard error that begins with `bitsmith: `."""
        result = bitsmith(*arguments)
        self.assertEqual(result.returncode, code, result)
        self.assertEqual(result.stdout, "")
        lines = result.stderr.splitlines()
        self.assertEqual(len(lines), 1, result.stderr)
        self.assertTrue(lines[0].startswith("bitsmith: "), result.stderr)
        return lines[0]

    def works(self, *arguments, stdin=""):
        result = bitsmith(*arguments, stdin=stdin)
        self.assertEqual(result.returncode, 0, result)
        return result.stdout

    # Help

    def test_no_arguments_show_the_help(self):
        text = self.works()
        for command in COMMANDS + COMPILER_COMMANDS:
            self.assertIn("\n  " + command + " ", text)
        self.assertEqual(text, self.works("--help"))

    def test_version(self):
        self.assertRegex(self.works("--version"), r"^bitsmith \d+\.\d+\.\d+\n$")

    def test_every_command_teaches_by_example(self):
        for command in COMMANDS:
            text = self.works(command, "--help")
            self.assertIn("bitsmith " + command + " ", text)
            self.assertIn("Examples:", text)
            for line in text.splitlines():
                self.assertLessEqual(len(line), 110, line)

    # Errors

    def test_wrong_arguments(self):
        for arguments in (["nonsense"], ["run"], ["run", self.model], ["eval", self.model],
                          ["run", self.model, "x", "--temperature", "-1"],
                          ["run", self.model, "x", "--threads", "0"],
                          ["run", self.model, "x", "--temperature", "nan"],
                          ["run", self.model, "x", "--top-p", "nan"],
                          ["run", self.model, "x", "--seed", "-1"],
                          ["run", self.model, "x", "--seed", "18446744073709551616"],
                          ["run", self.model, "x", "--seed", "1.5"],
                          ["export", self.model, "-o", "x.gguf", "--threads", "-1"],
                          ["bench", self.model, "--prompt", "0"], ["inspect"],
                          ["list", "codecs", "more"]):
            line = self.fails(2, *arguments)
            self.assertIn("--help" if arguments != ["nonsense"] else "compress", line)

    def test_missing_files(self):
        nowhere = os.path.join(self.folder, "nowhere")
        for command in (["inspect", nowhere], ["run", nowhere, "x"], ["bench", nowhere],
                        ["eval", nowhere, "--text", self.text],
                        ["eval", self.model, "--text", nowhere]):
            self.assertIn("nowhere", self.fails(3, *command))
        self.fails(3, "list", "nonsense")

    def test_damaged_files(self):
        broken = os.path.join(self.folder, "broken")
        shutil.copytree(self.model, broken)
        path = os.path.join(broken, "model.safetensors")
        with open(path, "rb") as file:
            good = file.read()
        for bad in (b"", good[:7], good[:100], good[:-1], b"\xff" * 200):
            with open(path, "wb") as file:
                file.write(bad)
            self.assertIn("safetensors", self.fails(4, "inspect", broken))
        with open(os.path.join(broken, "config.json"), "w") as file:
            file.write("{")
        self.fails(4, "run", broken, "x")
        words = os.path.join(self.folder, "bad-words")
        shutil.copytree(self.model, words)
        with open(os.path.join(words, "tokenizer.json"), "w") as file:
            file.write("{")
        for arguments in (["run", words, "x"], ["eval", words, "--text", self.text]):
            self.assertIn("bad-words': tokenizer.json", self.fails(4, *arguments))
        checkpoint = os.path.join(self.folder, "bad.bitsmith")
        with open(checkpoint, "wb") as file:
            file.write(b"\x08\0\0\0\0\0\0\0{}      ")
        self.fails(4, "inspect", checkpoint)

    def test_unsupported_models(self):
        other = os.path.join(self.folder, "other")
        shutil.copytree(self.model, other)
        with open(os.path.join(other, "config.json"), "w") as file:
            json.dump({"model_type": "nonsense"}, file)
        self.assertIn("nonsense", self.fails(5, "inspect", other))

    def test_no_checksums_to_verify(self):
        self.fails(5, "inspect", self.model, "--verify")

    def test_wrong_kinds_of_files(self):
        self.assertIn("folder", self.fails(3, "eval", self.model, "--text", self.folder))
        self.assertIn("config.json", self.fails(3, "inspect", self.folder))
        self.fails(5, "inspect", self.text)
        foreign = os.path.join(self.folder, "foreign.gguf")
        with open(foreign, "wb") as file:
            file.write(b"GGUF" + bytes(100))
        self.assertIn("GGUF", self.fails(5, "run", foreign, "x"))
        self.assertIn("xz", self.fails(5, "eval", self.model, "--text", self.compressed_text()))
        self.assertIn("is empty", self.fails(2, "eval", self.model, "--text", "/dev/null"))
        self.assertIn("output is empty", self.fails(2, "export", self.model, "-o", ""))

    def compressed_text(self):
        path = os.path.join(self.folder, "text.xz")
        with open(path, "wb") as file:
            file.write(b"\xFD7zXZ\0" + bytes(100))
        return path

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_unreadable_files(self):
        locked = os.path.join(self.folder, "locked")
        shutil.copytree(self.model, locked)
        os.chmod(os.path.join(locked, "model.safetensors"), 0)
        self.assertIn("Permission denied", self.fails(6, "inspect", locked))
        os.chmod(locked, 0)
        try:
            self.fails(6, "inspect", locked)
        finally:
            os.chmod(locked, 0o700)

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full")
    def test_output_that_cannot_be_written(self):
        for arguments in (["list"], ["inspect", self.model, "--json"], ["run", self.model, "x"]):
            with open("/dev/full", "w") as full:
                result = subprocess.run([PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE,
                                        text=True, timeout=60)
            self.assertEqual(result.returncode, 6, result)
            self.assertEqual(result.stderr, "bitsmith: cannot write to standard output: "
                                            "No space left on device\n")

    def test_files_beyond_the_limit_of_the_shell(self):
        output = os.path.join(self.folder, "limited.gguf")
        result = subprocess.run(
            [PROGRAM, "export", self.model, "-o", output, "--quiet"], capture_output=True, text=True,
            timeout=60,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000)))
        self.assertEqual(result.returncode, 6, result)
        self.assertIn("File too large", result.stderr)
        self.assertFalse(os.path.exists(output))

    def test_reader_that_goes_away(self):
        for ignored in (False, True):
            process = subprocess.Popen([PROGRAM, "run", self.model, "x", "-n", "100000", "--raw"],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       restore_signals=not ignored)
            process.stdout.close()
            error = process.stderr.read().decode()
            process.stderr.close()
            process.wait(timeout=60)
            self.assertEqual(process.returncode, 6 if ignored else -signal.SIGPIPE, error)
            self.assertLessEqual(len(error.splitlines()), 1, error)

    def test_text_too_short(self):
        short = os.path.join(self.folder, "short.txt")
        with open(short, "w") as file:
            file.write("a")
        self.fails(2, "eval", self.model, "--text", short)

    def test_prompt_too_long(self):
        self.assertIn("context", self.fails(2, "run", self.model, "x" * 65))

    # Commands

    def test_inspect(self):
        text = self.works("inspect", self.model, "--tensors")
        for word in ("huggingface", "llama", "attention.q", "f32", "model.norm.weight",
                     "32.000"):
            self.assertIn(word, text)
        summary = json.loads(self.works("inspect", self.model, "--tensors", "--json"))
        self.assertEqual(summary["format"], "huggingface")
        self.assertEqual(len(summary["tensors"]), 11)
        self.assertEqual(summary["bytes"], 4 * summary["weights"])
        self.assertEqual(summary["weights"], sum(r["weights"] for r in summary["roles"]))
        self.assertEqual(summary["operators"]["linear"], 8)

    def test_inspect_shows_unused_tensors(self):
        more = os.path.join(self.folder, "more")
        names = [f"extra.{i}" for i in range(6)]
        write_model(more, extra=names)
        self.assertRegex(self.works("inspect", more),
                         r"unused +6 tensors: extra\.0, extra\.1, extra\.2, extra\.3, \.\.\.\n")
        summary = json.loads(self.works("inspect", more, "--json"))
        self.assertEqual(summary["unused_tensors"], names)
        self.assertNotIn("unused", self.works("inspect", self.model))
        deeper = os.path.join(self.folder, "deeper")
        write_model(deeper, extra=["model.layers.3.input_layernorm.weight"])
        self.assertIn("num_hidden_layers", self.fails(4, "inspect", deeper))

    def test_list(self):
        text = self.works("list")
        for word in ("codec", "bf16", "solver", "gptq", "llama", "rms_norm"):
            self.assertIn(word, text)
        everything = json.loads(self.works("list", "--json"))
        for kind, parts in everything.items():
            self.assertTrue(parts, kind)
            for part in parts:
                self.assertTrue(part["id"] and part["summary"], part)
        for word, kind in (("codecs", "codecs"), ("codec", "codecs"),
                           ("families", "model families"), ("operators", "operators"),
                           ("solvers", "solvers"), ("allocators", "allocators"),
                           ("recipes", "recipes")):
            chosen = json.loads(self.works("list", word, "--json"))
            self.assertEqual(chosen, {kind: everything[kind]})
        one = json.loads(self.works("list", "nf4", "--json"))
        self.assertEqual(one, {"codecs": [p for p in everything["codecs"] if p["id"] == "nf4"]})
        # A name that methods of several kinds have.
        several = json.loads(self.works("list", "nearest", "--json"))
        self.assertEqual({k: [p["id"] for p in parts] for k, parts in several.items()},
                         {"solvers": ["nearest"], "recipes": ["nearest"]})
        self.assertTrue(self.works("list", "nf4").startswith("nf4: "))
        text = self.works("list", "int")
        self.assertTrue(text.startswith("As a codec:\n\nint: "))
        self.assertIn("symmetric", text)
        self.assertNotIn("mxfp", text)
        text = self.works("list", "recipes")
        for word in ("gptq-mix: ", "nearest: ", "source: ", "arXiv 2210.17323"):
            self.assertIn(word, text)
        page = self.works("list", "recipes", "--markdown")
        self.assertTrue(page.startswith("# Methods"))
        self.assertIn("| `gptq-mix` |", page)
        self.assertIn("--markdown is for", self.fails(2, "list", "codecs", "--markdown"))
        text = self.works("list", "codecs")
        self.assertIn("bits", text)
        self.assertIn("default", text)

    def test_eval(self):
        text = self.works("eval", self.model, "--text", self.text)
        for word in ("perplexity", "bits/byte", "bpw", "15 windows of 64 tokens"):
            self.assertIn(word, text)
        one = json.loads(self.works("eval", self.model, "--text", self.text, "--json",
                                    "--context", "32", "--tokens", "320", "--threads", "1"))
        self.assertEqual(one["windows"], 10)
        self.assertEqual(one["scored_tokens"], 310)
        # A random model is about as good as guessing.
        self.assertGreater(one["model"]["perplexity"]["value"], 100)
        both = json.loads(self.works("eval", self.model, "--text", self.text, "--json", "--against",
                                     self.model, "--context", "32", "--tokens", "320"))
        self.assertEqual(both["divergence"]["kl_max_nats"], 0)
        self.assertEqual(both["divergence"]["top1_agreement"]["value"], 1)
        self.assertEqual(both["model"]["perplexity"], one["model"]["perplexity"])
        self.assertIn("KL divergence", self.works("eval", self.model, "--text", self.text,
                                                  "--against", self.model))

    def test_eval_images(self):
        net = os.path.join(self.folder, "net.onnx")
        write_network(net)
        images = write_images(self.folder)
        text = self.works("eval", net, "--images", images)
        for word in ("10 images of 4 classes", "grey, pixel * 0.003922", "top-1", "80 ± 13 %"):
            self.assertIn(word, text)
        result = json.loads(self.works("eval", net, "--images", images, "--json"))
        self.assertEqual(result["model"]["top1"]["value"], 0.8)
        self.assertEqual([c["images"] for c in result["model"]["classes"]], [2, 3, 3, 2])
        self.assertEqual(result["preprocessing"]["scale"], 1 / 255)
        for threads in ("1", "3"):
            self.assertEqual(result, json.loads(self.works("eval", net, "--images", images, "--json",
                                                           "--threads", threads)))
        both = json.loads(self.works("eval", net, "--images", images, "--json", "--against", net,
                                     "--limit", "5", "--preprocess", "symmetric"))
        self.assertEqual(both["images"], 5)
        self.assertEqual(both["comparison"]["kl_nats"]["value"], 0)
        self.assertEqual(both["comparison"]["agreement"]["value"], 1)
        self.assertIn("--images", self.fails(2, "eval", net))
        self.assertIn("--text", self.fails(2, "eval", self.model, "--images", images))
        self.fails(2, "eval", net, "--images", images, "--text", self.text)
        self.fails(2, "eval", net, "--resize", "2")
        self.assertIn("[B, 1, 2, 2]", self.fails(2, "eval", net, "--images", images, "--crop", "1"))
        self.assertIn("--scale", self.fails(2, "eval", net, "--images", images, "--scale", "x"))

    def test_compress_images(self):
        net = os.path.join(self.folder, "net.onnx")
        write_network(net)
        images = write_images(self.folder)
        small = os.path.join(self.folder, "net.bitsmith")
        result = json.loads(self.works("compress", net, "--recipe", "gptq", "--set", "code.bits=8", "--json",
                                       "--calibration", images, "--preprocess", "unit", "-o", small))
        self.assertEqual(result["quality"]["images"], 5)
        self.assertGreaterEqual(result["quality"]["comparison"]["agreement"]["value"], 0.8)
        # Images become inputs as they did then.
        both = json.loads(self.works("eval", small, "--images", images, "--json", "--against", net))
        self.assertEqual(both["preprocessing"]["scale"], 1 / 255)
        self.assertIn("an image takes", self.works("eval", small, "--images", images, "--against", net))
        self.assertIn("--calibration", self.fails(2, "compress", net, "--recipe", "gptq", "-o", small))
        self.assertIn("--calibration", self.fails(2, "compress", net, "--recipe", "nearest", "--preprocess", "unit",
                                                  "-o", small))
        self.assertIn("language model", self.fails(2, "compress", self.model, "--recipe", "gptq", "--calibration",
                                                   self.text, "--preprocess", "unit", "-o", small))

    def test_integers_only(self):
        net = os.path.join(self.folder, "whole.onnx")
        write_network(net)
        images = write_images(self.folder)
        small = os.path.join(self.folder, "whole.bitsmith")
        self.assertIn("integers only", self.works("compress", net, "--recipe", "w8a8", "--calibration", images,
                                                  "--preprocess", "unit", "-o", small))
        self.assertIn("integers only", self.works("eval", small, "--images", images))
        self.assertTrue(json.loads(self.works("inspect", small, "--json"))["arithmetic"]["integer_only"])
        text = self.works("bench", small, "--batch", "8", "--runs", "1", "--threads", "1")
        for word in ("integers only", "of int8 peak", "int8 convolution"):
            self.assertIn(word, text)
        self.assertIn("float32", self.works("inspect", net))
        self.assertIn("[activations]", self.fails(5, "compress", self.model, "--recipe", "w8a8", "-o", small))

    def test_products(self):
        net = os.path.join(self.folder, "powers.onnx")
        write_network(net)
        images = write_images(self.folder)
        small = os.path.join(self.folder, "powers.bitsmith")
        self.assertIn("integers only", self.works("compress", net, "--recipe", "shift-a8", "--calibration", images,
                                                  "--preprocess", "unit", "-o", small))
        evaluate = ("eval", small, "--images", images, "--products")
        shifted = self.works(*evaluate, "shift")
        self.assertIn("integers only", shifted)
        self.assertIn("shift-and-add convolution", shifted)
        result = json.loads(self.works(*evaluate, "shift", "--json"))
        self.assertIn("shift-and-add", " ".join(result["model"]["kernels"]))
        self.assertNotIn("shift-and-add", self.works(*evaluate, "multiply"))
        bench = ("--batch", "8", "--runs", "1", "--threads", "1", "--products")
        self.assertIn("shift-and-add", self.works("bench", small, *bench, "shift"))
        self.assertIn("--products", self.fails(2, "bench", small, *bench, "add"))
        self.assertIn("w8a8", self.fails(2, "bench", net, *bench, "shift"))
        self.assertIn("w8a8", self.fails(2, "eval", net, "--images", images, "--products", "shift"))
        self.assertIn("--products", self.fails(2, "bench", self.model, "--products", "shift"))

    def test_compare_images(self):
        net = os.path.join(self.folder, "net.onnx")
        write_network(net)
        images = write_images(self.folder)
        test = os.path.join(self.folder, "test-images-idx3-ubyte")
        shutil.copy(images, test)
        arguments = ["compare", net, "--recipes", "nearest,gptq", "--calibration", images, "--images", test,
                     "--preprocess", "unit", "--labels", images.replace("images-idx3", "labels-idx1")]
        text = self.works(*arguments)
        for word in ("original", "nearest", "gptq", "images/s", "agreement"):
            self.assertIn(word, text)
        result = json.loads(self.works(*arguments, "--json"))
        self.assertEqual([p["quality"]["images"] for p in result["points"]], [10, 10])
        self.assertIn("same file", self.fails(2, "compare", net, "--recipes", "gptq", "--calibration", images,
                                              "--images", images))
        self.assertIn("--images", self.fails(2, "compare", net, "--recipes", "gptq", "--calibration", images))

    def test_bench_images(self):
        net = os.path.join(self.folder, "fast.onnx")
        write_network(net)
        text = self.works("bench", net, "--batch", "8", "--runs", "1", "--threads", "1")
        for word in ("images/s", "of float32 peak", "float32 matrix product"):
            self.assertIn(word, text)
        self.assertIn("--prompt", self.fails(2, "bench", net, "--prompt", "8"))
        self.assertIn("--batch", self.fails(2, "bench", self.model, "--batch", "8"))

    def test_export(self):
        path = os.path.join(self.folder, "model.gguf")
        self.works("export", self.model, "-o", path, "--quiet")
        summary = json.loads(self.works("inspect", path, "--tensors", "--json"))
        self.assertEqual((summary["format"], summary["family"]), ("gguf", "llama"))
        self.assertEqual({t["scheme"]["codec"] for t in summary["tensors"]}, {"f32"})
        # The same numbers and the same tokens: the same text.
        arguments = ("It was", "-n", "12", "--temperature", "0")
        self.assertEqual(self.works("run", path, *arguments),
                         self.works("run", self.model, *arguments))
        perplexity = [json.loads(self.works("eval", model, "--text", self.text, "--json"))["model"]
                      for model in (path, self.model)]
        self.assertEqual(perplexity[0]["perplexity"], perplexity[1]["perplexity"])
        # Rows of 32 and 64 are no blocks of 256.
        text = self.works("export", self.model, "-o", path, "--type", "Q4_K", "--quiet")
        self.assertIn("became q5_0: rows of 32 are not whole blocks of q4_k", text)
        summary = json.loads(self.works("inspect", path, "--tensors", "--json"))
        self.assertEqual({t["scheme"]["codec"] for t in summary["tensors"]}, {"f32", "q5_0"})
        self.works("run", path, *arguments)
        self.fails(2, "export", self.model, "-o", path, "--type", "nonsense", "--quiet")
        self.fails(2, "export", self.model, "-o", path, "--format", "nonsense", "--quiet")
        self.assertIn("truncated", self.truncated(path))

    def test_convert_keeps_every_code(self):
        at = lambda name: os.path.join(self.folder, name)
        self.works("export", self.model, "-o", at("codes.gguf"), "--type", "q4_0", "--quiet")

        def convert(source, output, *more):
            text = self.works("convert", at(source), at(output), *more, "--json", "--quiet")
            tensors = json.loads(text)["tensors"]
            self.assertEqual({t["error"] for t in tensors}, {0})
            return {(t["from"], t["to"]) for t in tensors}

        # The embedding is a head too: both are numbers in folders.
        self.assertIn(("Q4_0", "Q4_0"), convert("codes.gguf", "codes.bitsmith"))
        self.assertIn(("Q4_0", "int4 row sym"), convert("codes.bitsmith", "gptq", "--format", "gptq"))
        self.assertIn(("int4 row sym", "Q4_0"), convert("gptq", "again.gguf"))
        self.assertIn(("Q4_0", "int4 row sym"), convert("again.gguf", "awq", "--format", "awq"))
        self.assertIn(("int4 row sym", "f32"), convert("awq", "numbers"))
        for kind, label in [("q8_0", "int8 row sym"), ("mxfp4", "mxfp4 e2m1")]:
            self.works("export", self.model, "-o", at(f"{kind}.gguf"), "--type", kind)
            to = ("--format", "compressed-tensors")
            self.assertIn((kind.upper(), label), convert(f"{kind}.gguf", f"{kind}-ct", *to))
            self.assertIn((label, label), convert(f"{kind}-ct", f"{kind}.bitsmith"))
            self.assertIn((label, label), convert(f"{kind}.bitsmith", f"{kind}-ct2", *to))
            self.assertIn((label, kind.upper()), convert(f"{kind}-ct2", f"{kind}-2.gguf"))
        perplexities = [json.loads(self.works("eval", at(model), "--text", self.text, "--json"))
                        ["model"]["perplexity"]["value"] for model in ("numbers", "codes.gguf")]
        self.assertAlmostEqual(perplexities[0], perplexities[1], delta=0.02 * perplexities[0])
        text = self.works("convert", at("awq"), at("table.gguf"), "--quiet")
        self.assertIn("exact", text)
        self.assertIn("there already", self.fails(2, "convert", at("awq"), at("gptq"), "--quiet"))
        self.assertIn("names no format", self.fails(2, "convert", at("awq"), at("x.foo")))
        self.assertIn("gptq", self.fails(3, "convert", at("awq"), at("x"), "--format", "exl9"))

    def test_folders_larger_than_the_memory(self):
        """Matrices are repacked one at a time: memory does not grow with the model."""
        peaks = []
        for layers in (3, 6):
            folder = os.path.join(self.folder, f"zeros{layers}")
            size = write_zeros(folder, layers)
            copy = os.path.join(self.folder, f"zeros{layers}.bitsmith")
            peaks.append(peak_bytes("convert", folder, copy, "--quiet"))
            os.remove(copy)
        self.assertLess(peaks[1], size / 2)
        self.assertLess(peaks[1], peaks[0] + (16 << 20))

    @needs_compiler
    def test_reads_at_fewer_bits(self):
        at = lambda name: os.path.join(self.folder, name)
        self.works("compress", self.model, "--recipe", "double-rounding", "-o", at("eight.bitsmith"),
                   "--quiet")
        text = self.works("convert", at("eight.bitsmith"), at("four.bitsmith"), "--read-bits", "5.4",
                          "--json", "--quiet")
        self.assertEqual({t["to"] for t in json.loads(text)["tensors"]}, {"int4 g32 sym", "f32"})
        self.works("inspect", at("four.bitsmith"), "--verify")

        def evaluate(name, *more):
            return json.loads(self.works("eval", at(name), "--text", self.text, "--json", *more))
        whole = evaluate("eight.bitsmith")
        read = evaluate("eight.bitsmith", "--read-bits", "5.4")
        self.assertEqual(read, {**evaluate("four.bitsmith"), "model": read["model"]})
        self.assertEqual(read["model"]["perplexity"],
                         evaluate("four.bitsmith")["model"]["perplexity"])
        self.assertLess(read["model"]["parameter_bytes"], 0.6 * whole["model"]["parameter_bytes"])
        self.works("run", at("eight.bitsmith"), "a", "-n", "2", "--read-bits", "3")
        self.assertIn("bits per weight, scales included, when read as int2", self.fails(
            2, "run", at("eight.bitsmith"), "a", "--read-bits", "2"))
        self.assertIn("bipolar, int, sum", self.fails(5, "run", self.model, "a", "--read-bits", "4"))

    def test_export_onnx(self):
        net = os.path.join(self.folder, "export-me.onnx")
        path = os.path.join(self.folder, "exported.onnx")
        write_network(net)
        text = self.works("export", net, "-o", path, "--format", "onnx")
        self.assertIn("opset 13", text)
        self.assertIn("read again and compared", text)
        images = write_images(self.folder)
        result = json.loads(self.works("eval", path, "--images", images, "--json",
                                       "--against", net))
        self.assertEqual(result["model"]["top1"]["value"], 0.8)
        self.assertEqual(result["comparison"]["kl_nats"]["value"], 0)
        self.works("export", net, "-o", path, "--format", "onnx", "--float")
        for arguments in (["--float"], ["--format", "onnx", "--type", "q4_k"],
                          ["--format", "onnx", "--steps", "3"]):
            self.assertIn("--format", self.fails(2, "export", net, "-o", path, *arguments))
        self.assertIn("--format gguf",
                      self.fails(5, "export", self.model, "-o", path + "x", "--format", "onnx"))
        self.assertFalse(os.path.exists(path + "x"))
        self.assertIn("truncated", self.truncated(path))

    def truncated(self, path):
        with open(path, "rb") as file:
            good = file.read()
        with open(path, "wb") as file:
            file.write(good[:-100])
        return self.fails(4, "inspect", path)

    def test_run(self):
        greedy = self.works("run", self.model, "It was", "-n", "12", "--temperature", "0")
        self.assertTrue(greedy.startswith("It was"))
        again = self.works("run", self.model, "It was", "-n", "12", "--temperature", "0",
                           "--threads", "1")
        self.assertEqual(greedy, again)
        rest = self.works("run", self.model, "-", "-n", "12", "--temperature", "0", "--no-echo",
                          stdin="It was")
        self.assertEqual("It was" + rest, greedy)
        seeds = {self.works("run", self.model, "It was", "-n", "12", "--seed", str(seed))
                 for seed in (1, 2, 1, 2)}
        self.assertEqual(len(seeds), 2)
        self.assertEqual(self.works("run", self.model, "It was", "-n", "0"), "It was\n")
        self.works("run", self.model, "It was", "-n", "2", "--seed", "18446744073709551615")
        result = bitsmith("run", self.model, "It was", "-n", "5", "--raw", "--stats")
        self.assertIn("tokens/s", result.stderr)

    def test_run_stops_at_each_end_token_of_the_configuration(self):
        ends = os.path.join(self.folder, "ends")
        write_model(ends, eos=list(range(257)))
        self.assertEqual(self.works("run", ends, "It was", "-n", "50"), "It was\n")
        more = os.path.join(self.folder, "more-ends")
        write_model(more)
        self.assertNotEqual(self.works("run", more, "It was", "-n", "50"), "It was\n")
        with open(os.path.join(more, "generation_config.json"), "w") as file:
            json.dump({"eos_token_id": list(range(256))}, file)
        self.assertEqual(self.works("run", more, "It was", "-n", "50"), "It was\n")

    def test_run_stops_at_the_context(self):
        result = bitsmith("run", self.model, "x" * 60, "-n", "100", "--raw")
        self.assertEqual(result.returncode, 0, result)
        self.assertIn("context", result.stderr)

    def test_run_ends_cleanly_on_interrupt(self):
        endless = os.path.join(self.folder, "endless")
        write_model(endless, context=1 << 24)
        process = subprocess.Popen([PROGRAM, "run", endless, "x", "-n", "1000000", "--raw"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(20)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, error)
        self.assertTrue(out.endswith(b"\n"))
        self.assertEqual(error, b"bitsmith: interrupted\n")

    def test_bench(self):
        report = json.loads(self.works("bench", self.model, "--threads", "1,2", "--prompt", "16",
                                       "--tokens", "4", "--runs", "1", "--json"))
        self.assertEqual([run["threads"] for run in report["runs"]], [1, 2])
        for run in report["runs"]:
            for figure in ("prompt_tokens_per_s", "text_tokens_per_s", "bandwidth_bytes_per_s",
                           "bytes_per_token", "peak_operations_per_s", "peak_memory_bytes"):
                self.assertGreater(run[figure], 0, figure)
            self.assertTrue(run["kernels"])

    # Commands that compress

    def refuses(self, code, *arguments):
        """As fails(), and nothing is left behind."""
        before = sorted(os.listdir(self.folder))
        line = self.fails(code, *arguments)
        self.assertEqual(sorted(os.listdir(self.folder)), before, line)
        return line

    def compress_arguments(self, output, *more):
        return ["compress", self.model, "--bits", "4", "--calibration", self.text, "--set",
                "calibrate.length=16", "-o", output, "--quiet", *more]

    @needs_compiler
    def test_compiler_commands_teach_by_example(self):
        for command in COMPILER_COMMANDS:
            text = self.works(command, "--help")
            self.assertEqual("before lossless coding" in text, command not in ("sweep", "imatrix"))
            self.assertRegex(text, "Examples?:")
            for line in text.splitlines():
                self.assertLessEqual(len(line), 110, line)

    @needs_compiler
    def test_compress_refuses_before_it_works(self):
        output = os.path.join(self.folder, "out.bitsmith")
        to = ["-o", output]
        short = os.path.join(self.folder, "short2.txt")
        with open(short, "w") as file:
            file.write("short")
        bad_recipe = os.path.join(self.folder, "bad.toml")
        with open(bad_recipe, "w") as file:
            file.write("[code\n")
        nowhere = os.path.join(self.folder, "nowhere")
        wide = os.path.join(self.folder, "wide")
        write_model(wide, context=8192)
        latin = os.path.join(self.folder, "latin.txt")
        with open(latin, "wb") as file:
            file.write(b"caf\xe9 " * 500)
        model, text = self.model, self.text
        own_file = os.path.join(model, "model.safetensors")
        for code, word, arguments in (
                (2, "--output", ["compress", model, "--bits", "4"]),
                (2, "--bits", ["compress", model, *to]),
                (2, "bits per weight", ["compress", model, "--bits", "0", *to]),
                (2, "bits per weight", ["compress", model, "--bits", "-3", *to]),
                (2, "--bits", ["compress", model, "--bits", "many", *to]),
                (2, "--size", ["compress", model, "--size", "many", *to]),
                (2, "--ram", ["compress", model, "--bits", "4", "--ram", "0", *to]),
                (2, "--threads", ["compress", model, "--bits", "4", "--threads", "-1", *to]),
                (2, "--device", ["compress", model, "--bits", "4", "--device", "abacus", *to]),
                (2, "--set", ["compress", model, "--bits", "4", "--set", "bits", *to]),
                (2, "nonsense", ["compress", model, "--bits", "4", "--set", "code.nonsense=3", *to]),
                (3, "nonsense", ["compress", model, "--bits", "4", "--recipe", "nonsense", *to]),
                (4, "TOML", ["compress", model, "--bits", "4", "--recipe", bad_recipe, *to]),
                (3, "nowhere", ["compress", nowhere, "--bits", "4", *to]),
                (3, "nowhere", ["compress", model, "--bits", "4", "--calibration", nowhere, *to]),
                (2, "short2", ["compress", model, "--bits", "4", "--calibration", short, *to]),
                (6, "folder", ["compress", model, "--bits", "4", "-o", self.folder]),
                (6, "folder", ["compress", model, "--bits", "4", "-o", nowhere + "/out"]),
                (2, "itself", ["compress", model, "--bits", "4", "-o", own_file]),
                (7, "--bits", ["compress", model, "--bits", "0.1", *to]),
                (7, "3 bytes", ["compress", model, "--size", "3", *to]),
                (7, "--ram", ["compress", wide, "--bits", "4", "--ram", "300MB", "--set",
                              "calibrate.length=8192", *to]),
                (2, "made for 64 tokens", ["compress", model, "--bits", "4", "--set",
                                           "calibrate.length=65", *to]),
                (4, "offset 3", ["compress", model, "--bits", "4", "--calibration", latin, *to]),
                (2, "empty", ["compress", model, "--bits", "4", "--calibration", "/dev/null", *to]),
                (2, "leave out --calibration", ["compress", model, "--recipe", "nearest",
                                                "--calibration", text, *to]),
                (2, "output is empty", ["compress", model, "--bits", "4", "-o", ""]),
                (2, "--seed", ["compress", model, "--bits", "4", "--seed", "-1", *to]),
                (2, "--seed", ["plan", model, "--bits", "4", "--seed", "18446744073709551616"]),
                (7, "--bits", ["plan", model, "--bits", "0.1"]),
                (3, "nowhere", ["plan", model, "--bits", "4", "--calibration", nowhere]),
                (2, "--bits", ["sweep", model, "--bits", "4..2"]),
                (3, "nowhere", ["sweep", model, "--bits", "4", "--text", nowhere])):
            self.assertIn(word, self.refuses(code, *arguments))

    def test_models_whose_logits_are_not_finite(self):
        broken = os.path.join(self.folder, "nan-logits")
        write_model(broken, bad_weight=float("nan"))
        for arguments in (["run", broken, "x", "--no-echo"], ["bench", broken, "--prompt", "4",
                          "--tokens", "2"], ["eval", broken, "--text", self.text, "--quiet"],
                          ["run", broken, "x", "--no-echo", "--temperature", "0"]):
            self.assertIn("logits are not finite", self.fails(4, *arguments))

    @needs_compiler
    def test_weights_that_are_not_finite(self):
        broken = os.path.join(self.folder, "nan")
        write_model(broken, bad_weight=float("nan"))
        line = self.refuses(4, "compress", broken, "--recipe", "nearest", "--quiet", "-o",
                            os.path.join(self.folder, "out.bitsmith"))
        self.assertIn("mlp.up_proj.weight': the weight at row 5, column 7 is nan", line)

    @needs_compiler
    def test_compress_and_plan(self):
        output = os.path.join(self.folder, "small.bitsmith")
        report = json.loads(self.works(*self.compress_arguments(output, "--json")))
        self.assertFalse(report["resumed"])
        self.assertLessEqual(report["compressed"]["bpw"], 4)
        for figure in ("total_seconds", "estimated_seconds", "survey_seconds", "encode_seconds",
                       "peak_memory_bytes", "estimated_peak_memory_bytes"):
            self.assertGreater(report[figure], 0, figure)
        self.assertEqual(report["compressed"]["file_bytes"], os.path.getsize(output))
        self.assertFalse(os.path.exists(output + ".partial"))
        self.works("inspect", output, "--verify")
        # A file that is coded already is coded again, to fewer bits and to what it is.
        again = os.path.join(self.folder, "again.bitsmith")
        for bits in ("2.5", "4.5"):
            self.works("compress", output, "--bits", bits, "--calibration", self.text, "--set",
                       "calibrate.length=16", "-o", again, "--quiet")
        plan = json.loads(self.works("plan", self.model, "--bits", "4", "--calibration", self.text,
                                     "--set", "calibrate.length=16", "--json", "--quiet"))
        self.assertEqual(plan["compressed"]["tensor_bytes"], report["compressed"]["tensor_bytes"])
        self.assertGreater(plan["estimated_seconds"], plan["survey_seconds"])
        self.assertNotIn("file_bytes", plan["compressed"])
        self.assertGreaterEqual(plan["compressed"]["file_bytes_at_most"], os.path.getsize(output))
        # Recipes that need no survey, and no calibration, have an estimate too.
        for recipe in ("gptq", "nearest"):
            table = self.works("plan", self.model, "--recipe", recipe, "--set", "code.group=32",
                               "--quiet")
            self.assertRegex(table, r"time to compress, estimated +\d")

    @needs_compiler
    def test_damaged_weights_are_found(self):
        path = os.path.join(self.folder, "damaged.bitsmith")
        self.works("compress", self.model, "--recipe", "nearest", "--set", "code.group=32",
                   "--quiet", "-o", path)
        with open(path, "r+b") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(size))
            name = "model.layers.0.mlp.up_proj.weight"
            file.seek(8 + size + header[name]["data_offsets"][0])
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
        for arguments in (["inspect", path, "--verify", "--quiet"],
                          ["eval", path, "--text", self.text, "--quiet"],
                          ["eval", self.model, "--text", self.text, "--against", path, "--quiet"]):
            line = self.fails(4, *arguments)
            self.assertIn(name, line)
            self.assertIn("checksum", line)

    @needs_compiler
    def test_compress_a_gguf_file(self):
        source = os.path.join(self.folder, "source.gguf")
        self.works("export", self.model, "-o", source, "--quiet")
        arguments = ["--recipe", "nearest", "--set", "code.group=32", "--quiet"]
        perplexities = []
        for model in (source, self.model):
            output = os.path.join(self.folder, "of-gguf.bitsmith")
            self.works("compress", model, *arguments, "-o", output)
            report = json.loads(self.works("eval", output, "--text", self.text, "--json"))
            perplexities.append(report["model"]["perplexity"])
        # The same numbers, whose rows lie in another order in the file.
        self.assertEqual(perplexities[0], perplexities[1])
        mix = ["--bits", "4", "--set", "calibrate.length=16", "--set", "calibrate.sequences=4"]
        self.works("compress", source, *mix, "--quiet", "-o", output)
        self.works("inspect", output, "--verify")
        plan = json.loads(self.works("plan", source, *mix, "--quiet", "--json"))
        self.assertLessEqual(plan["compressed"]["bpw"], 4)
        self.assertIn("itself", self.refuses(2, "compress", source, *arguments, "-o", source))
        # Blocks of 32 weights as the file has them, coded to fewer bits.
        self.works("export", self.model, "-o", source, "--type", "q8_0", "--quiet")
        self.works("compress", source, *arguments, "-o", output)
        points = json.loads(self.works("sweep", source, "--bits", "4", "--set",
                                       "calibrate.length=16", "--quiet", "--json"))["points"]
        self.assertEqual([point["bits"] for point in points], [4])

    @needs_compiler
    def test_imatrix(self):
        at = lambda name: os.path.join(self.folder, name)
        arguments = ["--calibration", self.text, "--length", "16", "--quiet"]
        self.assertIn("8 matrices", self.works("imatrix", self.model, *arguments, "-o", at("i.gguf")))
        self.works("imatrix", self.model, *arguments, "-o", at("i.dat"))
        text = self.works("imatrix", "--merge", at("i.dat"), at("i.gguf"), "-o", at("both.gguf"))
        self.assertIn("8 matrices", text)
        self.assertIn("--merge", self.refuses(2, "imatrix", "-o", at("i.gguf")))
        # In place of a text.
        gptq = ["compress", self.model, "--recipe", "gptq", "--set", "code.bits=2", "--quiet"]
        for more, name in ((["--imatrix", at("i.gguf")], "new"), (["--imatrix", at("i.dat")], "old"),
                           (["--imatrix", at("i.gguf"), "--threads", "1"], "again")):
            self.works(*gptq, *more, "-o", at(name))
        self.assertEqual(read_bytes(at("new")), read_bytes(at("again")))
        self.assertIn("more bits", self.refuses(2, "compress", self.model, "--bits", "4", "--imatrix",
                                                at("i.gguf"), "-o", at("x"), "--quiet"))
        self.refuses(2, *gptq, "--imatrix", at("i.gguf"), "--calibration", self.text, "-o", at("x"))
        self.refuses(3, "imatrix", "--merge", at("none.dat"), "-o", at("i.gguf"))

    @needs_compiler
    def test_compare_puts_recipes_side_by_side(self):
        other = os.path.join(self.folder, "other.txt")
        with open(self.text) as file, open(other, "w") as copy:
            copy.write(file.read()[::-1])
        arguments = ["compare", self.model, "--recipes", "nearest,twn,gptq-mix", "--calibration",
                     self.text, "--set", "calibrate.length=16", "--bits", "5", "--quiet", "--text",
                     other]
        report = json.loads(self.works(*arguments, "--json"))
        points = report["points"]
        self.assertEqual([p["recipe"] for p in points], ["nearest", "twn", "gptq-mix"])
        for point in points:
            self.assertGreater(point["quality"]["divergence"]["kl_nats"]["value"], 0)
            self.assertGreater(point["text_tokens_per_s"], 0)
            self.assertLess(point["tensor_bytes"], report["original"]["tensor_bytes"])
        self.assertLessEqual(points[2]["bpw"], 5)
        table = self.works(*arguments)
        for word in ("original", "twn", "KL, nats", "compress time"):
            self.assertIn(word, table)
        self.assertIn("same file", self.fails(2, *arguments[:-1], self.text))
        self.assertIn("--bits", self.fails(2, "compare", self.model, "--recipes", "gptq-mix",
                                           "--text", other))
        self.assertIn("nonsense", self.fails(3, "compare", self.model, "--recipes",
                                             "nearest,nonsense", "--text", other))

    @needs_compiler
    def test_compress_goes_on_after_a_stop(self):
        reference = os.path.join(self.folder, "whole.bitsmith")
        many = ["--set", "calibrate.sequences=48"]
        self.works(*self.compress_arguments(reference, *many))
        with open(reference, "rb") as file:
            expected = file.read()
        for stop, record in ((signal.SIGINT, "survey-0001.json"), (signal.SIGKILL, "survey.json"),
                             (signal.SIGTERM, "block-0000.json")):
            output = os.path.join(self.folder, f"stopped-{stop}.bitsmith")
            arguments = self.compress_arguments(output, *many, "--json")
            process = subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)
            while not os.path.exists(os.path.join(output + ".partial", record)):
                self.assertIsNone(process.poll(), "ended before it was stopped")
            process.send_signal(stop)
            out, error = process.communicate(timeout=60)
            self.assertEqual(out, "")
            self.assertFalse(os.path.exists(output))
            if stop == signal.SIGKILL:
                self.assertEqual(process.returncode, -stop)
            else:
                self.assertEqual(process.returncode, 130)
                self.assertEqual(len(error.splitlines()), 1, error)
                self.assertIn("goes on", error)
            report = json.loads(self.works(*arguments))
            self.assertTrue(report["resumed"])
            self.assertGreater(report["earlier_seconds"], 0)
            with open(output, "rb") as file:
                self.assertEqual(file.read(), expected)
            self.assertFalse(os.path.exists(output + ".partial"))

    def test_compiler_is_looked_for_beside_the_program(self):
        alone = os.path.join(self.folder, "bin")
        os.makedirs(alone)
        program = os.path.join(alone, "bitsmith")
        shutil.copy2(PROGRAM, program)
        libraries = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(PROGRAM))), "lib")
        environment = dict(os.environ, LD_LIBRARY_PATH=libraries)
        arguments = [program, "compress", "model", "--bits", "4"]

        def run():
            return subprocess.run(arguments, capture_output=True, text=True, env=environment)

        result = run()
        self.assertEqual(result.returncode, 3, result)
        self.assertIn("bitsmith-compiler", result.stderr)
        for place in (os.path.join(self.folder, "libexec", "bitsmith"), alone):
            os.makedirs(place, exist_ok=True)
            helper = os.path.join(place, "bitsmith-compiler")
            with open(helper, "w") as file:
                file.write(f"#!/bin/sh\necho {place} \"$@\"\n")
            os.chmod(helper, 0o755)
            self.assertEqual(run().stdout, f"{place} compress model --bits 4\n")

    # Sizes and budgets, as `plan` reads them. The recipe has one way to code, so that nothing is
    # measured: a plan takes no time.

    def plan_arguments(self, *more):
        if not os.path.exists(os.path.join(os.path.dirname(PROGRAM), "bitsmith-compiler")):
            self.skipTest("bitsmith-compiler is not built")
        return ["plan", self.model, "--recipe", "nearest", "--quiet", *more]

    def test_sizes(self):
        for text, size in (("20000", 20000), ("2e4B", 20000), ("20 KB", 20000), ("0.02MB", 20000),
                           ("2e-5GB", 20000), ("0.00000002TB", 20000), (".5KiB", 512),
                           ("0.015625MiB", 16384)):
            error = self.fails(7, *self.plan_arguments("--size", text))
            self.assertIn(f"a file of {size} bytes", error)
        for text in ("180MB", "1.5GiB", "1TiB"):
            self.works(*self.plan_arguments("--size", text))

    def test_sizes_that_are_none(self):
        for text in (" ", "MB", "180MBs", "180mb", "180MB ", "0MB", "0.3B", "1e999", "nan", "infMB",
                     "0x10", "1,5GB", "--5", "five"):
            error = self.fails(2, *self.plan_arguments(f"--size={text}"))
            self.assertIn(f"--size '{text}': expected a size such as 180MB", error)
        self.assertIn("--ram", self.fails(2, *self.plan_arguments("--ram", "lots")))
        self.assertIn("at least 256MiB", self.fails(2, *self.plan_arguments("--ram", "255MiB")))

    def test_bits(self):
        for text in ("40", "6.5", "64"):
            self.works(*self.plan_arguments("--bits", text))
        error = self.fails(7, *self.plan_arguments("--bits", "3.0"))
        self.assertIn("3.000 bits per weight", error)
        for text in ("0", "-1", "65", "nan", "inf"):
            error = self.fails(2, *self.plan_arguments(f"--bits={text}"))
            self.assertIn(f"{text} bits per weight", error)
        for arguments in (["--bits", "three"], ["--bits", ""], ["--size", ""], ["--size="],
                          ["--bits", "3", "--size", "180MB"], ["--threads", "-1"],
                          ["--threads", "100000"]):
            result = bitsmith(*self.plan_arguments(*arguments))
            self.assertEqual(result.returncode, 2, (arguments, result))
            self.assertEqual(result.stdout, "")

    def test_ranges_of_bits(self):
        self.plan_arguments()  # skips
        for text in ("2..", "..6", "6..2", "2..6:0", "2..6:0.001", "2;3", "2,,3", "2,3,", " ",
                     "2..6:1:1", "2,inf"):
            error = self.fails(2, "sweep", self.model, "--quiet", f"--bits={text}")
            self.assertIn(f"--bits '{text}': expected numbers such as 2..6", error)
        # Readable, and refused for what it asks of this recipe.
        for text in ("2..6", "2..6:0.5", "2,2.5,3", "3"):
            error = self.fails(2, "sweep", self.model, "--quiet", "--recipe", "nearest",
                               f"--bits={text}")
            self.assertIn("a sweep needs a recipe that chooses", error)

    # The example

    @unittest.skipUnless(os.path.exists(TRAIN), "the example is not built")
    def test_train(self):
        output = os.path.join(self.folder, "trained")

        def train(*arguments):
            return subprocess.run(
                [TRAIN, "--text", self.text, "--tokenizer", self.model, "--output", output,
                 "--hidden", "16", "--ffn", "16", "--layers", "1", "--heads", "2", "--context", "8",
                 "--batch", "2", "--steps", "3", *arguments],
                capture_output=True, text=True, timeout=300)

        for option, values in (("--steps", ["0", "-3", "x"]), ("--batch", ["0", "-1"]),
                               ("--context", ["0", "100000"]), ("--hidden", ["0", "15", "-16"]),
                               ("--heads", ["0", "3"]), ("--kv-heads", ["0", "3"]),
                               ("--layers", ["0"]), ("--ffn", ["0"]), ("--save-every", ["0"]),
                               ("--rate", ["0", "-1", "nan", "inf"]), ("--weight-decay", ["-1"]),
                               ("--warmup", ["-1"]), ("--seed", ["-1"]), ("--threads", ["-1"])):
            for value in values:
                result = train(option, value)
                self.assertNotIn(result.returncode, (0, -signal.SIGFPE, -signal.SIGABRT), result)
                self.assertFalse(os.path.exists(output), (option, value))
        result = train("--rate", "1e30")
        self.assertEqual(result.returncode, 2, result)
        self.assertIn("no longer finite", result.stderr)
        self.assertFalse(os.path.exists(output))
        result = train()
        self.assertEqual(result.returncode, 0, result)
        self.assertIn("trained", self.works("inspect", output))

    def test_startup_time(self):
        times = []
        for _ in range(10):
            start = time.perf_counter()
            self.works("--version")
            times.append(time.perf_counter() - start)
        print(f"\nstartup: median {1000 * sorted(times)[5]:.1f} ms, "
              f"best {1000 * min(times):.1f} ms", file=sys.stderr)

    @unittest.skipUnless(os.path.isdir(os.path.join(DATA, "llm", "classics-7m")), "no real models")
    def test_real_model(self):
        model = os.path.join(DATA, "llm", "classics-7m")
        text = self.works("run", model, "It was a dark night, and the captain", "-n", "20",
                          "--temperature", "0")
        self.assertTrue(text.startswith("It was a dark night, and the captain"))
        self.assertGreater(len(text.split()), 12)
        self.assertIn("6,819,072", self.works("inspect", model))


if __name__ == "__main__":
    unittest.main()
