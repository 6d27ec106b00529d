"""The licences of what the engine carries: a notice for each module, and each licence's text once."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from toolchain import Go

FILE = "licences.json"

# For `go list -f`: the module of a package, as it was replaced.
MODULE = (
    "{{with .Module}}{{if not .Main}}{{.Path}}\t"
    "{{with .Replace}}{{.Version}}\t{{.Dir}}{{else}}{{.Version}}\t{{.Dir}}{{end}}{{end}}{{end}}"
)

# What tells one licence from another. The first found counts: some texts name others further on.
_MARKS = (
    ("LGPL-2.1", r"(?i)GNU\s+LESSER\s+GENERAL\s+PUBLIC"),
    ("GPL-3.0", r"GNU GENERAL PUBLIC LICENSE\s+Version 3"),
    ("GPL-2.0", r"GNU GENERAL PUBLIC LICENSE\s+Version 2|/GPL-2"),
    ("MPL-2.0", r"Mozilla Public License"),
    ("Apache-2.0", r"Apache License,?\s+Version 2\.0"),
    ("BSD-3-Clause", r"(?s)Redistribution and use.*(Neither the name|be used to\s+endorse)"),
    ("BSD-2-Clause", r"Redistribution and use"),
    ("MIT", r"Permission is hereby granted, free of charge|MIT License"),
    ("ISC", r"Permission to use, copy, modify, and(/or)? distribute"),
    ("CC0-1.0", r"CC0 1\.0 Universal"),
    ("Unlicense", r"This is free and unencumbered software"),
)
_TEXT = re.compile(r"(?i)^(licen[cs]e|copying|notice)([.-].*)?$")


@dataclass
class Licences:
    """`notices` are (module, version, licence); `texts` says whose each text is."""

    notices: list[tuple[str, str, str]] = field(default_factory=list)
    texts: dict[str, list[str]] = field(default_factory=dict)

    def add(self, module: str, version: str, texts: Iterable[str]) -> None:
        texts = list(texts)
        joined = "\n".join(texts)
        licence = next(
            (name for name, mark in _MARKS if re.search(mark, joined)), "see its text" if joined else "unknown"
        )
        self.notices.append((module, version, licence))
        for text in texts:
            self.texts.setdefault(text.strip(), []).append(module)

    def add_go(self, go: Go, modules: Iterable[str]) -> None:
        """Go itself and `modules`, which are lines of the form MODULE."""
        found = [("go", go.version, go.output(Path.cwd(), "env", "GOROOT").strip())]
        found += [(path, version, folder) for path, version, folder in (line.split("\t") for line in modules if line)]
        for path, version, folder in sorted(found):
            files = sorted(file for file in Path(folder).iterdir() if file.is_file() and _TEXT.match(file.name))
            self.add(path, version, [file.read_text(errors="replace") for file in files])

    def add_debian(self, package: str, version: str, tree: Path) -> None:
        """A Debian package that is unpacked or installed under `tree`."""
        copyright_file = tree / "usr/share/doc" / package / "copyright"
        if copyright_file.exists():
            self.add(f"Debian {package}", version, [copyright_file.read_text()])

    def extend(self, other: "Licences") -> None:
        self.notices += other.notices
        for text, owners in other.texts.items():
            known = self.texts.setdefault(text, [])
            known += [owner for owner in owners if owner not in known]

    def write(self, folder: Path) -> None:
        (folder / FILE).write_text(json.dumps({"notices": self.notices, "texts": self.texts}))

    @classmethod
    def read(cls, folder: Path) -> "Licences":
        stored = json.loads((folder / FILE).read_text())
        return cls([(module, version, licence) for module, version, licence in stored["notices"]], stored["texts"])

    def notice(self) -> str:
        """The NOTICE of a package: one line a module."""
        rows = "".join(f"{module} {version}: {licence}\n" for module, version, licence in sorted(set(self.notices)))
        return (
            "This package carries programs made from the following, whose licences are in LICENCES.txt.\n"
            "Source code of what is marked Debian is Debian's source package of the same version.\n\n" + rows
        )

    def all_texts(self) -> str:
        rule = "=" * 100
        blocks = sorted((sorted(owners), text) for text, owners in self.texts.items())
        return "".join(f"{rule}\n{', '.join(owners)}\n\n{text}\n\n" for owners, text in blocks)
