/** The doctor's findings for people and for programs. */

import { tellEvidence } from '../../doctor/catalogue/evidence.ts'
import { areas, catalogue, type Language, type Severity } from '../../doctor/catalogue.ts'
import type { SkippedCheck } from '../../doctor/checks/run.ts'
import type { Diagnosis } from '../../doctor/diagnose.ts'
import { adviceOf, type Finding } from '../../doctor/finding.ts'
import type { Context } from '../command.ts'
import { writeLine } from '../output.ts'
import { printable } from '../printable.ts'
import { textWidth } from '../progress/width.ts'

/** A finding with the words of the catalogue, for programs. */
export function withWords(language: Language) {
  return (finding: Finding) => {
    const entry = catalogue[finding.code]
    const evidence = finding.evidence.map(text => tellEvidence(text, language))
    const advice = adviceOf(finding, language)
    return { ...finding, evidence, area: entry.area, title: entry[language].title, advice }
  }
}

interface PrintOptions {
  readonly language: Language
  readonly verbose: boolean
}

interface PageOptions extends PrintOptions {
  /** Checks that were left out, for those who want to see all. */
  readonly skipped: readonly SkippedCheck[]
  readonly took: Diagnosis['took']
}

const marks: Readonly<Record<Severity, string>> = { problem: '✗', warning: '!', unseen: '?', note: '·', ok: '✓' }
export const areaNames: Readonly<Record<Language, Readonly<Record<string, string>>>> = {
  en: {},
  zh: {
    engines: '引擎',
    pulls: '拉取',
    decompressors: '解压程序',
    disks: '磁盘',
    network: '网络',
    security: '安全',
    resources: '资源',
    host: '主机',
  },
}

/** ` (likely)`, where one may doubt what is wrong. */
export function describeDoubt(finding: Pick<Finding, 'confidence' | 'severity'>, language: Language): string {
  const { confidence } = finding
  if (!isWrong(finding) || confidence === 'certain') return ''
  if (language === 'en') return ` (${confidence})`
  return confidence === 'likely' ? '（很可能）' : '（不确定）'
}

/** Something is to be done, or could not be seen. */
export function isWrong({ severity }: Pick<Finding, 'severity'>): boolean {
  return severity === 'problem' || severity === 'warning' || severity === 'unseen'
}

/**
 * Problems first, so that the answer is on the first screen. Then, area by area, a paragraph for each other thing that is not well, and one line for all that is; with `verbose` each by itself.
 */
export function printFindings(context: Context, findings: readonly Finding[], options: PageOptions): void {
  const { language, verbose } = options
  const nameOf = ({ code }: Finding) => areaNames[language][catalogue[code].area] ?? catalogue[code].area
  const problems = findings.filter(({ severity }) => severity === 'problem')
  for (const finding of verbose ? problems : firstOfEach(problems)) {
    const told = { ...options, area: nameOf(finding) }
    printFinding(context, finding, told)
    const isAlike = ({ code, subject }: Finding) => code === finding.code && subject !== finding.subject
    if (!verbose) printAlike(context, problems.filter(isAlike), told)
  }
  for (const area of areas) {
    const all = findings.filter(({ code, severity }) => catalogue[code].area === area && severity !== 'problem')
    const isQuiet = ({ severity }: Finding) => severity === 'ok' && !verbose && area !== 'engines' && area !== 'pulls'
    const shown = all.filter(finding => (context.quiet ? isWrong(finding) : !isQuiet(finding)))
    for (const finding of shown) printFinding(context, finding, { ...options, area: nameOf(finding) })
    if (!context.quiet) printWell(context, all.filter(isQuiet), areaNames[language][area] ?? area, language)
  }
  if (verbose) printVisit(context, options)
}

function firstOfEach(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ code }, at) => findings.findIndex(other => other.code === code) === at)
}

/** So many more are told by name. */
const alikeMax = 4

/** Several layers of a pull are stuck in the same way, as a rule: of each it is said which one, and who waits for it, where that is known. */
function printAlike(context: Context, others: readonly Finding[], options: FindingOptions): void {
  const [{ code } = {}] = others
  if (code === undefined) return
  const { language } = options
  const shown = others.slice(0, alikeMax).map(finding => ({ finding, detail: describeAlike(finding, language) }))
  for (const { finding, detail } of shown) {
    if (detail === '') continue
    writeWrapped(context, formatHead(finding, options))
    writeWrapped(context, `    ${detail}`)
  }
  const names = shown.flatMap(({ finding: { subject }, detail }) => (detail === '' ? [subject] : []))
  const rest = others.length > alikeMax ? [...names, `+${others.length - alikeMax}`] : names
  if (rest.length > 0) writeWrapped(context, `    [${code}] ${rest.join(', ')}`)
}

/** Which layer it is about, and which pulls wait for it, in a few words. */
function describeAlike({ facts }: Finding, language: Language): string {
  const { layer, layerFile, target, images, clients } = facts
  const say = alikeWords[language]
  // The first twelve digits are what docker and podman show.
  const named = layer === undefined ? layerFile : String(layer).slice(7, 19)
  const parts = [
    ...(named === undefined ? [] : [say.layer(named, images)]),
    ...(named !== undefined || target === undefined ? [] : [say.target(target)]),
    ...(clients === undefined ? [] : [say.clients(clients)]),
  ]
  return parts.length === 0 ? '' : `${parts.join(say.comma)}${say.more}`
}

