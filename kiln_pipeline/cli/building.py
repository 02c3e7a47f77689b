"""`kiln build`: one wheel as asked, into a folder, with the parameters of python.build's workflow. Publishes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.build_plan import BuildPlan
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.errors import BuildError
from kiln_pipeline.ports import Progress, WheelBuilder
from kiln_pipeline.stages.ad_hoc import ad_hoc_plan
from kiln_pipeline.stages.build import build_wheel
from kiln_pipeline.stages.build_many import build_many
from kiln_pipeline.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What `kiln build` was asked for, as text."""

    release: str
    python: str
    url: str = ""
    variables: tuple[str, ...] = ()
    platform: str = ""


def build(workspace: Workspace, asked: Asked, output: Path, *, run_id: str = "") -> Attempt:
    """Build the wheel, leave it in `output` with the signed bundle of the attempt, and return the attempt.

    Raises `RecipeError` with every parameter that is wrong, `UpstreamError` and `BuildError` when nothing could be tried.
    """
    name, _, version = asked.release.partition("==")
    if not version:
        Release.parse(asked.release)  # says what is wrong with it
    plan = ad_hoc_plan(
        package_name=name,
        package_version=version,
        package_url=asked.url,
        python_version=asked.python,
        environment_variables=" ".join(asked.variables),
        platform=asked.platform or workspace.platform(),
        recipes=workspace.recipes,
        upstream=workspace.upstream,
        attempts=workspace.attempts(),
    )
    folder = DirectoryStore(output)

    def attempt(plan: BuildPlan, builder: WheelBuilder, said: Progress) -> Attempt:
        return build_wheel(
            plan,
            builder=builder,
            upstream=workspace.upstream,
            inbox=folder,
            signer=workspace.host_key,
            clock=workspace.clock,
            work=workspace.home / "work",
            progress=said,
            run_id=run_id,
        )

    built = build_many([plan], builders_for=workspace.builders_for, build=attempt, at_once=1, progress=workspace.progress)
    if not built.attempts:
        raise BuildError(subject=asked.release, reason="; ".join(built.refused))
    made = built.attempts[-1]
    if made.wheel:
        folder.put(made.wheel, folder.get(f"{made.statement_sha256}/{made.wheel}"))
    return made


def as_dict(attempt: Attempt, output: Path) -> Mapping[str, object]:
    """Return the attempt for programs."""
    return {
        "release": str(attempt.release),
        "identifier": str(attempt.identifier),
        "outcome": str(attempt.outcome),
        "wheel": str(output / attempt.wheel) if attempt.wheel else "",
        "sha256": attempt.wheel_sha256,
        "failure": str(attempt.failure),
        "proof": attempt.proof,
        "bundle": str(output / attempt.statement_sha256),
    }
