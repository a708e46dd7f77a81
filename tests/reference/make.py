"""Makes the tiny T5 backbones beside this file and what transformers and torch compute with them.

    python3.11 -m venv target/peers
    target/peers/bin/pip install torch==2.9.1 transformers==5.23.0 peft==0.21.2 safetensors==0.8.0
    target/peers/bin/python tests/reference/make.py        # writes beside itself; --out DIR to write elsewhere

Three folders in Hugging Face layout, each with a tiny Unigram vocabulary:

  tiny-v1.0          ReLU, tied and scaled, 2 + 3 layers, float32
  tiny-v1.1          gated GELU, untied, 2 + 2 layers, heads narrower than d_model, other position buckets, bfloat16
  tiny-v1.1-sharded  the same values as float16 in shards, as transformers 5 saves them again: its config.json says that
                     the embeddings are tied, though lm_head.weight is there

The first two hold, computed in float32 with eager attention on one thread:

  expected.safetensors   a ragged batch, padded on the right with 0
    input_ids, attention_mask [4, source]     decoder_input_ids, labels [4, target] (labels: -100 on padding)
    encoder_last_hidden_state [4, source, d]  zero on padding, where the values mean nothing
    logits [4, target, vocabulary], loss []   teacher forced; loss is the mean over labels that are not -100
    greedy_ids [4, new]                       without the start token, 0 behind </s>
  deltas.safetensors     the backbone with delta modules of every kind, by the formulas of `structure::Kind`
    <position>.<kind>.<tensor>                random parameters, shared by the cases below
    input_ids, attention_mask, decoder_input_ids, labels
    <case>/logits                             per case; `cases` in the metadata lists the modules of each
    mixed/loss, mixed/greedy_ids, mixed/gradient/<position>.<kind>.<tensor>       every module at once
  peft-lora/             the case `lora` as PEFT saves it, its logits compared with the case when made

Random T5s hide errors (norm weights of 1, position bias near 0, a tied v1.0 that repeats its last token for ever), so
norms, biases and output layers are drawn wider than at a usual start. Source rows are chosen, among random ones, such
that greedy decoding ends at different steps and never has two best scores close together.
"""

import argparse
import importlib.metadata
import json
import math
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import T5ForConditionalGeneration, logging

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
}  # fmt: skip


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
    }


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
            if index == 0:
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
        weights["lm_head.weight"] = normal(config["vocab_size"], d, std=3.0 * d**-0.5)
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
    write_json(folder / "tokenizer.json", make_tokenizer())


def write_shards(folder, source):
    """The backbone in `source`, saved again by transformers as float16 in shards."""
    shutil.rmtree(folder, ignore_errors=True)
    model = load(source).half()
    model.save_pretrained(folder, max_shard_size="48KB")
    shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")


def save(path, tensors, metadata):
    """One metadata field at most: safetensors writes several in an order that changes from run to run."""
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, path, metadata)


def load(folder):
    model = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
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
            ids = torch.randint(3, VOCABULARY, (128, length), generator=draw)
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
    targets = [torch.randint(3, VOCABULARY, (n - 1,), generator=draw).tolist() + [1] for n in variant["target"]]
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


# Delta modules. H_out = m(H_in) + sum of the parallel kinds' deltas of H_in, then + the sequential kinds' of that.


