/** The doctor's findings for people and for programs. */
import { areas, catalogue, type Language, type Severity } from '../../doctor/catalogue.ts'
import type { SkippedCheck } from '../../doctor/checks/run.ts'
import type { Finding } from '../../doctor/finding.ts'
import type { Context } from '../command.ts'
import { writeLine } from '../output.ts'

/** A finding with the words of the catalogue, for programs. */
export function withWords(language: Language) {
  return (finding: Finding) => {
    const entry = catalogue[finding.code]
    return { ...finding, area: entry.area, title: entry[language].title, advice: entry[language].advice }
  }
}

interface PrintOptions {
  readonly language: Language
  readonly verbose: boolean
}

interface PageOptions extends PrintOptions {
  /** Checks that were left out, for those who want to see all. */
  readonly skipped: readonly SkippedCheck[]
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

/** Something is to be done, or could not be seen. */
export function isWrong({ severity }: Finding): boolean {
  return severity === 'problem' || severity === 'warning' || severity === 'unseen'
}

/** One line for all that is well in an area, and a paragraph for each thing that is not; with `verbose` each by itself. */
export function printFindings(context: Context, findings: readonly Finding[], options: PageOptions): void {
  for (const area of areas) {
    const all = findings.filter(({ code }) => catalogue[code].area === area)
    const isQuiet = ({ severity }: Finding) =>
      severity === 'ok' && !options.verbose && area !== 'engines' && area !== 'pulls'
    const wrong = all.filter(isWrong)
    const shown = context.quiet ? wrong : all.filter(finding => !isQuiet(finding))
    const name = areaNames[options.language][area] ?? area
    for (const finding of shown) printFinding(context, finding, { ...options, area: name })
    if (!context.quiet) printWell(context, all.filter(isQuiet), name, options.language)
  }
  if (!options.verbose) return
  for (const { check, item, because } of options.skipped)
    writeLine(context, `· ${check}${item === '' ? '' : ` of ${item}`}: not looked at, because of ${because}`)
}

/** What is well in an area, each kind once. */
function printWell(context: Context, findings: readonly Finding[], area: string, language: Language): void {
  if (findings.length === 0) return
  const words = findings.map(({ code, evidence }) => {
    const { title } = catalogue[code][language]
    const [detail] = evidence
    return detail !== undefined && measured.has(code) ? `${title} (${detail})` : title
  })
  writeLine(context, `${marks.ok} ${area}  ${[...new Set(words)].join(' · ')}`)
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
  const { code, severity, subject, confidence, evidence } = finding
  const { language, verbose, area = '' } = options
  const { title, advice } = catalogue[code][language]
  const isTrouble = isWrong(finding)
  const about = subject === '' ? '' : `${subject}: `
  const doubt = isTrouble && confidence !== 'certain' ? ` (${confidence})` : ''
  writeLine(
    context,
    `${marks[severity]} ${area}${area === '' ? '' : '  '}${about}${title}${isTrouble ? ` [${code}]` : ''}${doubt}`,
  )
  const details = isTrouble || verbose ? evidence : evidence.slice(0, 1)
  for (const text of details) writeLine(context, `    ${text}`)
  if (!isTrouble) return
  for (const text of verbose ? advice : advice.slice(0, 1)) writeLine(context, `    → ${text}`)
}
