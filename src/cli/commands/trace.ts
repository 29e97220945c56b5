import { catalogue, type Language, languageOf } from '../../doctor/catalogue.ts'
import type { EngineFilter } from '../../doctor/engines.ts'
import { type Finding, keyOf } from '../../doctor/finding.ts'
import type { Trace, TraceTimes } from '../../doctor/trace.ts'
import { type Context, defineCommand } from '../command.ts'
import { isWrong, printFinding, withWords } from '../doctor/print.ts'
import { writeJson, writeJsonLine, writeWarning } from '../output.ts'
import { textWidth } from '../progress/width.ts'

/** As long as the doctor's own look needs to be sure; whoever waits sees it soon after. */
const stillMs = 6000
const periodMs = 250
/** A look costs processor time, which the pull may want. */
const restMs = 5000

export const command = defineCommand({
  description:
    'Runs the pull of another engine (docker, ctr, crictl, podman), watches the engine behind it, and shows where the time went: downloading, ' +
    'decompressing, unpacking. When nothing is seen to move for six seconds, the doctor tells what it sees, while it is stuck, on stderr; the command runs on.\n' +
    'The command is started as it is, with this terminal and environment; its exit status is that of trace. With --json its stdout goes to stderr, so that stdout is one document. A signal to end ' +
    'is passed on to it and to what it has started; what is left of it after 1.5 seconds is killed.\n' +
    'What the engine had under way before is not counted. What others ask the same engine for meanwhile cannot be told apart, and is mentioned.',
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
    const host = new LiveHost()
    const trace = await Trace.open(host)
    const ignoresHangup = context.env['WINDLASS_IGNORE_HUP'] === '1'
    const foreign = await startForeign(file, args, { isAside: context.json, ignoresHangup })
    const start = performance.now()
    const total = foreign.ended.then(status => ({ status, totalMs: performance.now() - start }))
    const isWanted = await enginesOf(host, { pid: foreign.pid, words: [file, ...args], env: context.env })
    trace.start(isWanted)
    const explainer = new Explainer(context, isWanted, trace)
    while (!foreign.isDone) {
      await trace.look()
      explainer.look()
      await Promise.race([foreign.ended, new Promise(resolve => setTimeout(resolve, periodMs))])
    }
    explainer.stop()
    const { status, totalMs } = await total
    const { downloading, both, unpacking } = trace.times
    // What passed between the last look and the end is nobody's.
    const times = { ...trace.times, other: Math.max(0, totalMs - downloading - both - unpacking) }
    print(context, { times, layers: trace.layers, others: trace.others, totalMs, status })
    return status
  },
})

/** Looks closer when all stands still, beside what counts the time, and tells what is new. */
class Explainer {
  readonly #context: Context
  readonly #isWanted: EngineFilter
  readonly #trace: Trace
  readonly #told = new Set<string>()
  readonly #over = new AbortController()
  #isLooking = false
  #restsUntil = 0

  constructor(context: Context, isWanted: EngineFilter, trace: Trace) {
    this.#context = context
    this.#isWanted = isWanted
    this.#trace = trace
  }

  look(): void {
    if (this.#isLooking || this.#trace.stillMs <= stillMs || performance.now() < this.#restsUntil) return
    this.#isLooking = true
    void this.#explain()
      .catch((error: Error) => {
        if (!this.#over.signal.aborted) writeWarning(this.#context, error.message)
      })
      .finally(() => {
        this.#isLooking = false
        this.#restsUntil = performance.now() + restMs
      })
  }

  /** The command has ended: nobody waits for a look that is under way. */
  stop(): void {
    this.#over.abort()
  }

  async #explain(): Promise<void> {
    const [{ diagnose }, { LiveHost }] = await Promise.all([
      import('../../doctor/diagnose.ts'),
      import('../../sys/host-view.ts'),
    ])
    const { signal } = this.#over
    const { findings } = await diagnose(new LiveHost(), { isWanted: this.#isWanted, signal })
    // It may have gone on meanwhile, and a signal ends the command first.
    if (signal.aborted || this.#context.signal.aborted || this.#trace.stillMs <= stillMs) return
    const fresh = selectTold(findings).filter(finding => !this.#told.has(keyOf(finding)))
    if (fresh.length > 0) this.#tell(fresh)
  }

  #tell(findings: readonly Finding[]): void {
    const { json, stderr, env } = this.#context
    const language = languageOf(env)
    if (!json) stderr.write(`${summaryWords[language].still(Math.floor(this.#trace.stillMs / 1000))}\n`)
    for (const finding of findings) {
      this.#told.add(keyOf(finding))
      if (json) writeJsonLine({ stdout: stderr }, withWords(language)(finding))
      else printFinding({ stdout: stderr }, finding, { language, verbose: true })
    }
  }
}

/** All that may hold it up; where nothing of the pulls is wrong, whatever is seen of them. */
function selectTold(findings: readonly Finding[]): readonly Finding[] {
  const isOfPulls = ({ code }: Finding) => catalogue[code].area === 'pulls'
  const isExplained = findings.some(finding => isOfPulls(finding) && isWrong(finding))
  return findings.filter(finding => isWrong(finding) || (isOfPulls(finding) && !isExplained))
}

interface Summary {
  readonly times: TraceTimes
  readonly layers: number
  readonly others: Trace['others']
  readonly totalMs: number
  readonly status: number
}

function print(context: Context, summary: Summary): void {
  if (context.json) return writeJson(context, summary)
  const { times, totalMs, layers, others } = summary
  const line = (name: string, ms: number) => {
    const share = totalMs === 0 ? 0 : Math.round((ms / totalMs) * 100)
    const padding = ' '.repeat(Math.max(1, 34 - textWidth(name)))
    context.stderr.write(`${name}${padding}${(ms / 1000).toFixed(1).padStart(8)} s ${String(share).padStart(4)} %\n`)
  }
  const { downloading, both, unpacking, other, waitingForRegistry, decompressor, unpacker, feeding } = times
  const say = summaryWords[languageOf(context.env)]
  line(say.total, totalMs)
  line(say.downloading, downloading)
  line(say.both, both)
  line(say.unpacking(layers), unpacking)
  line(say.neither, other)
  context.stderr.write(`${say.ofThat}\n`)
  line(`  ${say.registry}`, waitingForRegistry)
  line(`  ${say.decompressor}`, decompressor)
  line(`  ${say.unpacker}`, unpacker)
  line(`  ${say.feeding}`, feeding)
  if (others.leftOut > 0) context.stderr.write(`${say.leftOut(others.leftOut)}\n`)
  if (others.clients > 0) context.stderr.write(`${say.clients(others.clients)}\n`)
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
  readonly still: (seconds: number) => string
  readonly leftOut: (layers: number) => string
  readonly clients: (clients: number) => string
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
    still: seconds => `nothing, or not all, has been seen to move for ${seconds} s:`,
    leftOut: layers => `not counted: ${layers} layers that were under way before`,
    clients: clients =>
      `counted, too, if the same engine does it: what ${clients} other clients have asked for meanwhile`,
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
    still: seconds => `已有 ${seconds} 秒未看到全部或部分有进展：`,
    leftOut: layers => `未计入：此前已在进行的 ${layers} 层`,
    clients: clients => `同一引擎所做的也计入在内：其间另有 ${clients} 个客户端的请求`,
  },
}
