"""The tiny backbones of `make.py`, and what transformers computes with them."""

import json
import math
import shutil

import torch
from safetensors.torch import save_file
from transformers import AutoModelForSeq2SeqLM

WORDS = "the a of to is it and film good bad not was very dull great this that plot an in for with".split()
EXTRA = 8
VOCABULARY = 96  # rows of the embedding: more than the tokenizer's pieces, as in the published checkpoints
NEW_TOKENS = 24
VARIANTS = {
    "tiny-v1.0": {
        "seed": 3, "delta_seed": 1, "heads": 4, "d_kv": 4, "layers": (2, 3), "buckets": 32, "distance": 128, "dtype": "float32",
        "source": (132, 48, 9, 26), "target": (24, 12, 5, 16), "feed_forward": "relu",
    },
    "tiny-v1.1": {
        "seed": 1, "delta_seed": 1, "heads": 3, "d_kv": 8, "layers": (2, 2), "buckets": 16, "distance": 24, "dtype": "bfloat16",
        "source": (60, 40, 9, 26), "target": (24, 12, 5, 16), "feed_forward": "gated-gelu",
    },
    "tiny-v1.1-tied": {
        "seed": 5, "heads": 3, "d_kv": 6, "layers": (2, 1), "buckets": 16, "distance": 24, "dtype": "float16",
        "source": (36, 20, 9, 26), "target": (12, 9, 5, 11), "feed_forward": "gated-gelu",
        "config": {"d_model": 16, "d_ff": 24, "vocab_size": 64, "tie_word_embeddings": True}, "saved_again": True,
    },
    "tiny-mt5": {
        "seed": 6, "heads": 2, "d_kv": 6, "layers": (2, 2), "buckets": 16, "distance": 24, "dtype": "bfloat16",
        "source": (36, 20, 9, 26), "target": (12, 9, 5, 11), "feed_forward": "gated-gelu",
        "config": {"architectures": ["MT5ForConditionalGeneration"], "model_type": "mt5",
                   "d_model": 16, "d_ff": 24, "vocab_size": 64},
    },
    "tiny-umt5": {
        "seed": 14, "heads": 3, "d_kv": 6, "layers": (3, 2), "buckets": 16, "distance": 24, "dtype": "bfloat16",
        "source": (36, 20, 9, 26), "target": (12, 9, 5, 11), "feed_forward": "gated-gelu",
        "config": {"architectures": ["UMT5ForConditionalGeneration"], "model_type": "umt5",
                   "d_model": 16, "d_ff": 24, "vocab_size": 64},
    },
    "tiny-byt5": {
        "seed": 23, "heads": 2, "d_kv": 6, "layers": (3, 1), "buckets": 16, "distance": 24, "dtype": "float16",
        "source": (36, 20, 9, 26), "target": (8, 6, 4, 7), "feed_forward": "gated-gelu",
        "config": {"d_model": 16, "d_ff": 24, "vocab_size": 384},
    },
}  # fmt: skip
# feed-forward layers that no variant above has: what config.json says -> by which weights
ACTIVATIONS = {
    "gelu": ("plain", {"feed_forward_proj": "gelu"}),
    "gelu_new": ("plain", {"feed_forward_proj": "gelu_new"}),
    "silu": ("plain", {"feed_forward_proj": "silu"}),
    "gated-relu": ("gated", {"feed_forward_proj": "gated-relu"}),
    "gated-silu": ("gated", {"feed_forward_proj": "gated-silu"}),
    "gated gelu by dense_act_fn": ("gated", {"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu"}),
}


def make_tokenizer():
    """tokenizer.json with T5's pipeline (but for the Unicode table) and about 90 pieces."""
    letters = "etaoinshrdlucmfwygpbvkxqjz"
    pieces = [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["▁", -2.0]]
    pieces += [[f"▁{word}", -3.0 - 0.1 * i] for i, word in enumerate(WORDS)]
    pieces += [[ending, -4.0 - 0.1 * i] for i, ending in enumerate(["s", "ed", "ing", "er", "ly", "'", ".", ",", ":"])]
    pieces += [[letter, -5.0 - 0.1 * i] for i, letter in enumerate(letters) if letter != "s"]
    pieces += [[digit, -8.0] for digit in "0123456789"]
    pieces += [[f"<extra_id_{i}>", 0.0] for i in reversed(range(EXTRA))]
    special = [0, 1, 2, *range(len(pieces) - EXTRA, len(pieces))]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    end = {"SpecialToken": {"id": "</s>", "type_id": 0}}
    a, b = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": pieces[i][0], **flags} for i in special],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [a, end],
            "pair": [a, end, b, end],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": 2, "vocab": pieces, "byte_fallback": False},
    }


