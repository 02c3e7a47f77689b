"""`kiln verify`: find out what is asked about, its site and the log key, then ask the stages. Loads no Dagster and no pandas.

Trust starts at the log's verifier key: given by flag, else pinned on first use for each site under KILN_HOME.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from kiln_pipeline.adapters.environments import installed_distributions
from kiln_pipeline.adapters.known_logs import KnownLogs
from kiln_pipeline.adapters.site_reader import SiteReader, get, is_url
from kiln_pipeline.core import site_layout
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.core.locked_files import locked_files
from kiln_pipeline.core.lockfiles.parse import parse_lock
from kiln_pipeline.core.provenance.wheel_bundle import parse_bundle
from kiln_pipeline.errors import ObjectNotFound, Problem, RecipeError, StoreError, VerificationError
from kiln_pipeline.stages.verify import verify_offline, verify_wheel
from kiln_pipeline.stages.verify_many import Site, Verdict, verify_installed, verify_locked
from kiln_pipeline.stages.verify_views import as_of, check_view


def is_wheel(subject: str) -> bool:
    """Return whether `subject` is one wheel, not a lock file or an environment."""
    return is_url(subject) or subject.endswith(".whl")


def verify(
    subject: str,
    *,
    site: str | None,
    log_key: str | None,
    check_sdist: bool,
    environment: Mapping[str, str],
    day: date | None = None,
) -> tuple[Verdict, ...]:
    """Return what became of each wheel of ours that `subject` is, names or has installed: none when nothing of it is ours.

    The site's pages are those in the dated view of `day`, or the ones of now. A single wheel's doubt, and what makes all of them
    doubtful, is raised as a `VerificationError`.
    """
    where, remember = open_site(subject, site=site, log_key=log_key, check_sdist=check_sdist, environment=environment)
    if day is not None:
        view = check_view(day, fetch=where.fetch, log_key=VerifierKey.parse(where.log_key).public_key)
        where = replace(where, fetch=as_of(view, where.fetch))
    path = Path(subject)
    if is_wheel(subject):
        data, filename = read_wheel_file(subject)
        story = verify_wheel(data, filename, fetch=where.fetch, log_key=where.log_key, sdist_fetch=where.sdist_fetch).story
        verdicts: tuple[Verdict, ...] = (Verdict(subject=filename, story=story),)
    elif path.is_dir():
        verdicts = verify_installed(installed_distributions(path), where)
    else:
        text = _read_text(path)
        lock = parse_lock(text, file=subject, read=lambda name: _read_text(Path(name)))
        verdicts = verify_locked(lock.releases(), locked_files(text, path.name), where)
    if verdicts and not any(verdict.doubt for verdict in verdicts):
        remember()
    return verdicts


def open_site(
    subject: str, *, site: str | None, log_key: str | None, check_sdist: bool, environment: Mapping[str, str]
) -> tuple[Site, Callable[[], None]]:
    """Return the site that `subject` is in (or `site`) with its log's key, given, pinned or as published.

    What is returned besides pins that key, where none was known: to be called once something has been verified with it.
    """
    base = _one_spelling(_site_of(subject) if site is None else site)
    fetch = SiteReader(base)
    known = _known(environment)
    pinned = _given(log_key) or known.of_site(base)
    key = pinned or _published_key(fetch)
    sdist_fetch = get if check_sdist else None

    def remember() -> None:
        if pinned is not None:
            return
        try:
            known.pin(base, key)
        except StoreError as error:  # the wheels are verified all the same; the next time trusts on first use again
            click.echo(f"kiln: the log's key could not be remembered: {error}", err=True)

    return Site(fetch=fetch, log_key=key, base=_directory(base) if is_url(base) else "", sdist_fetch=sdist_fetch), remember


def verify_alone(
    wheel: str, *, bundle: str | None, site: str | None, log_key: str | None, environment: Mapping[str, str]
) -> tuple[Verdict, ...]:
    """Verify one wheel with nothing but the file that was downloaded with it: `bundle`, or the one beside the wheel.

    The log's key is given, or it is the one pinned for the `site`, or for a log of that name. Raises `VerificationError`.
    """
    if is_url(wheel) or not is_wheel(wheel):
        message = "offline, one wheel is verified: a file that was downloaded, with its .provenance.json"
        raise RecipeError([Problem(file=wheel, field="", message=message)])
    data, filename = read_wheel_file(wheel)
    name = bundle or f"{wheel}.provenance.json"
    provenance = _read(Path(name), "give --bundle FILE, the .provenance.json that lies beside the wheel on its site")
    origin = parse_bundle(provenance, name).checkpoint.partition(b"\n")[0].decode("utf-8", "replace")
    known = _known(environment)
    key = _given(log_key) or (known.of_site(site) if site else known.of_origin(origin))
    if key is None:
        hint = "give --log-key, as you had it from somebody you trust; offline, nothing is trusted on first use"
        raise VerificationError(subject=origin, reason="no key of a log of this name is known here", hint=hint)
    return (
        Verdict(
            subject=filename, story=verify_offline(data, filename, provenance, log_key=key, beside=_beside(Path(wheel))).story
        ),
    )


def show(verdicts: Sequence[Verdict], *, subject: str, many: bool) -> None:
    """Print a story per wheel, and what became of them all."""
    for verdict in verdicts:
        if many:
            click.echo(f"{verdict.subject}: {'REFUSED' if verdict.doubt else 'verified'}")
        if verdict.doubt:
            click.echo(f"  {verdict.doubt}")
        width = max((len(check) for check, _ in verdict.story), default=0)
        for check, fact in verdict.story:
            click.echo(f"  {check:<{width}}  {fact}")
    if not many:
        click.echo("verified")
        return
    refused = sum(bool(verdict.doubt) for verdict in verdicts)
    summary = f"{len(verdicts) - refused} verified, {refused} refused" if verdicts else "none, so there was nothing to verify"
    click.echo(f"wheels of this site in {subject}: {summary}")


def as_json(verdicts: Sequence[Verdict], *, many: bool) -> str:
    """Return the verdicts for programs: one object, or for a lock or an environment one with a list of ``wheels``."""
    rows = [
        {
            "wheel": verdict.subject,
            "verdict": "refused" if verdict.doubt else "verified",
            "story": [{"check": check, "fact": fact} for check, fact in verdict.story],
            **({"doubt": verdict.doubt} if verdict.doubt else {}),
        }
        for verdict in verdicts
    ]
    refused = any(verdict.doubt for verdict in verdicts)
    whole = {"verdict": "refused" if refused else "verified" if rows else "nothing to verify", "wheels": rows}
    return json.dumps(whole if many else rows[0], indent=2)


def _site_of(subject: str) -> str:
    """Return the site that a wheel lies in: what is above its ``wheels/``."""
    if is_url(subject):
        base, found, _ = subject.rpartition("/wheels/")
        if found:
            return f"{base}/"
    elif subject.endswith(".whl"):
        folder = Path(subject).resolve().parent
        if folder.name == "wheels":
            return str(folder.parent)
        _read(Path(subject), "give a wheel's path or URL, a lock file, or a virtual environment")
        hint = "say which site with --site DIR_OR_URL, or use --offline"
        raise VerificationError(subject=subject, reason="it does not lie in the wheels/ of a site", hint=hint)
    message = "which site are its wheels from? Say it with --site DIR_OR_URL"
    raise RecipeError([Problem(file=subject, field="", message=message)])


def _one_spelling(site: str) -> str:
    """Return a site's address in the one form that its key is pinned under: another spelling must not be trusted anew."""
    if is_url(site):
        parts = urlsplit(site)
        path = parts.path if parts.path.endswith("/") else f"{parts.path}/"
        return parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), path=path, query="", fragment="").geturl()
    if not site or "://" in site or not Path(site).is_dir():
        message = f"{site!r} is neither a folder nor an http or https URL"
        raise RecipeError([Problem(file="--site", field="", message=message)])
    return str(Path(site).resolve())


