"""Peak memory of many rows of one prompt, beside one row, and beside `generate` with the same rows.

Each number comes from a process of its own: the model is loaded, a few tokens are drawn, the kernel's high-water mark
of the resident set is reset, then the work runs once. What is reported is that mark (`VmHWM`) and the resident set
before. Linux only: no other system can reset the mark.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Literal

from rich.console import Console
from transformers import AutoConfig, PretrainedConfig

from benchmarks.grids import GridShape, directions, grid_requests
from evalharness.bench import MixedRows, direction_bank, engine_environment, load_plain_model
from evalharness.engine import Engine
from evalharness.errors import UsageError
from evalharness.request import Request, Sampling
from evalharness.timing import Environment, TimingRecord, Work

CONDITIONS = 16
MIB = 1 << 20
What = Literal["one row", "rows", "generate"]


class Peak(TimingRecord):
    """Resident memory of one process, in bytes."""

    before: int
    """Model loaded and warmed up."""
    peak: int
    """Highest while the work ran."""

    @property
    def growth(self) -> int:
        """What the work itself took: weights and libraries are not in it."""
        return self.peak - self.before


class Memory(TimingRecord):
    """Many rows of one prompt against one row, each measured several times."""

    rows: int
    conditions: int
    prompt_tokens: int
    new_tokens: int
    own_bytes_per_row: int
    """Keys and values of a row's own tokens: the last one of the prompt and the new ones."""
    one_row: tuple[Peak, ...]
    all_rows: tuple[Peak, ...]
    generate_rows: tuple[Peak, ...]
    """The same rows in one `generate`, where every row keeps the keys and values of its whole prompt."""
    environment: Environment

    @property
    def ratios_of_peaks(self) -> tuple[float, ...]:
        """Peak of all rows over (peak of one row + the rows' own bytes), whole processes."""
        own = self.rows * self.own_bytes_per_row
        return tuple(many.peak / (one.peak + own) for many, one in zip(self.all_rows, self.one_row, strict=True))

    @property
    def ratios_of_growth(self) -> tuple[float, ...]:
        """The same without what stood in memory before the work: the stricter of the two."""
        own = self.rows * self.own_bytes_per_row
        return tuple(many.growth / (one.growth + own) for many, one in zip(self.all_rows, self.one_row, strict=True))


def measure_memory(folder: Path, prompt: Sequence[int], *, rows: int, new_tokens: int, repeats: int = 3) -> Memory:
    """Measure everything, `repeats` times, in processes that do nothing else."""
    job = {"folder": str(folder), "prompt": list(prompt), "rows": rows, "new_tokens": new_tokens}

    def measured(what: What) -> tuple[Peak, ...]:
        return tuple(_measure_elsewhere({**job, "what": what}) for _ in range(repeats))

    with Engine.load(folder, device="cpu") as engine:
        environment = engine_environment(engine)
    return Memory(
        rows=rows,
        conditions=CONDITIONS,
        prompt_tokens=len(prompt),
        new_tokens=new_tokens,
        own_bytes_per_row=(1 + new_tokens) * key_value_bytes(AutoConfig.from_pretrained(folder), 4),
        one_row=measured("one row"),
        all_rows=measured("rows"),
        generate_rows=measured("generate"),
        environment=environment,
    )


def key_value_bytes(config: PretrainedConfig, element_bytes: int) -> int:
    """Keys and values of one token in all blocks."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    bytes_: int = 2 * config.num_hidden_layers * config.num_key_value_heads * head * element_bytes
    return bytes_


def print_memory(memory: Memory, console: Console) -> None:
    """Medians of the peaks and both ratios."""
    named = {
        "one row": memory.one_row,
        f"{memory.rows} rows": memory.all_rows,
        "generate, same rows": memory.generate_rows,
    }
    console.print(f"{memory.rows} rows on {memory.prompt_tokens} prompt tokens, {memory.new_tokens} new tokens")
    for name, peaks in named.items():
        whole, growth = median(peak.peak for peak in peaks), median(peak.growth for peak in peaks)
        console.print(f"  {name:24} peak {whole / MIB:.0f} MiB, of which the work {growth / MIB:.0f} MiB")
    own = memory.rows * memory.own_bytes_per_row / MIB
    console.print(f"  {'own tokens of all rows':24} {own:.0f} MiB")
    for name, ratios in {"whole process": memory.ratios_of_peaks, "the work": memory.ratios_of_growth}.items():
        line = f"{median(ratios):.2f} times one row and all own tokens [{min(ratios):.2f}, {max(ratios):.2f}]"
        console.print(f"  {name:24} {line}", soft_wrap=True, markup=False)


def _measure_elsewhere(job: dict[str, Any]) -> Peak:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory"], input=json.dumps(job), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"The measuring process failed:\n{done.stderr}")
    return Peak.model_validate_json(done.stdout.strip().splitlines()[-1])


def _measure_here(job: dict[str, Any]) -> Peak:
    """Runs in the process that is measured."""
    if job["what"] == "generate":
        return _peak_of_generate(job)
    with Engine.load(job["folder"], device="cpu") as engine:
        bank = directions(engine.d_model, 2 * engine.n_layers // 3 - 1, CONDITIONS)
        rows = 1 if job["what"] == "one row" else job["rows"]
        shape = GridShape(rows, min(rows, CONDITIONS), job["new_tokens"])
        requests = grid_requests(job["prompt"], bank, shape, "generation")
        engine.generate([Request(prompt=job["prompt"][:4], sampling=Sampling(max_new_tokens=2))])
        before = _reset_peak()
        engine.generate(requests, bank)
        return Peak(before=before, peak=_status_bytes("VmHWM"))


def _peak_of_generate(job: dict[str, Any]) -> Peak:
    model = load_plain_model(job["folder"], "float32")
    layer = 2 * model.config.num_hidden_layers // 3 - 1
    way = MixedRows(model, direction_bank(model.config.hidden_size, layer))
    samples = max(1, job["rows"] // CONDITIONS)
    work = Work(
        prompts=[job["prompt"]] * samples,
        strengths=[number / 10 for number in range(job["rows"] // samples)],
        layer=layer,
        new_tokens=job["new_tokens"],
        span="generation",
    )
    way.draw(Work(prompts=[job["prompt"][:4]], strengths=[0.0], layer=layer, new_tokens=2))
    before = _reset_peak()
    way.draw(work)
    return Peak(before=before, peak=_status_bytes("VmHWM"))


def _reset_peak() -> int:
    """Set the high-water mark to what is resident now, and return that."""
    mark = Path("/proc/self/clear_refs")
    if not mark.exists():
        raise UsageError(
            "Peak memory can be measured on Linux only.", expected="/proc/self/clear_refs", got=sys.platform
        )
    mark.write_text("5", encoding="ascii")
    return _status_bytes("VmRSS")


def _status_bytes(field: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found.group(1)) * 1024


if __name__ == "__main__":
    print(_measure_here(json.load(sys.stdin)).model_dump_json())
