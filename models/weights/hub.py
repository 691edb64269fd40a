"""Weights from a Hugging Face hub or a mirror with the same paths, and from hosts of their own.

These 110 lines and the 330 of fetching.py are kept in place of huggingface_hub (2.4.0, there
through transformers), which loses what is promised here. Tried against a local hub with
`hf_hub_download(local_dir=…)`:

- A file of the right size with other bytes than the SHA-256 that the hub states gets its name, and
  no error is raised: sizes are compared, hashes are not.
- A download whose process is killed begins anew at the next call, and its part stays on the disk
  for good, since each call gives it a name of its own. Here it goes on, under If-Range.
- A mirror that sends no X-Repo-Commit is refused; here its paths are enough.
- HF_TOKEN of the environment is sent to whatever host is configured, and each request tells the
  versions of Python and torch. Here only models.token_file is sent, to the hub alone.
- A disk without room is a warning, and weights from a host of their own (SAM's) would still need
  our own download.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from models.errors import FetchFailed
from models.weights.fetching import Fetcher, Remote
from models.weights.hashes import file_sha256, write_record
from models.weights.weights import Weights

REVISION = "main"


@dataclass(frozen=True)
class Hub:
    """A hub at `url` ("https://host" or a mirror's base), asked with `fetcher`."""

    url: str
    fetcher: Fetcher

    def fetch(self, weights: Weights, weights_dir: Path, tell: Callable[[str], None]) -> Path:
        """Bring weights into the folder of weights and record their hashes; where they are.

        `tell` hears the name of each file before it comes. FetchFailed.
        """
        path = weights.locate(weights_dir)
        if weights.place is not None or not (weights.repo or weights.url):
            raise FetchFailed(weights.name, f"it is not fetched: {weights.source}")
        if weights.folder:
            write_record(path, self._folder(weights, path, tell))
        else:
            tell(path.name)
            write_record(path, {path.name: self.fetcher.fetch(self._remote(weights), path)})
        return path

    def _remote(self, weights: Weights) -> Remote:
        return Remote(
            weights.url or self._resolved(weights.repo, weights.file),
            sha256=weights.sha256,
            size_bytes=weights.size_bytes,
            page=self._page(weights.repo),
        )

    def _folder(self, weights: Weights, path: Path, tell: Callable[[str], None]) -> dict[str, str]:
        sums = {}
        for name, remote in self._listed(weights.repo):
            if weights.only and name not in weights.only:
                continue
            file = path / name
            tell(name)
            # what is whole is not fetched again; only a hash proves it
            if file.is_file() and remote.sha256 and file_sha256(file) == remote.sha256:
                sums[name] = remote.sha256
            else:
                sums[name] = self.fetcher.fetch(remote, file)
        if missing := set(weights.only) - set(sums):
            raise FetchFailed(
                self._page(weights.repo), f"the repository lacks {', '.join(sorted(missing))}"
            )
        return sums

    def _listed(self, repo: str) -> Iterator[tuple[str, Remote]]:
        url = f"{self.url}/api/models/{repo}/tree/{REVISION}?recursive=true"
        while url:
            answer = self.fetcher.ask(url, self._page(repo))
            try:
                entries = [
                    self._entry(repo, entry) for entry in answer.json() if entry["type"] == "file"
                ]
            except (ValueError, KeyError, TypeError) as error:
                raise FetchFailed(url, "the answer is no list of files; is this a hub?") from error
            yield from (
                (name, remote)
                for name, remote in entries
                if not any(part.startswith(".") for part in PurePosixPath(name).parts)
            )
            url = self._next(url, answer.links)

    def _entry(self, repo: str, entry: dict[str, Any]) -> tuple[str, Remote]:
        name = PurePosixPath(str(entry["path"]))
        if name.is_absolute() or ".." in name.parts:
            raise FetchFailed(
                self._page(repo), f"the repository names a file outside itself: {name}"
            )
        large = entry.get("lfs") or {}
        remote = Remote(
            self._resolved(repo, str(name)),
            sha256=str(large.get("oid", "")),
            git_sha1="" if large else str(entry["oid"]),
            size_bytes=int(entry["size"]),
            page=self._page(repo),
        )
        return str(name), remote

    def _next(self, url: str, links: Mapping[str | None, dict[str, str]]) -> str:
        following = urljoin(url, links.get("next", {}).get("url", ""))
        # a list goes on where it began, or not at all: the token is for this host
        same_host = urlsplit(following).netloc == urlsplit(self.url).netloc
        return following if same_host and following != url else ""

    def _resolved(self, repo: str, file: str) -> str:
        return f"{self.url}/{repo}/resolve/{REVISION}/{quote(file)}"

    def _page(self, repo: str) -> str:
        return f"{self.url}/{repo}" if repo else ""
