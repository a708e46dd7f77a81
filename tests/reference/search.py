"""Numbers that the search is held to, from the peers' `gate_vectors.py` and `delta.py` (a folder beside this project).

  gates.json                               100 random cases of the gate (method.md section 3) in float64
  tiny-v1.1/second-order.safetensors       one second-order structural gradient over the space `mix`, by double backward in float64
  tiny-v1.1/steps.safetensors              three whole steps (method.md section 4) of each order, in float64

    python tests/reference/search.py --peers ../shared/peers
"""

import argparse
import copy
import json
import math
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(sys.path.pop(0))  # this folder behind the libraries, whose names files here may bear

import torch
from safetensors.torch import save_file
from transformers import T5ForConditionalGeneration


def gate_cases(gate_vectors, count):
    """Random inputs of several sizes, temperatures, budgets and spreads; alpha is exact in float32, as a search keeps it."""
    draw = torch.Generator().manual_seed(2206)
    uniform = lambda low, high: low + (high - low) * torch.rand((), generator=draw).item()
    for seed in range(count):
        n = 2 + seed % 9
        tau, beta = round(uniform(0.3, 2.0), 3), round(uniform(0.3, 2.0), 3)
        given = gate_vectors.random_input(n, seed, uniform(0.02, 0.9), uniform(0.1, 4.0))
        given["alpha"] = torch.tensor(given["alpha"], dtype=torch.float32).double().tolist()
        found = gate_vectors.evaluate(given, tau, beta)
        kept = {name: found[name] for name in ("zeta", "p", "z", "dalpha", "greedy", "clamped")}
        yield {"tau": tau, "beta": beta, **given, **kept}


def problem(peers, folder, seed):
    """A space over a model in float64: its modules, the loss of (theta, z, batch), a generator, initial values, and draws of ids."""
    model = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    model.eval().requires_grad_(False)
    specs = peers["spaces"].mix_space(model)
    deltas = peers["delta"].Deltas(model, specs)
    draw = torch.Generator().manual_seed(seed)
    theta = (torch.randn(sum(spec.size for spec in specs), generator=draw) * 0.1).double()

    def loss(theta, z, batch):
        deltas.bind(theta, z)
        source, labels = batch
        return model(input_ids=source, attention_mask=torch.ones_like(source), labels=labels, use_cache=False).loss

    ids = lambda rows, length: torch.randint(3, model.config.vocab_size, (rows, length), generator=draw)
    return specs, loss, draw, theta, ids


def second_order(peers, folder):
    """dL_alpha/dz and its second-order part, d/dz (dL_delta/dtheta · v), at v = dL_alpha/dtheta' and theta' = theta - xi g."""
    specs, loss, draw, theta, ids = problem(peers, folder, 17)
    z = torch.rand(len(specs), generator=draw).double() * 0.8 + 0.1
    xi = 0.05
    batches = [(ids(4, 9), ids(4, 3)), (ids(4, 7), ids(4, 3))]
    theta, z = theta.requires_grad_(), z.requires_grad_()
    delta_loss = loss(theta, z, batches[0])
    (g,) = torch.autograd.grad(delta_loss, theta, create_graph=True)
    ahead = (theta - xi * g).detach().requires_grad_()
    structural_loss = loss(ahead, z, batches[1])
    v, direct = torch.autograd.grad(structural_loss, (ahead, z))
    (second,) = torch.autograd.grad((g * v).sum(), z)
    tensors = {
        "theta": theta, "z": z, "xi": torch.tensor([xi]), "v": v, "direct": direct, "second": second,
        "losses": torch.stack([delta_loss, structural_loss]),
    }  # fmt: skip
    tensors = {name: tensor.detach().float() for name, tensor in tensors.items()}
    for name, (source, labels) in zip(("delta", "structural"), batches):
        tensors |= {f"{name}.sources": source.float(), f"{name}.targets": labels.float()}
    assert all(math.isfinite(tensor.sum().item()) for tensor in tensors.values())
    return tensors


RATE, STRUCTURAL_RATE, STEPS, TAU, BETA, SHARE, CLIP, EPSILON = 0.02, 0.1, 4, 0.8, 1.3, 0.3, 0.5, 0.01


