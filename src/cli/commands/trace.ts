import { type Language, languageOf } from '../../doctor/catalogue.ts'
import type { EngineFilter } from '../../doctor/engines.ts'
import type { TraceTimes } from '../../doctor/trace.ts'
import { type Context, defineCommand } from '../command.ts'
import { printFinding, withWords } from '../doctor/print.ts'
import { writeJson, writeJsonLine } from '../output.ts'
import { textWidth } from '../progress/width.ts'

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
    const padding = ' '.repeat(Math.max(1, 34 - textWidth(name)))
    context.stderr.write(`${name}${padding}${(ms / 1000).toFixed(1).padStart(8)} s ${String(share).padStart(4)} %\n`)
  }
  const { downloading, both, unpacking, waitingForRegistry, decompressor, unpacker, feeding } = times
  const say = summaryWords[languageOf(context.env)]
  line(say.total, totalMs)
  line(say.downloading, downloading)
  line(say.both, both)
  line(say.unpacking(layers), unpacking)
  // What passed between the last look and the end is nobody's.
  line(say.neither, Math.max(0, totalMs - downloading - both - unpacking))
  context.stderr.write(`${say.ofThat}\n`)
  line(`  ${say.registry}`, waitingForRegistry)
  line(`  ${say.decompressor}`, decompressor)
  line(`  ${say.unpacker}`, unpacker)
  line(`  ${say.feeding}`, feeding)
}

interface SummaryWords {
  readonly total: string
  readonly downloading: string
  readonly both: string
  readonly unpacking: (layers: number) => string
  readonly neither: string
  readonly ofThat: string
  readonly registry: string
  readonly decompressor: string
  readonly unpacker: string
  readonly feeding: string
}

const summaryWords: Readonly<Record<Language, SummaryWords>> = {
  en: {
    total: 'total',
    downloading: 'downloading, and nothing else',
    both: 'downloading and unpacking',
    unpacking: layers => `unpacking (${layers} layers seen)`,
    neither: 'neither was seen',
    ofThat: 'of that',
    registry: 'no byte came from the registry',
    decompressor: 'the decompressor was the slowest',
    unpacker: 'what writes was the slowest',
    feeding: 'compressed bytes were missing',
  },
  zh: {
    total: '总计',
    downloading: '仅在下载',
    both: '下载并解包',
    unpacking: layers => `解包（看到 ${layers} 层）`,
    neither: '两者都未看到',
    ofThat: '其中',
    registry: '仓库没有发来字节',
    decompressor: '解压程序最慢',
    unpacker: '写入的一方最慢',
    feeding: '缺少压缩数据',
  },
}
