/** One challenge of a WWW-Authenticate header (RFC 9110, section 11.6.1). Scheme and parameter names are in lower case. */
export interface Challenge {
  readonly scheme: string
  readonly parameters: ReadonlyMap<string, string>
}

const separators = /[\s,]*/y
const schemeName = /[!#$%&'*+.^_`|~\w-]+/y
const parameterStart = /[\s,]*([!#$%&'*+.^_`|~\w-]+)[ \t]*=[ \t]*(?=[^=\s,])/y
const quotedValue = /"((?:[^"\\]|\\.)*)"/sy
const plainValue = /[^\s,"]+/y
const token68 = /[ \t]+[\w.~+/-]+=*(?=[ \t]*(?:,|$))/y
const toNextComma = /[^,]*/y

/** A position in a text that only moves forward: `take` matches a sticky pattern where it stands. */
class Scanner {
  readonly text: string
  position = 0

  constructor(text: string) {
    this.text = text
  }

  get done(): boolean {
    return this.position >= this.text.length
  }

  take(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.position
    const match = pattern.exec(this.text)
    if (match === null) return undefined
    this.position = pattern.lastIndex
    return match
  }
}

/**
 * Every challenge of one or several WWW-Authenticate headers, in order. Several challenges may share a header, quoted strings may
 * hold commas and escapes; what cannot be understood is skipped, since it is a stranger's text.
 */
export function parseChallenges(header: string | readonly string[] | undefined): Challenge[] {
  const headers = header === undefined ? [] : typeof header === 'string' ? [header] : header
  return headers.flatMap(parseHeader)
}

function parseHeader(text: string): Challenge[] {
  const scanner = new Scanner(text)
  const challenges: Challenge[] = []
  while (!scanner.done) {
    scanner.take(separators)
    const scheme = scanner.take(schemeName)?.[0]
    if (scheme === undefined) {
      scanner.position += 1
      scanner.take(toNextComma)
      continue
    }
    scanner.take(token68)
    challenges.push({ scheme: scheme.toLowerCase(), parameters: parseParameters(scanner) })
  }
  return challenges
}

/** The first value of a name wins: a proxy's appended parameter cannot replace what came before it. */
function parseParameters(scanner: Scanner): Map<string, string> {
  const parameters = new Map<string, string>()
  for (let start = scanner.take(parameterStart); start !== undefined; start = scanner.take(parameterStart)) {
    const name = (start[1] ?? '').toLowerCase()
    const value = readValue(scanner)
    if (value !== undefined && !parameters.has(name)) parameters.set(name, value)
    if (value === undefined) scanner.take(toNextComma)
  }
  return parameters
}

function readValue(scanner: Scanner): string | undefined {
  const quoted = scanner.take(quotedValue)
  if (quoted !== undefined) return quoted[1]?.replace(/\\(.)/gs, '$1')
  return scanner.take(plainValue)?.[0]
}