def _published_key(fetch: SiteReader) -> str:
    try:
        return fetch(site_layout.LOG_KEY).decode("utf-8", errors="replace").strip()
    except ObjectNotFound:
        raise VerificationError(subject=site_layout.LOG_KEY, reason="it is missing", hint="is this a site of kiln's?") from None


def _given(log_key: str | None) -> str | None:
    """Return the key given by flag: itself, or the file that holds it."""
    if log_key is None or "+" in log_key:
        return log_key
    return _read_text(Path(log_key)).strip()


def _known(environment: Mapping[str, str]) -> KnownLogs:
    return KnownLogs(Path(environment.get("KILN_HOME", ".kiln")) / "keys" / "known_logs.json")


def read_wheel_file(wheel: str) -> tuple[bytes, str]:
    if is_url(wheel):
        return get(wheel), unquote(urlsplit(wheel).path.rpartition("/")[2])
    return _read(Path(wheel), "give a wheel's path or URL, a lock file, or a virtual environment"), Path(wheel).name


def _beside(wheel: Path) -> Callable[[str], bytes]:
    """Return a reader of what was downloaded beside a wheel, by its key on the site."""

    def read(key: str) -> bytes:
        try:
            return wheel.with_name(key.rpartition("/")[2]).read_bytes()
        except FileNotFoundError:
            raise ObjectNotFound(key) from None
        except OSError as error:
            raise VerificationError(subject=key, reason=error.strerror or str(error)) from None

    return read


def _read_text(path: Path) -> str:
    return _read(path, "give a wheel's path or URL, a lock file, or a virtual environment").decode("utf-8", "replace")


def _read(path: Path, hint: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VerificationError(subject=str(path), reason=error.strerror or str(error), hint=hint) from None


def _directory(base: str) -> str:
    return base if base.endswith("/") else f"{base}/"