def cases(gated):
    """Case -> modules, as `structure::DeltaModule` reads them. No module is in two cases."""
    wi = "wi_1" if gated else "wi"
    norms = ["encoder.block.1.layer.0.layer_norm", "encoder.final_layer_norm", "decoder.block.0.layer.1.layer_norm"]
    norms += ["decoder.block.1.layer.0.layer_norm", "decoder.block.1.layer.2.layer_norm", "decoder.final_layer_norm"]
    blocks = ["encoder.block.0.layer.0.SelfAttention", "encoder.block.1.layer.1.DenseReluDense"]
    blocks += ["decoder.block.1.layer.0.SelfAttention", "decoder.block.0.layer.1.EncDecAttention"]
    blocks += ["decoder.block.1.layer.2.DenseReluDense"]
    linears = {
        "lora": [
            "encoder.block.0.layer.0.SelfAttention.q", "encoder.block.1.layer.1.DenseReluDense.wo",
            "decoder.block.0.layer.0.SelfAttention.o", "decoder.block.1.layer.1.EncDecAttention.k",
            "decoder.block.1.layer.1.EncDecAttention.v", f"decoder.block.0.layer.2.DenseReluDense.{wi}", "lm_head",
        ],
        "bitfit": [
            "encoder.block.0.layer.0.SelfAttention.v", f"encoder.block.1.layer.1.DenseReluDense.{wi}",
            "decoder.block.0.layer.0.SelfAttention.k", "decoder.block.0.layer.1.EncDecAttention.q",
            "decoder.block.1.layer.1.EncDecAttention.v", "decoder.block.1.layer.2.DenseReluDense.wo", "lm_head",
        ],
    }  # fmt: skip
    at = lambda positions, kind, **how: [{"position": position, "kind": kind, **how} for position in positions]
    found = {
        "lora": at(linears["lora"], "lora", rank=2, alpha=16.0),
        "bitfit_linear": at(linears["bitfit"], "bitfit"),
        "bitfit_norm": at(norms, "bitfit"),
        "lnfit": at(norms, "lnfit"),
        "low_rank_adapter": at(blocks, "low_rank_adapter", bottleneck=4, rank=2),
        "adapter": at(blocks, "adapter", bottleneck=4),
        "parallel_adapter": at(blocks, "parallel_adapter", bottleneck=4),
    }
    return {**found, "mixed": [module for modules in found.values() for module in modules]}


def make_parameters(model, module, draw):
    """Tensor name -> random values, large enough that each module moves the logits."""
    place = model.get_submodule(module["position"])
    normal = lambda *shape, std: (torch.randn(*shape, generator=draw) * std).requires_grad_()
    d, kind, k, r = model.config.d_model, module["kind"], module.get("bottleneck"), module.get("rank")
    if kind == "lora":
        d_out, d_in = place.weight.shape
        return {"a": normal(d_in, r, std=d_in**-0.5), "b": normal(r, d_out, std=0.1)}
    if kind in ("bitfit", "lnfit"):
        return {"bias" if kind == "bitfit" else "scale": normal(place.weight.shape[0], std=0.3)}
    down_bias, up_bias = {"down_bias": normal(k, std=0.3)}, {"up_bias": normal(d, std=0.3)}
    if kind == "low_rank_adapter":
        down = {"down_left": normal(d, r, std=d**-0.5), "down_right": normal(r, k, std=1.0)}
        return {**down, **down_bias, "up_left": normal(k, r, std=0.5), "up_right": normal(r, d, std=0.5), **up_bias}
    return {"down": normal(d, k, std=d**-0.5), **down_bias, "up": normal(k, d, std=0.4), **up_bias}


def delta(module, p, x):
    """Δ of the input of the place (LoRA, LNFit, parallel adapter) or of its output (the others)."""
    gelu = lambda h: F.gelu(h, approximate="tanh")
    match module["kind"]:
        case "lora":
            return (module["alpha"] / module["rank"]) * (x @ p["a"] @ p["b"])
        case "bitfit":
            return p["bias"]
        case "lnfit":
            return p["scale"] * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
        case "low_rank_adapter":
            hidden = gelu(x @ p["down_left"] @ p["down_right"] + p["down_bias"])
            return hidden @ p["up_left"] @ p["up_right"] + p["up_bias"]
        case _:
            return gelu(x @ p["down"] + p["down_bias"]) @ p["up"] + p["up_bias"]


