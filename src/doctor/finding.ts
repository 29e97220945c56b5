import { catalogue, type FindingCode, type Language, type Severity } from './catalogue.ts'

/** What was found, about whom, and why it is believed. Plain data: survives JSON. */
export interface Finding {
  readonly code: FindingCode
  readonly severity: Severity
  /** `dockerd 1234`, a path, a program. */
  readonly subject: string
  readonly confidence: 'certain' | 'likely' | 'unknown'
  /** Sentences with numbers; names of programs and paths in them are a stranger's. */
  readonly evidence: readonly string[]
  readonly facts: Readonly<Record<string, string | number | boolean>>
}

export function makeFinding(
  code: FindingCode,
  subject: string,
  details: Partial<Omit<Finding, 'code' | 'subject'>> = {},
): Finding {
  const { severity } = catalogue[code]
  return { code, severity, subject, confidence: 'certain', evidence: [], facts: {}, ...details }
}

/** What can be done about it, with the number of the process in it where that is known. */
export function adviceOf(finding: Pick<Finding, 'code' | 'facts'>, language: Language): readonly string[] {
  const { advice } = catalogue[finding.code][language]
  const pid = accusedOf(finding)
  return pid === undefined ? advice : advice.map(text => text.replace(/\bPID\b/g, String(pid)))
}

/** Which fact is the number of the one that a stage is. */
const pidsOfStage: Readonly<Record<string, readonly string[]>> = {
  decompress: ['decompressorPid'],
  unpack: ['untarPid', 'enginePid'],
  sync: ['enginePid'],
}

function accusedOf({ code, facts }: Pick<Finding, 'code' | 'facts'>) {
  if (code === 'ENGINE_STOPPED') return facts['enginePid']
  if (code === 'CLIENT_STOPPED') return facts['clientPid']
  const { stage } = facts
  const names = stage === undefined ? ['pid'] : (pidsOfStage[String(stage)] ?? [])
  return names.map(name => facts[name]).find(pid => pid !== undefined)
}

/** The same for what is found again in a later look. */
export function keyOf({ code, subject }: Pick<Finding, 'code' | 'subject'>): string {
  return `${code} ${subject}`
}

/** In a few words, for those who know the codes. */
export function describeFinding({ code, subject }: Finding): string {
  return subject === '' ? code : `${code} (${subject})`
}
