import { describeEngine, describeLooks } from '../../doctor/bundle.ts'
import { areas, catalogue, type Language } from '../../doctor/catalogue.ts'
import type { Diagnosis } from '../../doctor/diagnose.ts'
import type { Finding } from '../../doctor/finding.ts'
import { areaNames, describeDoubt, isWrong, withWords } from '../doctor/print.ts'
import { formatSize } from '../progress/units.ts'
import { facts, formatDate, renderDocument } from './document.ts'
import type { HostFacts } from './host.ts'
import { type Html, html } from './html.ts'

/** What one visit of the doctor found, for whoever was not there. */
export interface DoctorReport {
  readonly madeAt: string
  /** The command line. */
  readonly command: string
  /** Of the machine that judged. */
  readonly host: HostFacts
  readonly language: Language
  readonly findings: readonly ReturnType<ReturnType<typeof withWords>>[]
  readonly engines: readonly ReturnType<typeof describeEngine>[]
  readonly lines: readonly ReturnType<typeof describeLooks>[]
}

export function makeDoctorReport(
  { engines, findings, lines }: Diagnosis,
  about: Pick<DoctorReport, 'madeAt' | 'command' | 'host' | 'language'>,
): DoctorReport {
  return {
    ...about,
    findings: findings.map(withWords(about.language)),
    engines: engines.map(describeEngine),
    lines: lines.map(describeLooks),
  }
}

const words = {
  en: {
    well: 'Nothing is wrong.',
    wrong: 'What is wrong',
    else: 'What else was seen',
    engines: 'Engines',
    lines: 'What was seen of the pulls',
    linesNote:
      'Each line of processes, look by look: bytes that each stage has taken (dashed) and given (solid). One that is flat while those before it could go on holds up all.',
    none: 'Nothing.',
    judged: 'Judged by',
    moved: (note: string, ms: number) => `${note} in ${(ms / 1000).toFixed(1)} s`,
    waiting: (bytes: string) => `${bytes} wait for it`,
    room: (bytes: string) => `room for ${bytes}`,
    version: 'version',
    program: 'program',
    dataRoot: 'data root',
    sockets: 'sockets',
    decompressors: 'decompressors',
    environment: 'environment',
    operatingSystem: 'Operating system',
    kernel: 'Kernel',
    architecture: 'Architecture',
    cores: 'cores',
  },
  zh: {
    well: '没有发现问题。',
    wrong: '问题',
    else: '其他观察',
    engines: '引擎',
    lines: '对拉取的观察',
    linesNote:
      '每条进程链逐次观察：各阶段读入（虚线）和输出（实线）的字节数。前面的阶段可以前进而自身保持水平的那个阶段拖住了全部。',
    none: '无。',
    judged: '由以下程序判断',
    moved: (note: string, ms: number) => `${(ms / 1000).toFixed(1)} 秒内 ${note}`,
    waiting: (bytes: string) => `${bytes} 待其处理`,
    room: (bytes: string) => `可再写 ${bytes}`,
    version: '版本',
    program: '程序',
    dataRoot: '数据目录',
    sockets: '套接字',
    decompressors: '解压程序',
    environment: '环境变量',
    operatingSystem: '操作系统',
    kernel: '内核',
    architecture: '架构',
    cores: '核',
  },
} as const

export function renderDoctorPage(report: DoctorReport): string {
  const { language, findings, madeAt, command } = report
  const say = words[language]
  const wrong = findings.filter(isWrong)
  const [worst] = [...wrong].sort((a, b) => rank(a) - rank(b))
  return renderDocument({
    language: language === 'zh' ? 'zh' : 'en',
    title: `${worst?.title ?? say.well} · windlass doctor`,
    tone: worst === undefined ? 'good' : worst.severity === 'problem' ? 'bad' : 'survived',
    eyebrow: html`windlass doctor · <time datetime="${madeAt}">${formatDate(madeAt)}</time> · <code>${command}</code>`,
    headline: worst === undefined ? say.well : `${worst.subject === '' ? '' : `${worst.subject}: `}${worst.title}`,
    main: html`${wrong.length === 0 ? '' : section(say.wrong, renderFindings(wrong, language))}
${section(say.lines, renderLines(report))}
${section(say.engines, renderEngines(report))}
${section(
  say.else,
  renderFindings(
    findings.filter(finding => !isWrong(finding)),
    language,
  ),
)}
${section(say.judged, renderJudge(report))}`,
    data: report,
  })
}

const order = ['problem', 'warning', 'unseen']

function rank({ severity }: Finding): number {
  return order.indexOf(severity)
}

function section(title: string, content: Html): Html {
  return html`<section><h2>${title}</h2>${content}</section>`
}

function renderFindings(findings: DoctorReport['findings'], language: Language): Html {
  if (findings.length === 0) return html`<p class="muted">${words[language].none}</p>`
  const ordered = areas.flatMap(area => findings.filter(({ code }) => catalogue[code].area === area))
  return html`${ordered.map(finding => renderFinding(finding, language))}`
}

function renderFinding(finding: DoctorReport['findings'][number], language: Language): Html {
  const { code, subject, title, evidence, advice, area } = finding
  const isBad = finding.severity === 'problem'
  const about = subject === '' ? '' : html`<span class="code">${subject}</span>: `
  const doubt = describeDoubt(finding, language)
  const list =
    evidence.length === 0
      ? ''
      : html`<ul${isBad ? html` class="evidence"` : ''}>${evidence.map(line => html`<li>${line}</li>`)}</ul>`
  const steps = isWrong(finding) ? html`<ul class="steps">${advice.map(line => html`<li>${line}</li>`)}</ul>` : ''
  return html`<div class="finding"><h3>${areaNames[language][area] ?? area} · ${about}${title}${doubt} <code class="muted">${code}</code></h3>${list}${steps}</div>`
}

