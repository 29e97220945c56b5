/** The sentences in a source file: what stands in quotes and templates, with `{}` for what is filled in. */

/** What may stand before a `/` that begins a regular expression. */
const beforePattern = /(?:[(,=:[!&|?{};\n]|return|=>)\s*$/

export function listLiterals(source: string): string[] {
  const found: string[] = []
  readCode(source, 0, found)
  return found
}

/** Reads until the end, or the brace that closes what a template has opened. @returns where it stopped */
function readCode(source: string, start: number, found: string[], isInTemplate = false): number {
  let depth = 0
  for (let at = start; at < source.length; ) {
    const rest = source.slice(at, at + 2)
    if (isInTemplate && rest[0] === '}' && depth === 0) return at + 1
    if (rest[0] === '{') depth++
    if (rest[0] === '}') depth--
    if (rest === '//') at = endOf(source, '\n', at)
    else if (rest === '/*') at = endOf(source, '*/', at)
    else if (rest[0] === "'" || rest[0] === '"') at = readString(source, at, found)
    else if (rest[0] === '`') at = readTemplate(source, at + 1, found)
    else if (rest[0] === '/' && beforePattern.test(source.slice(Math.max(0, at - 20), at))) at = skipPattern(source, at)
    else at++
  }
  return source.length
}

function endOf(source: string, mark: string, at: number): number {
  const end = source.indexOf(mark, at)
  return end < 0 ? source.length : end + mark.length
}

function readString(source: string, start: number, found: string[]): number {
  let at = start + 1
  while (at < source.length && source[at] !== source[start] && source[at] !== '\n') at += source[at] === '\\' ? 2 : 1
  found.push(source.slice(start + 1, at).replace(/\\(.)/g, '$1'))
  return at + 1
}

function readTemplate(source: string, start: number, found: string[]): number {
  let text = ''
  let at = start
  while (at < source.length && source[at] !== '`') {
    if (source[at] === '\\') {
      text += source[at + 1]
      at += 2
    } else if (source.startsWith('${', at)) {
      text += '{}'
      at = readCode(source, at + 2, found, true)
    } else text += source[at++]
  }
  found.push(text)
  return at + 1
}

function skipPattern(source: string, start: number): number {
  let isInClass = false
  let at = start + 1
  for (; at < source.length && source[at] !== '\n' && (isInClass || source[at] !== '/'); at++) {
    if (source[at] === '\\') at++
    else if (source[at] === '[') isInClass = true
    else if (source[at] === ']') isInClass = false
  }
  return at + 1
}