def make_config(variant):
    gated = variant["feed_forward"].startswith("gated")
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "is_encoder_decoder": True,
        "d_model": 32,
        "d_kv": variant["d_kv"],
        "num_heads": variant["heads"],
        "num_layers": variant["layers"][0],
        "num_decoder_layers": variant["layers"][1],
        "d_ff": 40,
        "feed_forward_proj": variant["feed_forward"],
        "tie_word_embeddings": not gated,
        "vocab_size": VOCABULARY,
        "relative_attention_num_buckets": variant["buckets"],
        "relative_attention_max_distance": variant["distance"],
        "layer_norm_epsilon": 1e-6,
        "dropout_rate": 0.1,
        "initializer_factor": 1.0,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "use_cache": True,
        "torch_dtype": variant["dtype"],
    } | variant.get("config", {})


def make_weights(config, seed):
    """Name -> float32 tensor. Values are drawn in a fixed order from one generator."""
    draw = torch.Generator().manual_seed(seed)
    normal = lambda *shape, std: torch.randn(*shape, generator=draw) * std
    d, inner = config["d_model"], config["num_heads"] * config["d_kv"]
    gated = config["feed_forward_proj"].startswith("gated")
    norm = lambda: 0.5 + torch.rand(d, generator=draw)
    weights = {"shared.weight": normal(config["vocab_size"], d, std=1.0)}

    def attention(at, q, o):
        for name, std in (("q", q * (d * config["d_kv"]) ** -0.5), ("k", d**-0.5), ("v", d**-0.5)):
            weights[f"{at}.{name}.weight"] = normal(inner, d, std=std)
        weights[f"{at}.o.weight"] = normal(d, inner, std=o * inner**-0.5)

    for stack, layers in (("encoder", config["num_layers"]), ("decoder", config["num_decoder_layers"])):
        for index in range(layers):
            at = f"{stack}.block.{index}.layer"
            attention(f"{at}.0.SelfAttention", q=1.0, o=1.0)
            if index == 0 or config["model_type"] == "umt5":
                bias = normal(config["relative_attention_num_buckets"], config["num_heads"], std=1.0)
                weights[f"{at}.0.SelfAttention.relative_attention_bias.weight"] = bias
            weights[f"{at}.0.layer_norm.weight"] = norm()
            if stack == "decoder":  # the source must have a say in what is generated
                attention(f"{at}.1.EncDecAttention", q=2.0, o=4.0 * layers**-0.5)
                weights[f"{at}.1.layer_norm.weight"] = norm()
            last = 2 if stack == "decoder" else 1
            for name in ("wi_0", "wi_1") if gated else ("wi",):
                weights[f"{at}.{last}.DenseReluDense.{name}.weight"] = normal(config["d_ff"], d, std=d**-0.5)
            wo = normal(d, config["d_ff"], std=(2.0 if stack == "decoder" else 1.0) * config["d_ff"] ** -0.5)
            # rows that sum to 0: ReLU otherwise adds the same vector at every place
            weights[f"{at}.{last}.DenseReluDense.wo.weight"] = wo - wo.mean(1, keepdim=True)
            weights[f"{at}.{last}.layer_norm.weight"] = norm()
        weights[f"{stack}.final_layer_norm.weight"] = norm()
    # random signs break the copying of the last token that a tied output layer leads to
    weights["decoder.final_layer_norm.weight"] *= torch.randint(0, 2, (d,), generator=draw) * 2.0 - 1.0
    if config["tie_word_embeddings"]:
        weights["decoder.final_layer_norm.weight"] *= 3.0
    else:
        scaled = config["model_type"] == "umt5"  # transformers multiplies its outputs by d^-1/2, tied or not
        weights["lm_head.weight"] = normal(config["vocab_size"], d, std=3.0 if scaled else 3.0 * d**-0.5)
    if config["torch_dtype"] == "bfloat16":  # what bfloat16 and float16 both hold exactly
        for name, tensor in weights.items():
            weights[name] = torch.where(tensor.abs() < 2.0**-14, 0.0, tensor).bfloat16().float()
    return weights


def write_json(path, content):
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_backbone(folder, config, weights):
    folder.mkdir(parents=True, exist_ok=True)
    dtype = getattr(torch, config["torch_dtype"])
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in weights.items()}
    save(folder / "model.safetensors", tensors, {"format": "pt"})
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0})
    if config["vocab_size"] == VOCABULARY:
        write_json(folder / "tokenizer.json", make_tokenizer())


def write_shards(folder, source):
    """The backbone in `source`, saved again by transformers as float16 in shards."""
    shutil.rmtree(folder, ignore_errors=True)
    model = load(source).half()
    model.save_pretrained(folder, max_shard_size="48KB")
    shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")


def save_again(folder):
    """The backbone as transformers 5 saves it: other fields in config.json, in another order."""
    load(folder, getattr(torch, json.loads((folder / "config.json").read_text())["torch_dtype"])).save_pretrained(folder)


def save(path, tensors, metadata):
    """One metadata field at most: safetensors writes several in an order that changes from run to run."""
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, path, metadata)


