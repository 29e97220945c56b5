export type Severity = 'problem' | 'warning' | 'note' | 'ok' | 'unseen'

interface Words {
  /** What is so, in half a line. */
  readonly title: string
  /** What it means, and how it comes about. */
  readonly meaning: string
  /** What to do; the first is the smallest step. */
  readonly advice: readonly string[]
}

/** One finding in words, in each language. */
export interface Entry {
  readonly severity: Severity
  readonly en: Words
  readonly zh: Words
}

/** The findings of one area, by code. */
export type Entries = Readonly<Record<string, Entry>>
