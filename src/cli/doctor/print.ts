/** The doctor's findings for people and for programs. */

import { tellEvidence } from '../../doctor/catalogue/evidence.ts'
import { areas, catalogue, type Language, type Severity } from '../../doctor/catalogue.ts'
import type { SkippedCheck } from '../../doctor/checks/run.ts'
import type { Diagnosis } from '../../doctor/diagnose.ts'
import type { Finding } from '../../doctor/finding.ts'
import type { Context } from '../command.ts'
import { writeLine } from '../output.ts'
import { printable } from '../printable.ts'
import { textWidth } from '../progress/width.ts'

/** A finding with the words of the catalogue, for programs. */
export function withWords(language: Language) {
  return (finding: Finding) => {
    const entry = catalogue[finding.code]
    const evidence = finding.evidence.map(text => tellEvidence(text, language))
    return { ...finding, evidence, area: entry.area, title: entry[language].title, advice: entry[language].advice }
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
    printFinding(context, finding, { ...options, area: nameOf(finding) })
    if (!verbose) printAlike(context, finding, problems)
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

/** Several layers of a pull are stuck in the same way, as a rule. */
function printAlike(context: Context, first: Finding, findings: readonly Finding[]): void {
  const others = findings.filter(({ code, subject }) => code === first.code && subject !== first.subject)
  if (others.length === 0) return
  const more = others.length > alikeMax ? `, +${others.length - alikeMax}` : ''
  const subjects = others.slice(0, alikeMax).map(({ subject }) => subject)
  writeWrapped(context, `    [${first.code}] ${subjects.join(', ')}${more}`)
}

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

/** One finding, on whatever is the stdout of that context. */
export function printFinding(
  context: Pick<Context, 'stdout'>,
  finding: Finding,
  options: PrintOptions & { readonly area?: string },
): void {
  const { code, severity, subject } = finding
  const { language, verbose, area = '' } = options
  const evidence = finding.evidence.map(text => tellEvidence(text, language))
  const { title, advice } = catalogue[code][language]
  const isTrouble = isWrong(finding)
  const head = `${marks[severity]} ${area}${area === '' ? '' : '  '}${subject === '' ? '' : `${subject}: `}${title}`
  if (!isTrouble && !verbose) {
    const [detail] = evidence
    return writeWrapped(context, detail === undefined ? head : `${head} (${detail})`)
  }
  writeWrapped(context, `${head}${isTrouble ? ` [${code}]` : ''}${describeDoubt(finding, language)}`)
  for (const text of evidence) writeWrapped(context, `    ${text}`)
  if (!isTrouble) return
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
