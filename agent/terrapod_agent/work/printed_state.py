"""The state that terraform prints when it can write it nowhere: kept out of the log, not lost."""

_BEGIN = b'\n{\n  "version": 4,\n  "terraform_version": "'
_END = b"\n}\n"
_NOTE = b"(terraform printed the state here, for it could not be written; it is not shown)\n"


class PrintedStateFilter:
    """Feed it a log, get it without such states. Depends on the bytes alone, not on their cuts."""

    def __init__(self) -> None:
        self._held = b"\n"  # what may be the beginning of a marker
        self._added = True  # the first byte of it is a line feed that is not of the log
        self._inside = False

    def feed(self, data: bytes) -> bytes:
        """The next bytes, as far as they are surely no state."""
        text, out = self._held + data, []
        while True:
            marker = _END if self._inside else _BEGIN
            at = text.find(marker)
            if at < 0:
                settled = len(text) - _overlap(text, marker)
                out.append(self._shown(text[:settled]))
                self._held = text[settled:]
                if self._held and not self._inside and not self._added:
                    out.append(b"\n")  # it ends a line in any case, which is shown at once
                    self._added = True
                return b"".join(out)
            if self._inside:
                text, self._added = b"\n" + text[at + len(marker) :], True
            else:
                out += [self._shown(text[: at + 1]), _NOTE]
                text = text[at + len(marker) :]
            self._inside = not self._inside

    def finish(self) -> bytes:
        """What was held back, once there is no more."""
        rest, self._held = self._shown(self._held), b""
        return rest

    def _shown(self, text: bytes) -> bytes:
        if self._inside or not text:
            return b""
        text, self._added = text[self._added :], False
        return text


def last_printed_state(log: bytes) -> bytes | None:
    """The last state that was printed into a log, if it was printed to its end."""
    at = (b"\n" + log).rfind(_BEGIN)
    end = log.find(_END, at) if at >= 0 else -1
    return None if end < 0 else log[at : end + 3]


def _overlap(text: bytes, marker: bytes) -> int:
    """How many of the last bytes could be the beginning of the marker."""
    longest = min(len(text), len(marker) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(marker[:n])), 0)