type Fact = string | number | boolean
const alikeWords = {
  en: {
    layer: (name: Fact, images?: Fact) => `layer ${name}${images === undefined ? '' : ` of ${images}`}`,
    target: (path: Fact) => `it is unpacked into ${path}`,
    clients: (names: Fact) => `clients that wait for a pull of this engine: ${names}`,
    comma: '; ',
    more: ' (all of it: -v)',
  },
  zh: {
    layer: (name: Fact, images?: Fact) => `${images === undefined ? '' : `${images} 的`}层 ${name}`,
    target: (path: Fact) => `它被解包到 ${path}`,
    clients: (names: Fact) => `等待此引擎拉取的客户端：${names}`,
    comma: '；',
    more: '（全部证据：-v）',
  },
} as const

/** What was left out, and how long it took. */
function printVisit(context: Context, { skipped, took, language }: PageOptions): void {
  const say = visitWords[language]
  for (const { check, item, because } of skipped) writeWrapped(context, `· ${say.skipped(check, item, because)}`)
  const [all, heldUp] = [took.ms, took.heldUpMs].map(ms => (ms / 1000).toFixed(1))
  writeWrapped(context, `· ${say.took(all ?? '', heldUp ?? '')}`)
}

const visitWords = {
  en: {
    skipped: (check: string, item: string, because: string) =>
      `${check}${item === '' ? '' : ` of ${item}`}: not looked at, because of ${because}`,
    took: (all: string, heldUp: string) =>
      `it looked for ${all} s, ${heldUp} s of which it waited for a processor itself`,
  },
  zh: {
    skipped: (check: string, item: string, because: string) =>
      `${item === '' ? '' : `${item} 的 `}${check}：未检查，原因是 ${because}`,
    took: (all: string, heldUp: string) => `共查看 ${all} 秒，其中 ${heldUp} 秒在等待处理器`,
  },
} as const

/** What is well in an area, each kind once. */
function printWell(context: Context, findings: readonly Finding[], area: string, language: Language): void {
  if (findings.length === 0) return
  const words = findings.map(({ code, evidence }) => {
    const { title } = catalogue[code][language]
    const [detail] = evidence
    return detail !== undefined && measured.has(code) ? `${title} (${tellEvidence(detail, language)})` : title
  })
  writeWrapped(context, `${marks.ok} ${area}  ${[...new Set(words)].join(' · ')}`)
}

/** Findings that are well and whose evidence is a figure that one wants to know all the same. */
const measured: ReadonlySet<string> = new Set([
  'DISK_FINE',
  'DECOMPRESSOR_IN_PROCESS',
  'DECOMPRESSOR_VERSION',
  'REGISTRY_SPEED',
  'SYNC_FAST',
])

interface FindingOptions extends PrintOptions {
  readonly area?: string
}

/** Its sign, whom it is about, and what it is; of what is wrong also the code, and the doubt. */
function formatHead(finding: Finding, { language, area = '' }: FindingOptions): string {
  const { code, severity, subject } = finding
  const { title } = catalogue[code][language]
  const head = `${marks[severity]} ${area}${area === '' ? '' : '  '}${subject === '' ? '' : `${subject}: `}${title}`
  return isWrong(finding) ? `${head} [${code}]${describeDoubt(finding, language)}` : head
}

/** One finding, on whatever is the stdout of that context. */
export function printFinding(context: Pick<Context, 'stdout'>, finding: Finding, options: FindingOptions): void {
  const { language, verbose } = options
  const evidence = finding.evidence.map(text => tellEvidence(text, language))
  const isTrouble = isWrong(finding)
  const head = formatHead(finding, options)
  if (!isTrouble && !verbose) {
    const [detail] = evidence
    return writeWrapped(context, detail === undefined ? head : `${head} (${detail})`)
  }
  writeWrapped(context, head)
  for (const text of evidence) writeWrapped(context, `    ${text}`)
  if (!isTrouble) return
  const advice = adviceOf(finding, language)
  for (const text of verbose ? advice : advice.slice(0, 1)) writeWrapped(context, `    → ${text}`)
}

/** On a terminal a line that is too long goes on below, under its own beginning; elsewhere a line is a line. */
function writeWrapped(context: Pick<Context, 'stdout'>, text: string): void {
  const { isTTY, columns = 80 } = context.stdout
  for (const line of isTTY ? wrapLine(printable(text), columns) : [text]) writeLine(context, line)
}

/** Spaces, one wide character with what may not begin a line, or a word. */
const pieces = /\s+|[\u2e80-\uffef](?:[，。；：、！？）」]*)|[^\s\u2e80-\uffef]+/gu

/** What is written without spaces may be broken anywhere. */
export function wrapLine(text: string, columns: number): string[] {
  const indent = ' '.repeat(Math.min(/^\s*/.exec(text)?.[0].length || 4, columns / 2))
  const lines: string[] = []
  let line = ''
  for (const piece of text.match(pieces) ?? []) {
    if (line.trim() !== '' && textWidth(line + piece.trimEnd()) > columns) {
      lines.push(line.trimEnd())
      line = indent + piece.trimStart()
    } else line += piece
  }
  return [...lines, line.trimEnd()]
}
