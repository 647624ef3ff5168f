"""flatnorm archive show: all that is known of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flatnorm_xr.cli.archive.options import ArchivePath, Run
from flatnorm_xr.cli.archive.words import print_json, printed, show_facts
from flatnorm_xr.cli.options import AsJson

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm archive show calib 3f2a91c05b7e"


def command(archive: ArchivePath, run: Run, as_json: AsJson = False) -> None:
    """Tell all that is known of a run.

    Its camera, filters and times, how it was solved, where its file lies, and what was decided of it.
    """
    from flatnorm_xr.archive.archive import Archive

    facts = Archive(archive, create=False).show(run)
    if as_json:
        print_json(facts)
        return
    certificates, decisions = facts.pop("certificates"), facts.pop("decisions")
    facts["program"] = facts.pop("flatnorm_version", "")
    show_facts({name.replace("_", " "): _text(name, value) for name, value in facts.items()})
    if certificates:
        printed(["", "certificates"])
        show_facts({str(one["number"]): _of_certificate(one) for one in certificates})
    if decisions:
        printed(["", "decisions"])
        show_facts({str(one["number"]): _of_decision(one) for one in decisions})


def _text(name: str, value: Any) -> str:
    if value is None or value == "":
        return ""
    if name == "converged":
        return "yes" if value else "no"
    if name == "bytes":
        return f"{value / 1e6:.2f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"
    if name == "rms_residual":
        return f"{100 * value:.3g} %"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _of_certificate(one: Mapping[str, Any]) -> str:
    until = f"until {one['end']}" if one["end"] else "on"
    words = f"{one['filter']} from {one['begin']} {until}, by {one['approver']}".strip()
    if one["failures"]:
        words += f"; although {'; '.join(one['failures'])}"
    if one["waiver"]:
        words += f"; waived by {one['waiver']['who']} on {one['waiver']['when']}: {one['waiver']['why']}"
    if one["comment"]:
        words += f"; {one['comment']}"
    return words + (f"; REVOKED: {one['revoked']}" if one["revoked"] else "")


def _of_decision(one: Mapping[str, Any]) -> str:
    who = f" by {one['who']}" if "who" in one else ""
    done = {"remove": "removed", "quarantine": "put into quarantine"}.get(one["kind"], one["kind"])
    return f"{done}{who} on {one['recorded'][:10]}: {one['why']}"
