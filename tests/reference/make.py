"""Makes the tiny T5 backbones beside this file and what transformers and torch compute with them.

    python3.11 -m venv target/peers
    target/peers/bin/pip install torch==2.9.1 transformers==5.23.0 peft==0.21.2 safetensors==0.8.0 sentencepiece==0.2.3 protobuf
    target/peers/bin/python tests/reference/make.py        # writes beside itself; --out DIR to write elsewhere

Folders in Hugging Face layout, the first three with a tiny Unigram vocabulary:

  tiny-v1.0          ReLU, tied and scaled, 2 + 3 layers, float32
  tiny-v1.1          gated GELU, untied, 2 + 2 layers, heads narrower than d_model, other position buckets, bfloat16
  tiny-v1.1-sharded  the same values as float16 in shards, as transformers 5 saves them again: its config.json says that
                     the embeddings are tied, though lm_head.weight is there
  tiny-v1.1-tied     gated GELU, tied and scaled, 2 + 1 layers, float16 as transformers 5 saves it
  tiny-mt5           gated GELU, untied, 2 + 2 layers, bfloat16
  tiny-umt5          the same with a position bias in every block, 3 + 2 layers, outputs scaled though untied
  tiny-byt5          gated GELU, untied, 3 + 1 layers, a row for every byte, float16
  tiny-activations   feed-forward layers with other functions: `plain` and `gated` hold the weights, expected.safetensors
                     a batch and <case>/logits; `cases` in its metadata has the weights and the changes of config.json

All but the shards and the activations hold, computed in float32 with eager attention on one thread:

  expected.safetensors   a ragged batch, padded on the right with 0
    input_ids, attention_mask [4, source]     decoder_input_ids, labels [4, target] (labels: -100 on padding)
    encoder_last_hidden_state [4, source, d]  zero on padding, where the values mean nothing
    logits [4, target, vocabulary], loss []   teacher forced; loss is the mean over labels that are not -100
    greedy_ids [4, new]                       without the start token, 0 behind </s>

The first two also hold:

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
import pathlib
import sys

sys.path.append(sys.path.pop(0))  # this folder behind the libraries, whose names files here may bear

import torch
from backbones import (
    VARIANTS, activations, expected, load, make_config, make_weights, save, save_again, write_backbone, write_shards,
)  # fmt: skip
from deltas import deltas
from transformers import logging


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
        if variant.get("saved_again"):
            save_again(folder)
        tensors, inputs = expected(load(folder), variant, draw)
        save(folder / "expected.safetensors", tensors, {"made": json.dumps(versions)})
        if "delta_seed" in variant:
            tensors, found = deltas(folder, inputs, torch.Generator().manual_seed(variant["delta_seed"]))
            save(folder / "deltas.safetensors", tensors, {"made": json.dumps({**versions, "cases": found})})
    write_shards(out / "tiny-v1.1-sharded", out / "tiny-v1.1")
    print("tiny-activations")
    activations(out / "tiny-activations", versions)
    files = [path for path in out.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(0o644)
    size = sum(path.stat().st_size for path in files)
    print(f"{size / 1000:.0f} kB in {out}")


if __name__ == "__main__":
    main()
