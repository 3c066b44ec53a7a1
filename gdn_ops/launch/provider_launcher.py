"""ProviderLauncher: a provider that computes a problem, called as our variants are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import import_module

import torch
import torch.nn.functional as F

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Provided
from gdn_ops.errors import GdnError, LaunchError
from gdn_ops.launch.call import DIFFERENTIABLE, TOKEN_INPUTS, Call, check_decay
from gdn_ops.launch.launcher import Launcher, device_of


class ProviderLauncher(Launcher):
    """A version of a provider bound to a problem, with the contract of a ``Launcher``.

    Raises:
        LaunchError: the provider cannot be imported. Calls raise it too if the provider fails.
    """

    def __init__(self, problem: Problem, variant: Provided) -> None:
        self.problem, self.variant = problem, variant
        self.scale = problem.K**-0.5
        self.BT = self.segment = 0
        self.stages = ()
        # by name: the adapters use this folder, and it does not know them
        self._adapter = import_module(f"gdn_ops.providers.{variant.provider}")
        try:
            self._adapter.load()
        except Exception as error:
            raise self._as_gdn_error("be imported", error) from error

    def run_and_save(
        self, call: Call, names: Sequence[str]
    ) -> tuple[torch.Tensor, torch.Tensor | None, list[torch.Tensor]]:
        """Return the results of a call; a provider saves no tensors for a backward of ours."""
        check_decay(call)
        found = self._called(call)
        ht = found["ht"].float().contiguous() if self.problem.final_state else None
        return self._whole(call, found["o"].to(call.q.dtype)), ht, []

    def gradients(
        self,
        call: Call,
        wanted: Collection[str] = DIFFERENTIABLE,
        given: Mapping[str, torch.Tensor] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return the gradients of a call; see ``Launcher.gradients``."""
        names = [n for n in DIFFERENTIABLE if n in wanted and getattr(call, n) is not None]
        found = self._called(call)
        gradients = {}
        for name in names:
            given_as = getattr(call, name)
            x = found[f"d{name}"].to(given_as.dtype)
            gradients[f"d{name}"] = self._whole(call, x) if name in TOKEN_INPUTS else x.contiguous()
        return gradients

    def _called(self, call: Call) -> dict[str, torch.Tensor]:
        if 0 in call.q.shape:
            return self._nothing(call)
        try:
            with device_of(call.q), torch.no_grad():
                found: dict[str, torch.Tensor] = self._adapter.prepared(self.problem, call)()
                return found
        except (GdnError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise self._as_gdn_error(f"compute {self.problem.id()}", error) from error

    def _nothing(self, call: Call) -> dict[str, torch.Tensor]:
        """The results of a call without tokens."""
        if self.problem.op == "backward":
            names = [n for n in DIFFERENTIABLE if getattr(call, n) is not None]
            found = {f"d{n}": torch.zeros_like(getattr(call, n)) for n in names}
            if call.h0 is not None and call.dht is not None:
                found["dh0"] = call.dht.clone()
            return found
        B, _, HV, _ = call.v.shape
        N = B if call.packing is None else len(call.packing.offsets) - 1
        shape = N, HV, self.problem.K, self.problem.V
        ht = call.q.new_zeros(shape, dtype=torch.float32) if call.h0 is None else call.h0.clone()
        return {"o": torch.zeros_like(call.v), "ht": ht}

    @staticmethod
    def _whole(call: Call, x: torch.Tensor) -> torch.Tensor:
        """The result [B, T, ...] with zeros at the tokens after the last packed sequence."""
        missing = call.q.shape[1] - x.shape[1]
        x = x.contiguous()
        return F.pad(x, (*[0, 0] * (x.dim() - 2), 0, missing)) if missing else x

    def _as_gdn_error(self, verb: str, error: Exception) -> LaunchError:
        return LaunchError(
            f"provider {self.variant} cannot {verb}: {type(error).__name__}: {error!s:.1000} "
            "Run `gdn tune --again` without --allow-providers, or use gdn_ops.using('torch')."
        )
