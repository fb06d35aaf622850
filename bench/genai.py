"""``onnxruntime-genai`` as a target: a process a load, since its batches are static and it has no server."""

import json
import math
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.figures import percentile
from bench.load import Load, LoadFigures

from adapters.processors import num_processors

RUN_TIMEOUT_S = 600


@dataclass(slots=True)
class GenaiBatches:
    """Static batches, as large as there are callers, on a model folder."""

    python: Path
    folder: Path
    name: str = "onnxruntime-genai batches"
    is_serial: bool = False
    takes_arrivals: bool = False
    memory_bytes: int | None = None

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def run(self, load: Load) -> tuple[LoadFigures, list[str]]:
        """Run the batches of a closed loop; each goes on until its longest answer has all its tokens."""
        command = [str(self.python), "-m", "bench.genai_batches", str(self.folder), str(num_processors())]
        output = subprocess.run(
            command,
            input=json.dumps({**asdict(load), "answer_lengths": load.answer_lengths}),
            env={"PYTHONPATH": "."},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=RUN_TIMEOUT_S,
        ).stdout
        result = json.loads(output)
        self.memory_bytes = result["memory_bytes"]
        first_s, latencies_s = result["first_s"], result["latencies_s"]
        num_tokens = sum(load.answer_lengths)
        figures = LoadFigures(
            num_requests=load.num_requests,
            num_errors=0,
            num_prompt_tokens=0,
            num_completion_tokens=num_tokens,
            duration_s=result["duration_s"],
            tokens_per_s=num_tokens / result["duration_s"],
            first_token_p50_s=percentile(first_s, 0.5),
            first_token_p95_s=percentile(first_s, 0.95),
            first_token_p99_s=percentile(first_s, 0.99),
            gap_p50_s=math.nan,
            gap_p99_s=math.nan,
            latency_p50_s=percentile(latencies_s, 0.5),
            latency_p95_s=percentile(latencies_s, 0.95),
            latency_p99_s=percentile(latencies_s, 0.99),
            client_cpu_share=0.0,
        )
        return figures, result["texts"]
