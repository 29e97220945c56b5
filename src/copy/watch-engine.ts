import { StageMeter, samplePipeline } from '../flow/stage.ts'
import { watch } from '../flow/watch.ts'
import { probeEngine } from './layer-stages.ts'
import { type LayersContext, readLimits, stallReporter } from './pull-layers.ts'

/** What an engine owes us an answer to, watched as the layers are. Dispose ends it. */
export interface EngineWatch extends Disposable {
  /** Active while the engine has all that it needs of us; counts what it says or takes. */
  readonly meter: StageMeter
  /** Aborted once the engine was given up, with the error that says who stands still. */
  readonly signal: AbortSignal
}

/** @param name how the engine is called in messages */
export function watchEngine(context: LayersContext, name: string): EngineWatch {
  const { options, stuck, signal } = context
  const meter = new StageMeter('process', 'engine', closer => probeEngine(options.engineTask, closer))
  meter.item = name
  const failure = new AbortController()
  const { onVerdict, onRecovered } = stallReporter(undefined, context, failure)
  const look = watch(closer => samplePipeline([meter], closer), {
    signal,
    limits: readLimits(options.patience),
    onVerdict,
    // What ends with it is no movement.
    onRecovered: verdict => failure.signal.aborted || onRecovered(verdict),
  })
  return {
    meter,
    signal: failure.signal,
    [Symbol.dispose]: () => {
      look[Symbol.dispose]()
      stuck.end(undefined)
    },
  }
}
