#!/usr/bin/env python3
"""Logits of a Llama or Gemma 1 to 3, computed with NumPy in float64, independent of bitsmith's C++.

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


def rotate(x, theta, stretch=1.0):  # x [T, H, D], rotate-half
    time, _, size = x.shape
    half = size // 2
    angles = np.outer(np.arange(time), theta ** (-np.arange(half) / half) / stretch)[:, None, :]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate(
        [a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], -1)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def cap(x, bound):
    return bound * np.tanh(x / bound) if bound else x


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def round_to_bf16(x):
    bits = int(np.float32(x).view(np.uint32))
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return float(np.uint32(bits).view(np.float32))


def gemma_logits(config, w, tokens):
    """gemma, gemma2, gemma3_text as transformers' modeling files compute them."""
    kind = config["model_type"]
    heads, kv_heads, size = (
        config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"])

    def norm(x, name):
        return rms_norm(x, 1 + w[name + ".weight"], config["rms_norm_eps"])

    embedding = w["model.embed_tokens.weight"]
    scale = config["hidden_size"] ** 0.5
    h = embedding[tokens] * (round_to_bf16(scale) if config["torch_dtype"] == "bfloat16" else scale)
    time = len(tokens)
    behind = np.arange(time)[:, None] - np.arange(time)[None, :]  # query position - key position
    for i in range(config["num_hidden_layers"]):
        p = f"model.layers.{i}."
        local = kind != "gemma" and (i + 1) % config["sliding_window_pattern"] != 0
        theta, stretch = config["rope_theta"], 1.0
        if kind == "gemma3_text":
            theta, stretch = (
                (config["rope_local_base_freq"], 1.0) if local
                else (theta, config["rope_scaling"]["factor"]))
        x = norm(h, p + "input_layernorm")
        q = (x @ w[p + "self_attn.q_proj.weight"].T).reshape(time, heads, size)
        k = (x @ w[p + "self_attn.k_proj.weight"].T).reshape(time, kv_heads, size)
        v = (x @ w[p + "self_attn.v_proj.weight"].T).reshape(time, kv_heads, size)
        if kind == "gemma3_text":
            q, k = norm(q, p + "self_attn.q_norm"), norm(k, p + "self_attn.k_norm")
        q, k = rotate(q, theta, stretch), rotate(k, theta, stretch)
        seen = behind >= 0
        if local:
            seen &= behind < config["sliding_window"]
        mixed = np.empty_like(q)
        for head in range(heads):
            group = head // (heads // kv_heads)
            scores = q[:, head] @ k[:, group].T * config.get("query_pre_attn_scalar", size) ** -0.5
            scores = cap(scores, config.get("attn_logit_softcapping"))
            mixed[:, head] = softmax(np.where(seen, scores, -np.inf)) @ v[:, group]
        x = mixed.reshape(time, -1) @ w[p + "self_attn.o_proj.weight"].T
        if kind == "gemma":
            h = h + x
            x = norm(h, p + "post_attention_layernorm")
        else:
            h = h + norm(x, p + "post_attention_layernorm")
            x = norm(h, p + "pre_feedforward_layernorm")
        gate = gelu(x @ w[p + "mlp.gate_proj.weight"].T)
        x = (gate * (x @ w[p + "mlp.up_proj.weight"].T)) @ w[p + "mlp.down_proj.weight"].T
        h = h + (x if kind == "gemma" else norm(x, p + "post_feedforward_layernorm"))
    return cap(norm(h, "model.norm") @ embedding.T, config.get("final_logit_softcapping"))


def logits(folder, tokens):
    config = json.load(open(f"{folder}/config.json"))
    w = read_safetensors(f"{folder}/model.safetensors")
    if config["model_type"].startswith("gemma"):
        return gemma_logits(config, w, tokens)
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
