#!/usr/bin/env python3
"""What works, from the claims beside the code: `parity.yaml` in a provider's folder (or another room's).

    natGateways:
      create, show, list, delete: {done: tests/flows/test_nat_gateways.py::test_a_subnet_leaves_by_its_gateway}
      public IP prefixes: {todo: one address a gateway so far}
      price of an idle one: {exempt: nothing is billed}

python tools/parity.py            write docs/parity.md, and how much of it there is into README.md
python tools/parity.py --check    say what is wrong: a claim without a test that exists, a page that is not up to date
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- parity:begin -->", "<!-- parity:end -->"
ROOMS = {
    "identity": "Sign-in and roles",
    "arm": "Azure Resource Manager",
    "cli": "Commands",
    "cluster": "In the cluster",
}


@dataclass(frozen=True)
class Claim:
    file: Path
    area: str
    """`Microsoft.Network/natGateways`, or a room's name."""
    what: str
    done: str
    """The test that proves it: `PATH::NAME`; '' while it is to do."""
    todo: str
    exempt: str = ""
    """Why it will not be done: Azure's, and nothing for one machine."""


def claims() -> Iterator[Claim]:
    for file in sorted((ROOT / "src" / "sorairo").rglob("parity.yaml")):
        for subject, entries in (yaml.safe_load(file.read_text()) or {}).items():
            for what, state in entries.items():
                done, todo, exempt = (str(state.get(k, "")) for k in ("done", "todo", "exempt"))
                yield Claim(file, _area(file, subject), str(what), done, todo, exempt)


def _area(file: Path, subject: str) -> str:
    folder = file.parent
    if folder.parent.name != "providers":
        room = ROOMS.get(folder.name, folder.name)
        return room if subject == "all" else f"{room}: {subject}"
    plain = folder.name.replace("_", ".")
    spelled = re.search(re.escape(plain), (folder / "__init__.py").read_text(), re.IGNORECASE)
    return f"{spelled[0] if spelled else plain}/{subject}"


def problems() -> list[str]:
    found = []
    for claim in claims():
        where = f"{claim.file.relative_to(ROOT)}: {claim.area}, {claim.what}"
        if sum(map(bool, (claim.done, claim.todo, claim.exempt))) != 1:
            found.append(f"{where}: say one of `done: TEST`, `todo: WHY` and `exempt: WHY`")
        elif claim.done and not proved(claim.done):
            found.append(f"{where}: there is no test {claim.done}")
    found += [
        f"{page.relative_to(ROOT)}: not up to date; run python tools/parity.py"
        for page, text in pages().items()
        if not page.exists() or page.read_text() != text
    ]
    return found


def proved(test: str) -> bool:
    path, _, name = test.partition("::")
    return name.rpartition("::")[2] in _tests_in(ROOT / path)


@lru_cache
def _tests_in(file: Path) -> frozenset[str]:
    text = file.read_text() if file.is_file() else ""
    return frozenset(re.findall(r"^\s*(?:async )?def (test_\w+)", text, re.MULTILINE))


README = ROOT / "README.md"
PAGE = ROOT / "docs" / "parity.md"


def pages() -> dict[Path, str]:
    """What each page that tells of the claims must say."""
    areas: dict[str, list[Claim]] = {}
    for claim in claims():
        areas.setdefault(claim.area, []).append(claim)
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return {README: f"{before}{BEGIN}\n{_table(areas)}{END}{after}", PAGE: _page(areas)}


def _table(areas: dict[str, list[Claim]]) -> str:
    lines = ["| | works | not yet |", "|---|--:|--:|"]
    for area, said in areas.items():
        anchor = re.sub(r"[^a-z0-9 -]", "", area.lower()).replace(" ", "-")
        done = sum(bool(claim.done) for claim in said)
        lines.append(f"| [{area}](docs/parity.md#{anchor}) | {done} | {len(said) - done or ''} |")
    return "\n".join(lines) + "\n"


def _page(areas: dict[str, list[Claim]]) -> str:
    lines = ["# What works, and what does not yet", "", "Made by `tools/parity.py` from the claims beside the code."]
    lines += ["Each thing that works leads to the test that proves it."]
    for area, said in areas.items():
        lines += ["", f"## {area}", ""]
        lines += [f"- [{claim.what}](../{claim.done.partition('::')[0]})" for claim in said if claim.done]
        lines += [f"- **not yet**: {claim.what}: {claim.todo}" for claim in said if claim.todo]
        lines += [f"- will not be: {claim.what}: {claim.exempt}" for claim in said if claim.exempt]
    return "\n".join(lines) + "\n"


def main() -> int:
    if "--check" in sys.argv[1:]:
        found = problems()
        print("\n".join(found) or "every claim has its test", file=sys.stderr if found else sys.stdout)
        return 1 if found else 0
    for page, text in pages().items():
        page.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
