import { describeEngine, describeLooks } from '../../doctor/bundle.ts'
import { areas, catalogue, type Language } from '../../doctor/catalogue.ts'
import type { Diagnosis } from '../../doctor/diagnose.ts'
import type { Finding } from '../../doctor/finding.ts'
import { areaNames, isWrong, withWords } from '../doctor/print.ts'
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
  const { code, subject, title, evidence, advice, confidence, area } = finding
  const isBad = finding.severity === 'problem'
  const about = subject === '' ? '' : html`<span class="code">${subject}</span>: `
  const doubt = isWrong(finding) && confidence !== 'certain' ? ` (${confidence})` : ''
  const list =
    evidence.length === 0
      ? ''
      : html`<ul${isBad ? html` class="evidence"` : ''}>${evidence.map(line => html`<li>${line}</li>`)}</ul>`
  const steps = isWrong(finding) ? html`<ul>${advice.map(line => html`<li>→ ${line}</li>`)}</ul>` : ''
  return html`<article class="${isBad ? 'bad' : 'good'}"><h3>${areaNames[language][area] ?? area} · ${about}${title} <code>${code}</code>${doubt}</h3>${list}${steps}</article>`
}

function renderLines({ lines, findings, language }: DoctorReport): Html {
  if (lines.length === 0) return html`<p class="muted">${words[language].none}</p>`
  const figures = lines.map(line => {
    const guilty = findings.find(({ facts, severity }) => severity === 'problem' && isAbout(facts, line))
    return html`<h3 class="code">${line.key}</h3><div class="charts">${renderStages(line, String(guilty?.facts['stage'] ?? ''))}</div>`
  })
  return html`<p class="note">${words[language].linesNote}</p>${figures}`
}

type Line = DoctorReport['lines'][number]

function isAbout(facts: Finding['facts'], { engine, decompressor }: Line): boolean {
  return facts['enginePid'] === engine && facts['decompressorPid'] === decompressor[0]?.pid
}

function renderStages({ looks }: Line, guilty: string): Html[] {
  const samples = looks.map(({ sample }) => sample)
  const last = samples.at(-1)
  return (last?.stages ?? []).map(stage => {
    const own = samples.flatMap(({ timeMs, stages }) => {
      const then = stages.find(({ name }) => name === stage.name)
      return then === undefined ? [] : [{ timeMs, then }]
    })
    const moved = (field: 'bytesIn' | 'bytesOut') => (own.at(-1)?.then[field] ?? 0) - (own[0]?.then[field] ?? 0)
    const curve = (field: 'bytesIn' | 'bytesOut') => drawCurve(own.map(({ timeMs, then }) => [timeMs, then[field]]))
    const note = `${formatSize(Math.max(0, moved('bytesIn')))} → ${formatSize(Math.max(0, moved('bytesOut')))}`
    return html`<figure${stage.kind === guilty ? html` class="guilty"` : ''}><svg viewBox="0 0 100 50" preserveAspectRatio="none" role="img" aria-label="${stage.name}: ${note}"><polyline class="out" points="${curve('bytesOut')}"/><polyline class="in" points="${curve('bytesIn')}"/></svg><figcaption><b>${stage.name}</b><br>${note}</figcaption></figure>`
  })
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
    const told = Object.entries(environment).map(([name, value]) => `${name}=${value}`)
    const uses = decompressors.map(({ name, path, use }) => `${name}: ${use}${path === undefined ? '' : ` (${path})`}`)
    return html`<h3>${kind} ${process.pid}</h3>${facts([
      ['version', version],
      ['program', program],
      ['data root', dataRoot],
      ['sockets', sockets.join(', ') || undefined],
      ['decompressors', uses.join(', ') || undefined],
      ['environment', told.join(' · ') || undefined],
    ])}`
  })}`
}

function renderJudge({ host }: DoctorReport): Html {
  return facts([
    ['windlass', host.windlass],
    ['Node', host.node],
    ['Operating system', host.operatingSystem],
    ['Kernel', host.kernel],
    ['Architecture', `${host.architecture}, ${host.cores} cores`],
  ])
}