def steps(peers, folder, count=3):
    """The first steps of a search of STEPS steps, by torch's optimisers, and gradients through the gate by autograd."""
    gate = peers["gate_vectors"]
    specs, loss, draw, start, ids = problem(peers, folder, 29)
    sizes = torch.tensor([float(spec.size) for spec in specs], dtype=torch.float64)
    budget = float(int(SHARE * sizes.sum().item()))
    u = torch.rand((count, 2, len(specs)), generator=draw, dtype=torch.float64)
    batches = [[(ids(4, 9), ids(4, 3)), (ids(4, 7), ids(4, 3))] for _ in range(count)]
    tensors = {"theta": start, "u": u}
    for step, pair in enumerate(batches):
        for name, (source, labels) in zip(("delta", "structural"), pair):
            tensors |= {f"{name}.{step}.sources": source, f"{name}.{step}.targets": labels}

    def gradients(theta, z, batch):
        theta, z = theta.detach().requires_grad_(), z.detach().requires_grad_()
        return torch.autograd.grad(loss(theta, z, batch), (theta, z))

    for order in ("first", "second", "reference"):
        theta = start.clone().requires_grad_()
        alpha = torch.zeros(len(specs), dtype=torch.float64, requires_grad=True)
        of_theta = torch.optim.AdamW([theta], lr=RATE, weight_decay=0.0)
        of_alpha = torch.optim.Adam([alpha], lr=STRUCTURAL_RATE)
        for step, (delta, structural) in enumerate(batches):
            left = 1 - step / STEPS
            of_theta.param_groups[0]["lr"], of_alpha.param_groups[0]["lr"] = RATE * left, STRUCTURAL_RATE * left
            p, _ = gate.probabilities(alpha, sizes, budget, TAU)
            z = gate.gates(p, u[step, 0], BETA)
            g, _ = gradients(theta, z, delta)
            if order == "reference":
                ahead = theta.detach().clone().requires_grad_()
                virtual = torch.optim.AdamW([ahead], lr=RATE, weight_decay=0.0)
                virtual.load_state_dict(copy.deepcopy(of_theta.state_dict()))  # torch shares the moments otherwise
                ahead.grad = g.clone()
                virtual.step()
            else:
                ahead = theta - RATE * left * g
            v, by_gate = gradients(ahead, z, structural)
            if order != "first":
                epsilon = EPSILON / (v.norm() + 1e-6)
                plus, minus = (gradients(theta + sign * epsilon * v, z, delta)[1] for sign in (1, -1))
                by_gate = by_gate - RATE * left * (plus - minus) / (2 * epsilon)
            (alpha.grad,) = torch.autograd.grad(z, alpha, by_gate)
            torch.nn.utils.clip_grad_norm_([alpha], CLIP)
            of_alpha.step()
            if order == "reference":
                z = gate.gates(gate.probabilities(alpha, sizes, budget, TAU)[0], u[step, 1], BETA)
                g, _ = gradients(theta, z, delta)
            theta.grad = g.clone()
            torch.nn.utils.clip_grad_norm_([theta], CLIP)
            of_theta.step()
        tensors |= {f"{order}.theta": theta, f"{order}.alpha": alpha}
    return {name: tensor.detach().float() for name, tensor in tensors.items()}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=pathlib.Path, default=HERE)
    arguments.add_argument("--peers", type=pathlib.Path, default=HERE.parents[2] / "shared/peers")
    arguments = arguments.parse_args()
    if not (arguments.peers / "gate_vectors.py").exists():
        sys.exit(f"{arguments.peers} has no gate_vectors.py: give the peers' folder with --peers")
    sys.path.append(str(arguments.peers))
    peers = {name: __import__(name) for name in ("gate_vectors", "spaces", "delta")}
    torch.set_num_threads(1)
    cases = [json.dumps(case) for case in gate_cases(peers["gate_vectors"], 100)]
    (arguments.out / "gates.json").write_text("[\n" + ",\n".join(cases) + "\n]\n")
    variant = arguments.out / "tiny-v1.1"
    variant.mkdir(exist_ok=True)
    save_file(second_order(peers, HERE / "tiny-v1.1"), variant / "second-order.safetensors")
    save_file(steps(peers, HERE / "tiny-v1.1"), variant / "steps.safetensors")


if __name__ == "__main__":
    main()
