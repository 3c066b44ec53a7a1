"""First use: dispatch runs no kernel on a GPU before it was verified there.

Only variants with kernels, ours or a provider's, are verified: plain PyTorch is not compiled for a
device. What ``gdn_ops.using`` asks for is run as it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.choice import Choice, Faults, no_faults
from gdn_ops.dispatch.pinned import pinned
from gdn_ops.dispatch.winner import Winner
from gdn_ops.errors import GdnError, LaunchError, TemplateError
from gdn_ops.launch.capture import refuse_capture
from gdn_ops.moment import moment_text
from gdn_ops.results_path import VERIFY_VARIABLE, verification_policy
from gdn_ops.verify.first_use import Subject, key_on, known, verified, verify
from gdn_ops.verify.other_states import with_other_states
from gdn_ops.verify.verification import STORED, Key, Place, Verification

VERIFYING = "verifying a variant before its first use"


@dataclass(frozen=True)
class Standing:
    """What is known of a choice on a device of this machine.

    Args:
        sound: whether it may run.
        text: when and where it was verified, or why it was not.
    """

    sound: bool
    text: str


def standing(choice: Choice) -> Standing:
    """Return whether the variant of a choice was verified on the GPU of this machine."""
    if not _is_compiled(choice.variant, choice.target):
        return Standing(True, "PyTorch or C++, which is not verified at its first use")
    if choice.how == "forced":
        return Standing(True, "not verified: gdn_ops.using(...) runs what it is given")
    policy = verification_policy()
    if policy == "never":
        return Standing(True, f"not verified: {VERIFY_VARIABLE} is never")
    place = Place.of(choice.target)
    found = known(_subject(choice), choice.target)
    if found is not None:
        how = "verified" if found.ok else f"found {found.status}"
        text = f"{how} {moment_text(found.created)} at its first use on {place}"
        detail = found.message or "no message"
        return Standing(found.ok, f"{text}; {detail}")
    if policy == "first" and _measured_here(choice, place):
        assert choice.winner is not None
        when = moment_text(choice.winner.created)
        return Standing(True, f"verified {when} by the tuner on {place}")
    again = " in each process" if policy == "always" else ""
    return Standing(False, f"not yet on {place}; the first call{again} verifies it")


def faults_on(target: Target) -> Faults:
    """Return what tells why variants are passed over on a target here: their checks failed."""
    if not target.gpu or verification_policy() == "never":
        return no_faults

    def faults(problem: Problem, variant: Variant) -> list[str]:
        if not _is_compiled(variant, target):
            return []
        subject, frozen = Subject(problem, variant), pinned()
        try:
            if frozen is not None:
                found = frozen.failed.get(key_on(subject, target))
            else:
                found = known(subject, target)
        except TemplateError as error:
            return [str(error)]
        return [] if found is None or found.ok else [_failure(found)]

    return faults


def sound_choices(choose_all: Callable[[], Sequence[Choice]], device: torch.device) -> list[Choice]:
    """Return choices whose variants are verified; those that are not yet are verified first.

    What fails is named in a warning, and the next choice is taken.

    Args:
        choose_all: makes the choices; it passes over what has ``faults_on`` the target.

    Raises:
        LaunchError: a CUDA graph is being captured, and a variant is not verified yet; or choices
            are frozen, and a variant failed.
        UnsupportedProblem: no variant is left.
    """
    while True:
        choices = list(choose_all())
        open_ = [choice for choice in choices if not standing(choice).sound]
        if not open_:
            return choices
        refuse_capture(device, VERIFYING)
        subjects = list(dict.fromkeys(_subject(choice) for choice in open_))
        for found in verify(subjects, open_[0].target, device):
            if not found.ok:
                _pass_over(found, device)


def is_sound(choice: Choice, device: torch.device) -> bool:
    """Return whether a variant is right here; it is verified if that is not known.

    Raises:
        LaunchError: as ``sound_choices`` raises it.
    """
    if standing(choice).sound:
        return True
    subject, frozen = _subject(choice), pinned()
    if frozen is not None:
        if key_on(subject, choice.target) in frozen.failed:
            return False
    elif known(subject, choice.target) is not None:
        return False
    refuse_capture(device, VERIFYING)
    (found,) = verify([subject], choice.target, device)
    if not found.ok:
        _pass_over(found, device)
    return found.ok


def failed_checks() -> dict[Key, Verification]:
    """Return the checks that have failed on this machine, by their keys."""
    return verified().failed()


def failures() -> int:
    """Return how many checks have failed in this process; a new one changes choices."""
    return verified().failures


def forget() -> None:
    """Read the file of verifications again at the next call."""
    verified.cache_clear()


def _subject(choice: Choice) -> Subject:
    return Subject(choice.problem.without_sizes(), choice.variant)


def _is_compiled(variant: Variant, target: Target) -> bool:
    """Whether a kernel of a variant is compiled for the target, as those of providers are."""
    return target.gpu and (bool(variant.provider) or _has_kernels(variant))


def _has_kernels(variant: Variant) -> bool:
    return any(KERNELS[name].language != "torch" for name, _ in variant.stages)


def _measured_here(choice: Choice, place: Place) -> bool:
    """Whether the tuner has verified exactly these kernels on this device and toolchain."""
    winner = choice.winner
    if winner is None or winner.provenance != "measured" or not _same_place(winner, place):
        return False
    try:
        tuned = Problem.from_facts(winner.facts).without_sizes()
    except (GdnError, KeyError, TypeError):  # a damaged row
        return False
    if choice.problem.without_sizes() not in (tuned, *with_other_states(tuned)):
        return False
    return not winner.stale and Variant.from_json(winner.variant, tuned) == choice.variant


def _same_place(winner: Winner, place: Place) -> bool:
    theirs = (winner.target, winner.arch, winner.driver, winner.triton, winner.ptxas)
    ours = (place.device, place.arch, place.driver, place.triton, place.ptxas)
    return theirs == ours and winner.driver is not None


def _failure(found: Verification) -> str:
    verb = "failed" if found.status in STORED else "was not possible"
    when = moment_text(found.created)
    return f"its check {verb} {when} on {found.place}: {found.status}: {found.message}"


def _pass_over(found: Verification, device: torch.device) -> None:
    """Warn of a variant that failed; raise LaunchError if choices are frozen."""
    if pinned() is None:
        _warn(found, device)
        return
    raise LaunchError(
        f"variant {found.named} of {found.problem} cannot run on {device}: "
        f"{_failure(found).rstrip('.')}. Choices are frozen, and other processes may use it: call "
        "gdn_ops.unfreeze() in all of them, run `gdn verify` on every machine, and freeze again."
    )


def _warn(found: Verification, device: torch.device) -> None:
    if found.status in STORED:
        remedy = "The next choice is taken. `gdn verify --again` checks it again."
    else:
        remedy = (
            "The next choice is taken in this process. Run `gdn verify` when the device is free, "
            f"or set {VERIFY_VARIABLE}=never to use kernels that were not verified."
        )
    name = f"variant {found.named} of {found.problem}"
    text = f"{name} is passed over on {device}: {_failure(found).rstrip('.')}. {remedy}"
    warnings.warn(text, RuntimeWarning, stacklevel=2)
