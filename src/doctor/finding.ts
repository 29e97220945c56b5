import { catalogue, type FindingCode, type Severity } from './catalogue.ts'

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

/** The same for what is found again in a later look. */
export function keyOf({ code, subject }: Pick<Finding, 'code' | 'subject'>): string {
  return `${code} ${subject}`
}

/** In a few words, for those who know the codes. */
export function describeFinding({ code, subject }: Finding): string {
  return subject === '' ? code : `${code} (${subject})`
}
