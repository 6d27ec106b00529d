#!/usr/bin/env python3
"""Build the upstream programs that sorairo runs, each once, and pack them for Python.

    python3 engine/build.py                          the newest Kubernetes, the programs around it, the images
    python3 engine/build.py --minor 1.37 --minor 1.36
    python3 engine/build.py --all --wheels dist      everything, as wheels in dist/
    python3 engine/build.py --install .venv/bin/python
    python3 engine/build.py --status --json          where everything is, building nothing

What is built is kept in `$XDG_CACHE_HOME/sorairo/engine` and never built again until its inputs change.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cache
import components
import wheels
from components import Component
from progress import Progress, elapsed
from recipes import Workshop, size
from toolchain import BuildError


def build(component: Component, where: dict[str, Path], progress: Progress) -> float:
    """Build a component if it is not there. Seconds that it took, 0 if it was there."""
    folder = where[component.name]
    if folder.exists():
        progress.note(component.name, f"{component.version}, {size(folder) / 1e6:.1f} MB")
        return 0
    progress.start(component.name, "building")
    began = time.monotonic()
    try:
        with cache.lock(component.name, on_wait=lambda: progress.step("waiting for another build of it")):
            if not folder.exists():
                with cache.new_folder(folder) as out:
                    log = cache.root() / "logs" / f"{component.name}.log"
                    log.parent.mkdir(exist_ok=True)
                    log.unlink(missing_ok=True)
                    needed = {name: where[name] for name in component.needs}
                    shop = Workshop(out, component.version, needed, progress, log)
                    component.recipe.build(shop)
                    shop.licences.write(out)
                    record = {"name": component.name, "version": component.version, **shop.record}
                    (out / "component.json").write_text(json.dumps(record, indent=2) + "\n")
    except BaseException:
        progress.finish("failed", mark="✗")
        raise
    took = time.monotonic() - began
    progress.finish(f"{component.version}, {size(folder) / 1e6:.1f} MB, built in {elapsed(took)}")
    return took


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    minors = components.minors()
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--minor", action="append", choices=minors, help=f"a Kubernetes minor; without it {minors[0]}")
    which.add_argument("--all", action="store_true", help=f"every Kubernetes minor: {', '.join(minors)}")
    optional = [component.name for component in components.OPTIONAL]
    parser.add_argument("--with", action="append", choices=optional, default=[], dest="besides", help="this one too")
    parser.add_argument("--only", action="append", metavar="COMPONENT", help="this component and what it needs")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="write wheels there")
    parser.add_argument("--install", type=Path, metavar="PYTHON", help="make what is built importable there, uncopied")
    parser.add_argument("--status", action="store_true", help="build nothing")
    parser.add_argument("--json", action="store_true", help="say on standard output where everything is")
    return parser.parse_args(given)


def wanted(options: argparse.Namespace, known: list[Component]) -> list[Component]:
    if options.status:
        return []
    if not options.only:
        return known
    by_name = {component.name: component for component in known}
    unknown = set(options.only) - set(by_name)
    if unknown:
        raise BuildError(f"no component {', '.join(sorted(unknown))}; there are {', '.join(by_name)}")
    names = {name for asked in options.only for name in (asked, *by_name[asked].needs)}
    return [component for component in known if component.name in names]


def main() -> int:
    options = arguments()
    minors = components.minors()
    named = {*options.besides, *(options.only or ())}
    named |= {need for each in components.SPECS if each.name in named for need in each.needs}
    known = components.chosen(minors if options.all else options.minor or minors[:1], named)
    where = components.folders(known)
    progress = Progress()
    report: dict[str, object] = {}
    try:
        took = {component.name: build(component, where, progress) for component in wanted(options, known)}
        report["components"] = {
            component.name: {
                "version": component.version,
                "folder": str(where[component.name]),
                "built": where[component.name].exists(),
                "seconds": round(took.get(component.name, 0), 1),
            }
            for component in known
        }
        packed = wheels.distributions(known, where)
        if options.wheels:
            written = report["wheels"] = list[str]()
            for distribution in packed:
                progress.start(distribution.name, "packing")
                wheel = wheels.write(distribution, options.wheels)
                weight = wheel.stat().st_size
                progress.finish(f"{wheel.name}, {weight / 1e6:.1f} MB", mark="✗" if weight > wheels.LIMIT else "✓")
                written.append(str(wheel))
        if options.install:
            folder = wheels.link(packed, options.install)
            report["packages"] = str(folder)
            names = ", ".join(distribution.package for distribution in packed)
            progress.note("installed", f"{names} for {options.install}")
    except BuildError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    if options.json:
        json.dump(report, sys.stdout, indent=2)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
