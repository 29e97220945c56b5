import { meterWork, StageMeter, samplePipeline } from '../flow/stage.ts'
import { watch } from '../flow/watch.ts'
import { probePool } from './pool-stage.ts'
import { type LayersContext, readLimits, stallReporter } from './pull-layers.ts'

type CommitContext = Pick<LayersContext, 'options' | 'signal' | 'emit' | 'stuck' | 'startedMs'>

/** What is published for the image as a whole, watched as the layers are. Each call of what `work` is given is one piece of it. */
export async function watchCommit(
  context: CommitContext,
  work: (commit: (item: string, piece: Promise<unknown>) => Promise<unknown>) => Promise<void>,
): Promise<void> {
  const meter = new StageMeter('commit', 'commit', probePool)
  const failure = new AbortController()
  const options = {
    signal: context.signal,
    limits: readLimits(context.options.patience),
    ...stallReporter(undefined, context, failure),
  }
  using _watch = watch(closer => samplePipeline([meter], closer), options)
  try {
    await work((item, piece) => {
      meter.item = item
      return meterWork(piece, meter)
    })
  } finally {
    context.stuck.end(undefined)
  }
}
