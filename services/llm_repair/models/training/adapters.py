"""Chooses which parameters a repair trains: whole weights, the top layers, or low-rank adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from llm_repair.core.errors import ModelInvalid
from llm_repair.core.repair import FullParameters, LoraParameters, Trainable
from llm_repair.models.training.sharding import like

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# peft and transformers build their models from untyped attributes.


@dataclass(frozen=True)
class TrainableModel:
    """A model with gradients switched on for exactly the parameters a repair trains."""

    model: PreTrainedModel
    """Runs forward; holds the adapters inside its layers while there are any."""
    adapters: PeftModel | None
    """The wrapper that knows how to merge the adapters; None for whole weights."""

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The trained parameters by name, in the model's order."""
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}

    @property
    def adapter_dropouts(self) -> list[nn.Module]:
        """The adapters' dropout layers, in the model's order; the model's own stay off."""
        if self.adapters is None:
            return []
        layers = [module.lora_dropout for module in self.model.modules() if isinstance(module, LoraLayer)]
        return [module for layer in layers for module in layer.modules() if isinstance(module, nn.Dropout)]

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Overwrites the parameters of these names; weights are whole."""
        parameters = self.parameters
        with torch.no_grad():
            for name, value in weights.items():
                parameters[name].copy_(like(parameters[name], value))

    def merged(self) -> PreTrainedModel:
        """Returns the model with its adapters added into the weights; nothing can be trained afterwards."""
        if self.adapters is None:
            return self.model
        merged = self.adapters.merge_and_unload(safe_merge=True)
        assert isinstance(merged, PreTrainedModel)
        return merged

    def save_adapters(self, folder: Path, *, base: str) -> None:
        """Writes the adapters in peft's format; `base` names the model they belong to."""
        assert self.adapters is not None
        for config in self.adapters.peft_config.values():
            config.base_model_name_or_path = base
        # With "auto", peft looks the base up on a hub to learn whether its vocabulary was resized.
        self.adapters.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)


def make_trainable(model: PreTrainedModel, trainable: Trainable, *, seed: int) -> TrainableModel:
    """Freezes what is not trained and adds adapters where asked for; the model is changed in place.

    seed: of the adapters' start values; the global random state is left as it was. Frozen bottom layers cost no
    backward pass, because no gradient is asked for below the first trained layer.

    Raises:
      ModelInvalid: the layers of the architecture cannot be found or take no adapters, or are fewer than asked for.
    """
    model.eval()
    match trainable:
        case FullParameters():
            return _whole_weights(model, trainable)
        case LoraParameters():
            return _low_rank(model, trainable, seed)


def transformer_layers(model: PreTrainedModel) -> nn.ModuleList:
    """Returns the stack of transformer layers: the longest list of equal modules below the base model.

    `transformer.h` in GPT-2, `gpt_neox.layers` in GPT-NeoX and Pythia, `model.layers` in Llama and Qwen.
    """
    stacks = [
        module
        for module in model.base_model.modules()
        if isinstance(module, nn.ModuleList) and len(module) > 0 and len({type(layer) for layer in module}) == 1
    ]
    count = getattr(model.config, "num_hidden_layers", 0)
    matching = [stack for stack in stacks if len(stack) == count]
    if not matching:
        kind = str(model.config.model_type)
        raise ModelInvalid(f"the transformer layers of a {kind} model were not found", model_type=kind)
    return matching[0]


def _whole_weights(model: PreTrainedModel, trainable: FullParameters) -> TrainableModel:
    model.requires_grad_(trainable.is_everything)
    if not trainable.is_everything:
        layers = transformer_layers(model)
        for number in _trained_layers(trainable, len(layers)):
            layers[number].requires_grad_(True)
    return TrainableModel(model, None)


def _trained_layers(trainable: FullParameters, count: int) -> Sequence[int]:
    """Returns the numbers of the trained layers, from 0 at the input, of a model of `count` layers."""
    if trainable.layers:
        if max(trainable.layers) >= count:
            raise ModelInvalid(f"the model has {count} layers, so no layer {max(trainable.layers)}", layers=count)
        return trainable.layers
    share = trainable.top_share
    top = trainable.top_layers if share is None else max(1, int(share * count + 0.5))
    if top > count:
        raise ModelInvalid(f"the model has {count} layers, fewer than top_layers={top}", layers=count)
    return range(count - top, count)


def _low_rank(model: PreTrainedModel, trainable: LoraParameters, seed: int) -> TrainableModel:
    targets, transposed = _linear_layers(model)
    config = LoraConfig(
        r=trainable.rank,
        lora_alpha=trainable.alpha,  # pyright: ignore[reportArgumentType]  # annotated int, used as a float factor
        lora_dropout=trainable.dropout,
        target_modules=targets,
        fan_in_fan_out=transposed,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            adapters = get_peft_model(model, config)
        except ValueError as error:
            kind = str(model.config.model_type)
            raise ModelInvalid(f"the linear layers of a {kind} model take no adapters", model_type=kind) from error
    assert isinstance(adapters, PeftModel)
    inner = adapters.get_base_model()
    assert isinstance(inner, PreTrainedModel)
    inner.eval()
    return TrainableModel(inner, adapters)


def _linear_layers(model: PreTrainedModel) -> tuple[list[str], bool]:
    """Returns the names of the linear layers inside the blocks, and whether they are GPT-2's Conv1D.

    The last part of the names, which is what engines expect in an adapter's config, unless a layer outside the
    blocks has it too; then the full names.
    """
    inside = {id(module) for module in transformer_layers(model).modules()}
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)}
    wanted = {name for name, module in linear.items() if id(module) in inside}
    if not wanted:
        raise ModelInvalid("the transformer layers hold no linear layer to adapt")
    short = {name.rpartition(".")[2] for name in wanted}
    outside = {name.rpartition(".")[2] for name in linear.keys() - wanted}
    names = short if short.isdisjoint(outside) else wanted
    return sorted(names), all(isinstance(linear[name], Conv1D) for name in wanted)
