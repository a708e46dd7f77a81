"""Pre-training steps of the model of a pretrain.toml in torch on CPU: forward, backward, clip, AdamW, float32.

    python benches/peers/pretrain_step.py --config models/pocket-t5/pretrain.toml --steps 8 --threads 2

Rows are random ids of the lengths that span corruption gives, so nothing of reading or drawing text is timed here; ours, timed
by `s3delta pretrain`, has that too. Prints one JSON line; tokens_per_s counts source and target tokens, as ours does.
"""

import argparse
import json
import os
import statistics
import time
import tomllib

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from transformers import T5Config, T5ForConditionalGeneration


def target_tokens(source_tokens, density, mean_span):
    """The target's length for sources of a length, as t5's random_spans_helper."""

    def lengths(raw):
        noise = min(max(round(raw * density), 1), raw - 1)
        spans = max(round(noise / mean_span), 1)
        return raw - noise + spans + 1, noise + spans + 1

    raw = source_tokens - 1
    while lengths(raw + 1)[0] <= source_tokens:
        raw += 1
    return lengths(raw)[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    with open(args.config, "rb") as file:
        settings = tomllib.load(file)
    shape, corruption, training = settings["model"], settings["corruption"], settings["training"]
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=settings["vocabulary"]["size"],
            d_model=shape["d_model"],
            d_kv=shape["d_kv"],
            num_heads=shape["num_heads"],
            d_ff=shape["d_ff"],
            num_layers=shape["encoder_layers"],
            num_decoder_layers=shape["decoder_layers"],
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            dropout_rate=0.0,
            decoder_start_token_id=0,
        )
    ).train()
    rows, source = training["batch_size"], corruption["source_tokens"]
    target = target_tokens(source, corruption["density"], corruption["mean_span"])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    times = []
    for step in range(args.steps + 1):
        ids = torch.randint(3, settings["vocabulary"]["size"], (rows, source))
        labels = torch.randint(3, settings["vocabulary"]["size"], (rows, target))
        start = time.perf_counter()
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step > 0:
            times.append(time.perf_counter() - start)
    median = statistics.median(times)
    print(
        json.dumps(
            {
                "peer": f"torch {torch.__version__}",
                "parameters": sum(p.numel() for p in model.parameters()),
                "rows": rows,
                "tokens": rows * (source + target),
                "median_ms": round(median * 1e3, 1),
                "min_ms": round(min(times) * 1e3, 1),
                "max_ms": round(max(times) * 1e3, 1),
                "tokens_per_s": round(rows * (source + target) / median),
                "load": round(os.getloadavg()[0], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
