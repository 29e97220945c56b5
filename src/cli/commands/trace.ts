import { languageOf } from '../../doctor/catalogue.ts'
import type { EngineFilter } from '../../doctor/engines.ts'
import type { TraceTimes } from '../../doctor/trace.ts'
import { type Context, defineCommand } from '../command.ts'
import { printFinding, withWords } from '../doctor/print.ts'
import { writeJson, writeJsonLine } from '../output.ts'

/** As long as the doctor's own look needs to be sure; whoever waits sees it soon after. */
const stillMs = 6000
const periodMs = 250

export const command = defineCommand({
  description:
    'Runs the pull of another engine (docker, ctr, crictl, podman), watches the engine behind it, and shows where the time went: downloading, ' +
    'decompressing, unpacking. When it stands still for six seconds the doctor explains it, while it is stuck, on stderr; the command runs on.\n' +
    'The command is started as it is, with this terminal and environment; its exit status is that of trace.',
  operands: [{ name: 'COMMAND', many: true }],
  options: {},
  examples: [
    {
      line: 'windlass trace -- docker pull debian:12',
      does: 'See whether network, decompressor or disk is the slow one.',
    },
    { line: 'windlass trace --json -- ctr images pull docker.io/library/debian:12', does: 'The same, for a program.' },
  ],
  watched: false,
  async run(context, [file = '', ...args]) {
    const [{ Trace }, { enginesOf }, { LiveHost }, { startForeign }] = await Promise.all([
      import('../../doctor/trace.ts'),
      import('../../doctor/engines-of-command.ts'),
      import('../../sys/host-view.ts'),
      import('../../sys/foreign.ts'),
    ])
    const foreign = await startForeign(file, args)
    const start = performance.now()
    const isWanted = enginesOf({ pid: foreign.pid, words: [file, ...args], env: context.env })
    const trace = new Trace(new LiveHost(), isWanted)
    const told = new Set<string>()
    while (!foreign.isDone) {
      await trace.look()
      if (trace.stillMs > stillMs) await explain(context, isWanted, told)
      await Promise.race([foreign.ended, new Promise(resolve => setTimeout(resolve, periodMs))])
    }
    const status = await foreign.ended
    print(context, { times: trace.times, layers: trace.layers, totalMs: performance.now() - start, status })
    return status
  },
})

/** Tells what is new, while it is stuck. */
async function explain(context: Context, isWanted: EngineFilter, told: Set<string>): Promise<void> {
  const [{ diagnose }, { LiveHost }, { catalogue }] = await Promise.all([
    import('../../doctor/diagnose.ts'),
    import('../../sys/host-view.ts'),
    import('../../doctor/catalogue.ts'),
  ])
  // A signal ends the command that is watched, and with it this look.
  const { findings } = await diagnose(new LiveHost(), { isWanted, signal: new AbortController().signal })
  const language = languageOf(context.env)
  const wrong = findings.filter(({ code, severity }) => severity === 'problem' && catalogue[code].area === 'pulls')
  for (const finding of wrong.filter(({ code, subject }) => !told.has(`${code} ${subject}`))) {
    told.add(`${finding.code} ${finding.subject}`)
    if (context.json) writeJsonLine({ stdout: context.stderr }, withWords(language)(finding))
    else printFinding({ stdout: context.stderr }, finding, { language, verbose: true })
  }
}

interface Summary {
  readonly times: TraceTimes
  readonly layers: number
  readonly totalMs: number
  readonly status: number
}

function print(context: Context, summary: Summary): void {
  if (context.json) return writeJson(context, summary)
  const { times, totalMs, layers } = summary
  const line = (name: string, ms: number) => {
    const share = totalMs === 0 ? 0 : Math.round((ms / totalMs) * 100)
    context.stderr.write(`${name.padEnd(34)}${(ms / 1000).toFixed(1).padStart(8)} s ${String(share).padStart(4)} %\n`)
  }
  const { downloading, both, unpacking, waitingForRegistry, decompressor, unpacker, feeding } = times
  line('total', totalMs)
  line('downloading, and nothing else', downloading)
  line('downloading and unpacking', both)
  line(`unpacking (${layers} layers seen)`, unpacking)
  // What passed between the last look and the end is nobody's.
  line('neither was seen', Math.max(0, totalMs - downloading - both - unpacking))
  context.stderr.write('of that\n')
  line('  no byte came from the registry', waitingForRegistry)
  line('  the decompressor was the slowest', decompressor)
  line('  what writes was the slowest', unpacker)
  line('  compressed bytes were missing', feeding)
}