def attach(model, modules, parameters):
    """Wraps the forward functions at the modules' positions."""
    places = {}
    for module in modules:
        places.setdefault(module["position"], []).append(module)
    for position, here in places.items():
        place = model.get_submodule(position)
        parallel = [m for m in here if m["kind"] in ("lora", "lnfit", "parallel_adapter")]
        sequential = [m for m in here if m not in parallel]

        def forward(x, *args, inner=place.forward, parallel=parallel, sequential=sequential, **kwargs):
            out = inner(x, *args, **kwargs)
            y, rest = (out[0], out[1:]) if isinstance(out, tuple) else (out, None)
            y = y + sum(delta(m, parameters[name_of(m)], x) for m in parallel)
            y = y + sum(delta(m, parameters[name_of(m)], y) for m in sequential)
            return y if rest is None else (y, *rest)

        place.forward = forward


def name_of(module):
    return f"{module['position']}.{module['kind']}"


def deltas(folder, inputs, draw):
    found = cases(load(folder).config.is_gated_act)
    base = load(folder)
    parameters = {name_of(module): make_parameters(base, module, draw) for module in found["mixed"]}
    flat = {f"{at}.{name}": tensor for at, tensors in parameters.items() for name, tensor in tensors.items()}
    tensors, before = {**inputs, **flat}, base(**inputs).logits
    for case, modules in found.items():
        model = load(folder)
        attach(model, modules, parameters)
        out = model(**inputs)
        tensors[f"{case}/logits"] = out.logits
        change = (out.logits - before).abs().max().item()
        assert change > 0.1, f"{case} changes the logits by {change} only"
        print(f"  {case}: {len(modules)} modules move the logits by up to {change:.2f}")
        if case == "mixed":
            out.loss.backward()
            new, gaps = greedy(model, inputs["input_ids"], inputs["attention_mask"])
            assert gaps.min() > 0.01, f"{gaps.min()}: take another delta_seed"
            tensors |= {"mixed/loss": out.loss, "mixed/greedy_ids": new}
            tensors |= {f"mixed/gradient/{name}": parameter.grad for name, parameter in flat.items()}
    peft_lora(folder, found["lora"], parameters, inputs, tensors["lora/logits"])
    return tensors, found


def peft_lora(folder, modules, parameters, inputs, logits):
    """Saves the case `lora` by PEFT and compares PEFT's own logits with ours."""
    from peft import LoraConfig, get_peft_model

    out = folder / "peft-lora"
    shutil.rmtree(out, ignore_errors=True)
    positions = [module["position"] for module in modules]
    config = LoraConfig(task_type="SEQ_2_SEQ_LM", r=2, lora_alpha=16, lora_dropout=0.0, target_modules=positions)
    model = get_peft_model(load(folder), config).eval()
    with torch.no_grad():
        for position in positions:
            place, p = model.get_submodule(f"base_model.model.{position}"), parameters[f"{position}.lora"]
            place.lora_A["default"].weight.copy_(p["a"].T)
            place.lora_B["default"].weight.copy_(p["b"].T)
        difference = (model(**inputs).logits - logits).abs().max().item()
    assert difference < 5e-5, difference
    print(f"  peft-lora: differs from the case lora by {difference:.1e}")
    model.save_pretrained(out, save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)
    settings = json.loads((out / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = folder.name
    settings["target_modules"] = sorted(settings["target_modules"])  # a set, saved in an order of its own
    write_json(out / "adapter_config.json", settings)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent)
    out = arguments.parse_args().out
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "peft", "safetensors")}
    print(versions)
    for name, variant in VARIANTS.items():
        print(name)
        folder, draw = out / name, torch.Generator().manual_seed(variant["seed"] + 100)
        config = make_config(variant)
        write_backbone(folder, config, make_weights(config, variant["seed"]))
        tensors, inputs = expected(load(folder), variant, draw)
        save(folder / "expected.safetensors", tensors, {"made": json.dumps(versions)})
        tensors, found = deltas(folder, inputs, torch.Generator().manual_seed(variant["delta_seed"]))
        save(folder / "deltas.safetensors", tensors, {"made": json.dumps({**versions, "cases": found})})
    write_shards(out / "tiny-v1.1-sharded", out / "tiny-v1.1")
    files = [path for path in out.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(0o644)
    size = sum(path.stat().st_size for path in files)
    print(f"{size / 1000:.0f} kB in {out}")


if __name__ == "__main__":
    main()
