"""Verifying variants before their first use, in a child process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant
from gdn_ops.results_path import verification_policy, verified_file
from gdn_ops.verify.seen_device import seen_device
from gdn_ops.verify.verification import Key, Place, Verification, code_of, key_of, now
from gdn_ops.verify.verified_file import VerifiedFile

if TYPE_CHECKING:
    from gdn_ops.workers.worker_pool import WorkerPool

WORKER = f"{__package__}.worker"
READY_SECONDS = 120.0
"""Time limit for a child process to import PyTorch and open the device."""
CHECK_SECONDS = 300.0
"""Time limit for one variant. Nearly all of it is for compiling, which may be slow on a busy
machine; a kernel that hangs is found earlier, see ``HANG_SECONDS``."""

_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Subject:
    """A variant to verify, and the problem to verify it on."""

    problem: Problem
    variant: Variant


@cache
def verified() -> VerifiedFile:
    """Return what is known on this machine; read again after ``gdn_ops.refresh``."""
    return VerifiedFile(verified_file(), shared=verification_policy() != "always")


def known(subject: Subject, target: Target) -> Verification | None:
    """Return what is known of a variant on a GPU of this machine; None if nothing is."""
    return verified().known(key_on(subject, target))


def key_on(subject: Subject, target: Target) -> Key:
    """Return the key of the check of a variant on a GPU of this machine."""
    return _key(subject, Place.of(target))


def verify(subjects: Sequence[Subject], target: Target, device: torch.device) -> list[Verification]:
    """Verify variants on a GPU of this machine, unless it is known whether they are right.

    One process at a time does this; the others wait and take over its results. All variants are
    verified in one child process, as long as it lives.

    Returns:
        What is known of each variant now, in the order given. Its status is ``fault`` or ``oom`` if
        it could not be found out.
    """
    place = Place.of(target)
    keys = [_key(subject, place) for subject in subjects]
    file = verified()
    wait = READY_SECONDS + CHECK_SECONDS * len(subjects)
    with _ONE_AT_A_TIME, file.locked(wait):
        by_key = dict(zip(keys, subjects, strict=True))
        # another process or thread may have found it while this one waited
        found = {key: v for key in by_key if (v := file.known(key)) is not None}
        left = [subject for key, subject in by_key.items() if key not in found]
        for verification in _checked(left, place, device):
            file.add(verification)
            found[verification.key] = verification
    return [found[key] for key in keys]


def _key(subject: Subject, place: Place) -> Key:
    code = code_of(subject.problem, subject.variant)
    return key_of(place, subject.problem.sizeless_id(), subject.variant.id, code)


def _checked(subjects: Sequence[Subject], place: Place, device: torch.device) -> list[Verification]:
    """Check variants in a child process; one that dies is replaced for the next variant."""
    if not subjects:
        return []
    try:
        # needs modules that Windows does not have
        from gdn_ops.workers.worker_command import worker_command
        from gdn_ops.workers.worker_pool import Job, WorkerPool

        with WorkerPool(1, command=worker_command(WORKER)) as pool:
            where = {"device": str(device)}
            asked = {**where, "seen": seen_device(device)}
            ready = pool.one(Job(kind="ready", payload=asked, timeout=READY_SECONDS))
            if not ready.ok:
                why = f"a child process cannot use {device}: {ready.message}"
                return [_verification(subject, place, "fault", why) for subject in subjects]
            return [_check(pool, subject, place, where) for subject in subjects]
    except (OSError, ImportError) as error:
        why = f"no child process can be started: {error}"
        return [_verification(subject, place, "fault", why) for subject in subjects]


def _check(pool: WorkerPool, subject: Subject, place: Place, where: dict[str, str]) -> Verification:
    from gdn_ops.workers.worker_pool import Job

    facts, variant = subject.problem.facts(), subject.variant.to_json()
    payload = {**where, "problem": facts, "variant": variant}
    result = pool.one(Job(kind="check", payload=payload, timeout=CHECK_SECONDS))
    if result.payload is None:
        # the error of a job that is none of ours is the device's, e.g. an illegal address
        status = "crash" if result.status == "error" else result.status
        return _verification(subject, place, status, result.message)
    verdict = result.payload
    if verdict["status"] == "timeout":
        pool.close()  # its kernel still runs, and would hold up the next one
    errors = {str(name): float(error) for name, error in verdict["errors"].items()}
    return _verification(subject, place, verdict["status"], verdict["message"], errors)


def _verification(
    subject: Subject,
    place: Place,
    status: str,
    message: str,
    errors: dict[str, float] | None = None,
) -> Verification:
    return Verification(
        place=place,
        problem=subject.problem.sizeless_id(),
        variant=subject.variant.id,
        text=str(subject.variant),
        code=code_of(subject.problem, subject.variant),
        status=status,
        message=message,
        errors=errors or {},
        created=now(),
    )
