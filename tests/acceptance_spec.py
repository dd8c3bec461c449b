"""The request that tests repair the tiny model with."""

from tiny_assets import TinyAssets

from llm_repair.client import repair_spec
from llm_repair.v1 import coordinator_pb2 as pb


def tiny_spec(tiny: TinyAssets, **changes: object) -> pb.RepairSpec:
    """Returns a request that repairs the tiny model in seconds."""
    options: dict[str, object] = {
        "model": f"file:{tiny.model}",
        "encoder": f"file:{tiny.encoder}",
        "prompts": f"file:{tiny.prompts}",
        "eval_prompts": f"file:{tiny.eval_prompts}",
        "corpora": {"texts": f"file:{tiny.texts}"},
        "fraction": 0.5,
        "method": "dpo",
        "learning_rate": 1e-3,
        "epochs": 2,
        "draws": 3,
        "seed": 1,
        **changes,
    }
    spec = repair_spec(**options)  # type: ignore[arg-type]
    if spec.WhichOneof("pool") == "self_generated_pool":
        spec.self_generated_pool.draws = 4
        spec.self_generated_pool.max_new_tokens = 8
        spec.self_generated_pool.min_chosen_tokens = 2
    spec.evaluation.protocol.strict.max_new_tokens = 8
    spec.method.max_tokens = 64
    spec.method.batch_samples = 4
    spec.method.checkpoint_every_steps = 2
    spec.method.validations = 2
    return spec
