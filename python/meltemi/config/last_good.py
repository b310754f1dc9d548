"""Which content of a file counts: the last that was right. Pure: time is an argument.

- A file with an error changes nothing; its last good objects stay (a new file has none), its
  errors are said. Only where the mesh starts are its valid objects taken.
- A file that lost objects is believed once it stayed so for a while: an editor that truncates
  before it writes, or removes before it renames, must not drop rules.

Fed by `meltemi.config.files`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meltemi.config.issues import Issue
from meltemi.config.load import Loaded, Read, Source, combine, recombine
from meltemi.config.rereading import FileReader
from meltemi.model.edited import edited

GONE_S = 0.3  # an editor that truncates or removes writes again within some 10 ms
SHRUNK_S = 0.1  # a save in several writes: what is there so far may be valid by chance

Content = bytes | Issue | None
"""Of a file: what is in it, why it cannot be read, or None for a file that is gone."""


class LastGood:
    """Remembers the files of one source between reads."""

    def __init__(self, default_namespace: str = "default") -> None:
        self._namespace = default_namespace
        self._seen: dict[str, Content] = {}
        self._accepted: dict[str, Read] = {}
        self._waiting: dict[str, tuple[float, Read | None]] = {}
        self._readers: dict[str, FileReader] = {}
        self._loaded: Loaded | None = None

    @property
    def deadline(self) -> float | None:
        """When `update` has to be called next, though no file changed."""
        return min((when for when, _ in self._waiting.values()), default=None)

    def update(self, contents: Mapping[str, Content], now: float) -> Loaded | None:
        """Takes what the files hold now. Gives what counts where that changed, or None.

        `contents` names every file there is; `now` is in seconds, of a clock that never goes
        back."""
        changed = self._loaded is None
        for file in sorted({*self._seen, *contents}):
            content = contents.get(file)
            if file not in self._seen or self._seen[file] != content:
                changed |= self._changed(file, content, now)
                self._seen[file] = content
                if content is None:
                    del self._seen[file]
                    self._readers.pop(file, None)
        for file, (when, waiting) in list(self._waiting.items()):
            if when <= now:
                del self._waiting[file]
                self._accept(file, waiting)
                changed = True
        if not changed:
            return None
        parts = [self._accepted[file] for file in sorted(self._accepted)]
        loaded = combine(parts) if self._loaded is None else recombine(parts, self._loaded)
        if self._loaded is not None and loaded == self._loaded:
            return None
        self._loaded = loaded
        return loaded

    def _changed(self, file: str, content: Content, now: float) -> bool:
        """Judges a file's new content; True where what counts changed at once."""
        self._waiting.pop(file, None)
        before = self._accepted.get(file)
        if content is None:
            if before is not None:
                self._waiting[file] = (now + GONE_S, None)
            return False
        if isinstance(content, Issue):
            after = Read(file, (), (), (content,))
        else:
            reader = self._readers.setdefault(file, FileReader(self._namespace))
            after = reader.read(Source(file, content))
        starts = self._loaded is None
        if not after.valid and not starts:
            good = before or Read(file, (), (), ())
            self._accept(file, replace(good, issues=after.issues))
            return True
        if before is None:
            self._accept(file, after)
            return True
        if _loses(before, after):
            patience_s = SHRUNK_S if after.objects else GONE_S
            self._waiting[file] = (now + patience_s, after)
            return False
        self._accept(file, after)
        return True

    def _accept(self, file: str, now_there: Read | None) -> None:
        if now_there is None:
            self._accepted.pop(file, None)
        else:
            self._accepted[file] = now_there


def _loses(before: Read, after: Read) -> bool:
    """Whether an object of the file is not in it any more."""
    left, right = edited(before.objects, after.objects)
    lost = {item.ref for item in before.objects[left]}
    lost.difference_update(item.ref for item in after.objects[right])
    if lost:  # a file may hold two of a name
        lost.difference_update(item.ref for item in after.objects)
    return bool(lost)