def load(folder, dtype=torch.float32):
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    return model.eval().requires_grad_(False)


def padded(rows, fill=0):
    width = max(map(len, rows))
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])


def greedy(model, ids, mask):
    """(new ids without the start token, the gap between the two best scores up to each row's end).

    Without a cache: transformers 5.23 sizes it by the encoder's layers, which fails where the decoder has more.
    """
    out = model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, num_beams=1,
        use_cache=False, output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    new = out.sequences[:, 1:]
    best = torch.stack(out.logits, 1).topk(2).values
    behind_end = (new == 1).cumsum(1) - (new == 1).long() > 0
    return new, (best[..., 0] - best[..., 1]).masked_fill(behind_end, math.inf)


def varied(new):
    return new.unique().numel() > 5


def choose_sources(model, lengths, draw):
    """One row per length: the first ends early, two later, one never; scores never close."""
    ends = [range(12, 17), range(17, 23), range(3, 9), range(NEW_TOKENS, NEW_TOKENS + 1)]
    rows = []
    for length, wanted in zip(lengths, ends):
        for _ in range(8):
            ids = torch.randint(3, model.config.vocab_size, (128, length), generator=draw)
            ids[:, -1] = 1
            new, gaps = greedy(model, ids, torch.ones_like(ids))
            steps = torch.where((new == 1).any(1), (new == 1).int().argmax(1), NEW_TOKENS).tolist()
            good = [i for i, gap in enumerate(gaps) if steps[i] in wanted and gap.min() > 0.02 and varied(new[i])]
            if good:
                rows.append(ids[good[0]].tolist())
                break
        else:
            raise SystemExit(f"no row of {length} ids ends within {wanted}: take another seed")
    return rows


def batch(sources, targets):
    labels = padded(targets, fill=-100)
    start = torch.zeros(len(targets), 1, dtype=torch.long)
    return {
        "input_ids": padded(sources),
        "attention_mask": padded([[1] * len(row) for row in sources]),
        "decoder_input_ids": torch.cat([start, labels[:, :-1].clamp_min(0)], dim=1),
        "labels": labels,
    }


def expected(model, variant, draw):
    sources = choose_sources(model, variant["source"], draw)
    targets = [torch.randint(3, model.config.vocab_size, (n - 1,), generator=draw).tolist() + [1] for n in variant["target"]]
    inputs = batch(sources, targets)
    out = model(**inputs)
    new, gaps = greedy(model, inputs["input_ids"], inputs["attention_mask"])
    assert gaps.min() > 0.01, gaps.min()
    tensors = {
        **inputs,
        "encoder_last_hidden_state": out.encoder_last_hidden_state * inputs["attention_mask"][..., None],
        "logits": out.logits,
        "loss": out.loss,
        "greedy_ids": new,
    }
    ends = [(row == 1).nonzero().flatten().tolist() for row in new]
    print(f"  loss {out.loss:.4f}, </s> at {ends}, smallest gap {gaps.min():.3f}")
    return tensors, batch(sources[2:], [row[-5:] for row in targets[2:]])


def activations(out, versions):
    """Logits with each of `ACTIVATIONS`, over one small model with `wi` and one with `wi_0` and `wi_1`."""
    variant = {"seed": 9, "heads": 2, "d_kv": 4, "layers": (1, 1), "buckets": 8, "distance": 12, "dtype": "float32"}
    draw = torch.Generator().manual_seed(variant["seed"])
    sizes = {"d_model": 8, "d_ff": 12, "vocab_size": 24}
    row = lambda length: torch.randint(3, sizes["vocab_size"], (length,), generator=draw).tolist()
    tensors = batch([row(9), row(6)], [row(7), row(4)])
    for weights, feed_forward in (("plain", "relu"), ("gated", "gated-gelu")):
        config = make_config({**variant, "feed_forward": feed_forward, "config": sizes})
        write_backbone(out / weights, config, make_weights(config, variant["seed"]))
    for name, (weights, changes) in ACTIVATIONS.items():
        folder = out / weights
        config = json.loads((folder / "config.json").read_text())
        write_json(folder / "config.json", config | changes)
        tensors[f"{name}/logits"] = load(folder)(**{k: v for k, v in tensors.items() if "/" not in k}).logits
        write_json(folder / "config.json", config)
    pairs = [(a, b) for a in ACTIVATIONS for b in ACTIVATIONS if a < b and ACTIVATIONS[a][0] == ACTIVATIONS[b][0]]
    apart = min((tensors[f"{a}/logits"] - tensors[f"{b}/logits"]).abs().max().item() for a, b in pairs)
    assert apart > 1e-3, f"two activations differ by {apart} only"
    print(f"  {len(ACTIVATIONS)} activations, any two at least {apart:.1e} apart")
    save(out / "expected.safetensors", tensors, {"made": json.dumps({**versions, "cases": ACTIVATIONS})})
