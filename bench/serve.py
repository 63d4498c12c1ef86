"""Served tokens per CPU second beside transformers' generate, in one run.

    OMP_NUM_THREADS=1 python bench/serve.py MODEL_FOLDER [--pairs 7] [--new 64]

The server's process answers 1, 8 or 32 clients at once, each with its own prompt length and seed;
generate answers the same prompts as one static batch (left-padded, which is all it can). Both
sample at temperature 0.8. Counted are CPU seconds of the server's process and of the process that
runs generate, between the first request and the last answer; loading is counted on neither side.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

CLIENTS = (1, 8, 32)
IMPORTS = (
    "import torch, transformers.models.llama.modeling_llama, starlette.applications, uvicorn; "
    "from transformers import AutoModelForCausalLM, AutoTokenizer"
)
GENERATE = """
import json, sys, time, torch
from transformers import AutoModelForCausalLM
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype="float32").eval()
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    rows, new = job["prompts"], job["new"]
    wide = max(map(len, rows))
    ids = torch.zeros(len(rows), wide, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, wide - len(row):] = torch.tensor(row)
        mask[i, wide - len(row):] = 1
    torch.manual_seed(job["seed"])
    begin = time.process_time()
    made = model.generate(ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=new,
                          do_sample=True, temperature=0.8, top_k=0, top_p=1.0, pad_token_id=0)
    spent = time.process_time() - begin
    assert made.shape[1] == wide + new
    print(json.dumps(spent), flush=True)
"""


def main() -> None:
    """Measure pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--new", type=int, default=64)
    asked = parser.parse_args()
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    serve = [sys.executable, "-m", "swift", "serve", str(asked.model), "--port", "0"]
    static = [sys.executable, "-c", GENERATE, str(asked.model)]
    with (
        subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env=env) as server,
        subprocess.Popen(
            static, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        ) as other,
    ):
        try:
            ratios = _measure(asked, server, other)
        finally:
            server.terminate()
            other.terminate()
    ready, imports = _ready(serve, env, asked.pairs)
    of_pairs = sorted(a / b for a, b in zip(ready, imports, strict=True))
    print(
        f"ready after {statistics.median(ready):.2f} CPU s, its imports alone take "
        f"{statistics.median(imports):.2f}  ratio {statistics.median(of_pairs):.2f} "
        f"({of_pairs[0]:.2f} to {of_pairs[-1]:.2f})"
    )
    for clients, pairs in ratios.items():
        ours, theirs = (statistics.median(p[i] for p in pairs) for i in (0, 1))
        of_pairs = sorted(a / b for a, b in pairs)
        print(
            f"{clients:3} clients  ours {ours:7.0f} tokens per CPU s  generate {theirs:7.0f}  "
            f"ratio {statistics.median(of_pairs):.2f} ({of_pairs[0]:.2f} to {of_pairs[-1]:.2f})"
        )


def _measure(
    asked: argparse.Namespace, server: subprocess.Popen[str], other: subprocess.Popen[str]
) -> dict[int, list[tuple[float, float]]]:
    assert server.stdout is not None and other.stdin is not None and other.stdout is not None
    line = next(text for text in server.stdout if text.startswith("ready: "))
    host = line.split()[1].removeprefix("http://").removesuffix("/v1")
    assert other.stdout.readline() == "ready\n"
    draw = random.Random(0)
    found: dict[int, list[tuple[float, float]]] = {}
    for clients in CLIENTS:
        for number in range(asked.pairs + 1):
            prompts = [
                [draw.randrange(4, 500) for _ in range(draw.randint(8, 96))] for _ in range(clients)
            ]
            ours = _served(host, server.pid, prompts, asked.new)
            job = {"prompts": prompts, "new": asked.new, "seed": number}
            other.stdin.write(json.dumps(job) + "\n")
            other.stdin.flush()
            theirs = json.loads(other.stdout.readline())
            if number:  # the first pair warms both up
                tokens = clients * asked.new
                found.setdefault(clients, []).append((tokens / ours, tokens / theirs))
    return found


def _ready(serve: list[str], env: dict[str, str], pairs: int) -> tuple[list[float], list[float]]:
    """Return CPU seconds up to the line `ready`, and of a process that only imports."""
    ready, imports = [], []
    for number in range(pairs + 1):
        with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env=env) as server:
            assert server.stdout is not None
            next(text for text in server.stdout if text.startswith("ready: "))
            spent = _cpu(server.pid)
            server.terminate()
        child = subprocess.Popen([sys.executable, "-c", IMPORTS], env=env)
        _, _, usage = os.wait4(child.pid, 0)
        if number:
            ready.append(spent)
            imports.append(usage.ru_utime + usage.ru_stime)
    return ready, imports


def _served(host: str, pid: int, prompts: list[list[int]], new: int) -> float:
    begin = _cpu(pid)
    with ThreadPoolExecutor(len(prompts)) as pool:
        made = list(pool.map(lambda job: _ask(host, *job, new), enumerate(prompts)))
    assert made == [new] * len(prompts), made
    return _cpu(pid) - begin


def _ask(host: str, seed: int, prompt: list[int], new: int) -> int:
    body = {"model": "", "prompt": prompt, "max_tokens": new, "ignore_eos": True, "seed": seed}
    connection = http.client.HTTPConnection(host, timeout=300)
    connection.request("GET", "/v1/models")
    body["model"] = json.load(connection.getresponse())["data"][0]["id"]
    text = json.dumps({**body, "temperature": 0.8})
    connection.request("POST", "/v1/completions", text, {"Content-Type": "application/json"})
    answer: Any = json.load(connection.getresponse())
    connection.close()
    return int(answer["usage"]["completion_tokens"])


def _cpu(pid: int) -> float:
    """Return the CPU seconds that all threads of a process have used."""
    return sum(
        int(part.read_text().split()[0]) / 1e9
        for part in Path(f"/proc/{pid}/task").glob("*/schedstat")
    )


if __name__ == "__main__":
    main()
