#!/usr/bin/env python3
"""Logits of a Llama-type model, computed with NumPy in float64, independent of bitsmith's C++.

    llama.py MODEL_FOLDER TOKENS LOGITS [LOGITS...]

TOKENS: int32 token ids.  LOGITS: float32 [tokens, vocabulary] files to compare with.  Fails if one
differs by more than 1e-3 of the largest logit.
"""
import json
import struct
import sys

import numpy as np


def read_safetensors(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = data[begin:end]
        if entry["dtype"] == "BF16":
            bits = np.frombuffer(raw, dtype="<u2").astype(np.uint32) << 16
            values = bits.view(np.float32)
        else:
            values = np.frombuffer(raw, dtype={"F32": "<f4", "F16": "<f2"}[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"]).astype(np.float64)
    return tensors


def rms_norm(x, weight, epsilon):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight


def rotate(x, theta):  # x [T, H, D], rotate-half
    time, _, size = x.shape
    half = size // 2
    angles = np.outer(np.arange(time), theta ** (-np.arange(half) / half))[:, None, :]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate(
        [a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], -1)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def logits(folder, tokens):
    config = json.load(open(f"{folder}/config.json"))
    w = read_safetensors(f"{folder}/model.safetensors")
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    epsilon, theta = config["rms_norm_eps"], config["rope_theta"]
    # A tied matrix is stored under either name.
    embedding = w.get("model.embed_tokens.weight", w.get("lm_head.weight"))
    h = embedding[tokens]
    time = len(tokens)
    mask = np.triu(np.full((time, time), -np.inf), 1)
    for i in range(config["num_hidden_layers"]):
        p = f"model.layers.{i}."
        x = rms_norm(h, w[p + "input_layernorm.weight"], epsilon)
        q = rotate((x @ w[p + "self_attn.q_proj.weight"].T).reshape(time, heads, size), theta)
        k = rotate((x @ w[p + "self_attn.k_proj.weight"].T).reshape(time, kv_heads, size), theta)
        v = (x @ w[p + "self_attn.v_proj.weight"].T).reshape(time, kv_heads, size)
        mixed = np.empty_like(q)
        for head in range(heads):
            group = head // (heads // kv_heads)
            scores = q[:, head] @ k[:, group].T / np.sqrt(size) + mask
            mixed[:, head] = softmax(scores) @ v[:, group]
        h = h + mixed.reshape(time, -1) @ w[p + "self_attn.o_proj.weight"].T
        x = rms_norm(h, w[p + "post_attention_layernorm.weight"], epsilon)
        gate = x @ w[p + "mlp.gate_proj.weight"].T
        up = x @ w[p + "mlp.up_proj.weight"].T
        h = h + (gate / (1 + np.exp(-gate)) * up) @ w[p + "mlp.down_proj.weight"].T
    h = rms_norm(h, w["model.norm.weight"], epsilon)
    return h @ (embedding if config["tie_word_embeddings"] else w["lm_head.weight"]).T


def main():
    folder, tokens_file, *files = sys.argv[1:]
    expected = logits(folder, np.fromfile(tokens_file, dtype="<i4"))
    failed = False
    for name in files:
        got = np.fromfile(name, dtype="<f4").reshape(expected.shape)
        error = np.abs(got - expected).max() / np.abs(expected).max()
        print(f"{name}: largest difference {error:.2e} of the largest logit")
        failed = failed or not error < 1e-3
    sys.exit(failed)


if __name__ == "__main__":
    main()