function renderLines({ lines, findings, engines, language }: DoctorReport): Html {
  if (lines.length === 0) return html`<p class="muted">${words[language].none}</p>`
  const figures = lines.map(line => {
    const guilty = findings.find(({ facts, severity }) => severity === 'problem' && isAbout(facts, line))
    const owner = engines.find(({ process }) => process.pid === line.engine)
    return html`<h3 class="code">${describe(line, owner?.kind)}</h3><div class="charts">${renderStages(line, String(guilty?.facts['stage'] ?? ''), language)}</div>`
  })
  return html`<p class="note">${words[language].linesNote}</p>${figures}`
}

type Line = DoctorReport['lines'][number]

/** The processes, first to last. */
function describe({ engine, decompressor, program, untar }: Line, kind = ''): string {
  const filters = decompressor.map(({ pid }) => `${program} ${pid}`)
  return [
    `${kind} ${engine}`.trim(),
    ...filters.slice(0, 1),
    ...(untar === undefined ? [] : [`untar ${untar.pid}`]),
  ].join(' → ')
}

function isAbout(facts: Finding['facts'], { engine, decompressor }: Line): boolean {
  return facts['enginePid'] === engine && facts['decompressorPid'] === decompressor[0]?.pid
}

function renderStages({ looks }: Line, guilty: string, language: Language): Html[] {
  const samples = looks.map(({ sample }) => sample)
  const last = samples.at(-1)
  return (last?.stages ?? []).map(stage => {
    const own = samples.flatMap(({ timeMs, stages }) => {
      const then = stages.find(({ name }) => name === stage.name)
      return then === undefined ? [] : [{ timeMs, then }]
    })
    const moved = (field: 'bytesIn' | 'bytesOut') => (own.at(-1)?.then[field] ?? 0) - (own[0]?.then[field] ?? 0)
    const curve = (field: 'bytesIn' | 'bytesOut') => drawCurve(own.map(({ timeMs, then }) => [timeMs, then[field]]))
    const bytes = `${formatSize(Math.max(0, moved('bytesIn')))} → ${formatSize(Math.max(0, moved('bytesOut')))}`
    const note = words[language].moved(bytes, (own.at(-1)?.timeMs ?? 0) - (own[0]?.timeMs ?? 0))
    return html`<figure${stage.kind === guilty ? html` class="guilty"` : ''}><svg viewBox="0 0 100 50" preserveAspectRatio="none" role="img" aria-label="${stage.name}: ${note}"><polyline class="out" points="${curve('bytesOut')}"/><polyline class="in" points="${curve('bytesIn')}"/></svg><figcaption><b>${stage.name}</b><br>${note}${describePipes(stage, language).map(line => html`<br>${line}`)}</figcaption></figure>`
  })
}

/** What stood in its pipes at the last look: who has both, input and room, could go on. */
function describePipes(
  { inputBytes, outputRoom, kind }: Line['looks'][number]['sample']['stages'][number],
  language: Language,
): string[] {
  if (kind !== 'decompress') return []
  const say = words[language]
  return [
    ...(inputBytes === undefined ? [] : [say.waiting(formatSize(inputBytes))]),
    ...(outputRoom === undefined ? [] : [say.room(formatSize(outputRoom))]),
  ]
}

/** In a box of 100 by 50; what does not grow is a line at the bottom. */
function drawCurve(points: readonly (readonly [timeMs: number, bytes: number])[]): string {
  const [first, last] = [points[0], points.at(-1)]
  const width = Math.max(1, (last?.[0] ?? 0) - (first?.[0] ?? 0))
  const height = Math.max(1, (last?.[1] ?? 0) - (first?.[1] ?? 0))
  const place = ([timeMs, bytes]: readonly [number, number]) => {
    const x = ((timeMs - (first?.[0] ?? 0)) / width) * 100
    const y = 49 - ((bytes - (first?.[1] ?? 0)) / height) * 46
    return `${x.toFixed(1)},${Math.min(49, Math.max(1, y)).toFixed(1)}`
  }
  return points.map(place).join(' ')
}

function renderEngines({ engines, language }: DoctorReport): Html {
  if (engines.length === 0) return html`<p class="muted">${words[language].none}</p>`
  return html`${engines.map(({ kind, process, version, program, dataRoot, sockets, environment, decompressors }) => {
    const say = words[language]
    const told = Object.entries(environment).map(([name, value]) => html`<li>${name}=${value}</li>`)
    const uses = decompressors.map(({ name, path, use }) => `${name}: ${use}${path === undefined ? '' : ` (${path})`}`)
    return html`<h3>${kind} ${process.pid}</h3>${facts([
      [say.version, version],
      [say.program, program],
      [say.dataRoot, dataRoot],
      [say.sockets, sockets.join(', ') || undefined],
      [say.decompressors, uses.join(', ') || undefined],
    ])}${told.length === 0 ? '' : html`<p class="muted">${say.environment}</p><ul class="plain code">${told}</ul>`}`
  })}`
}

function renderJudge({ host, language }: DoctorReport): Html {
  const say = words[language]
  return facts([
    ['windlass', host.windlass],
    ['Node', host.node],
    [say.operatingSystem, host.operatingSystem],
    [say.kernel, host.kernel],
    [say.architecture, `${host.architecture}, ${host.cores} ${say.cores}`],
  ])
}
