"""The job that builds a sample of the published wheels again. What a verdict is stands in `stages.rebuild`."""

import dagster as dg
from pydantic import Field

from kiln_pipeline.adapters import diffoscope
from kiln_pipeline.defs.presentation import RunProgress, failure, preview, verdicts
from kiln_pipeline.errors import KilnError
from kiln_pipeline.stages.rebuild_sample import rebuild_sample as rebuild_some
from kiln_pipeline.workspace import Workspace


class SampleConfig(dg.Config):
    """How much to rebuild."""

    count: int = Field(
        default=3,
        ge=1,
        description="Published wheels of this host's platform to build again: those never rebuilt first, in the log's order, "
        "then those whose newest verdict is the oldest.",
    )


@dg.op(
    description="Build published wheels again with what is on record of them, compare, and leave signed verdicts in the inbox."
)
def rebuild_published(context: dg.OpExecutionContext, config: SampleConfig, kiln: dg.ResourceParam[Workspace]) -> dg.Output[int]:
    try:
        report = rebuild_some(
            kiln.attempts(),
            kiln.rebuilds(),
            count=config.count,
            platform=kiln.platform(),
            site=kiln.site,
            log_key=kiln.published_log_key,
            inbox=kiln.inbox,
            signer=kiln.host_key,
            builders=kiln.builders,
            upstream=kiln.upstream,
            clock=kiln.clock,
            work=kiln.home / "work",
            explain=diffoscope.explain,
            progress=RunProgress(context.log, kiln.progress),
            run_id=context.run.run_id,
        )
    except KilnError as error:
        raise failure(error) from None
    unjudged = [{"wheel": wheel, "reason": reason} for wheel, reason in (*report.doubts, *report.no_verdict)]
    metadata = {
        "verdicts": verdicts([rebuilt.rebuild for rebuilt in report.rebuilt]),
        "no verdict": preview(unjudged, "wheel", "reason") if unjudged else "none",
    }
    if report.doubts or (unjudged and not report.rebuilt):
        description = f"{unjudged[0]['wheel']}: {unjudged[0]['reason']}"
        raise dg.Failure(description=description, metadata=metadata, allow_retries=False)
    return dg.Output(len(report.rebuilt), metadata=metadata)


@dg.job(
    description="Build a sample of the published wheels again on this host, and leave the verdicts in the inbox: the next "
    "publish records them. Takes as long as that many builds; publishes go on meanwhile.",
)
def rebuild_sample() -> None:
    rebuild_published()
