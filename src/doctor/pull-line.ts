/** Command lines that pull, read as the programs themselves read them: what is an option, what is the value of one (a password among them), and what is an image. */
import { parseGoBool } from '../codec/external/programs.ts'

/** By its first name; whether a value follows. */
type Options = ReadonlyMap<string, { readonly name: string; readonly hasValue: boolean }>

export interface PullGrammar {
  /**
   * `gnu`: options stand anywhere behind their command, `-qa` are two and `-uVALUE` is one (pflag). `go`: `-name` is the same as `--name`, and the first word that is no option ends them
   * (the flag package of Go).
   */
  readonly style: 'gnu' | 'go'
  /** What pulls: `image pull`. */
  readonly commands: readonly string[]
  /** Those of the program; in the style `gnu` they may stand behind the command as well. */
  readonly general: Options
  /** Those of the command. */
  readonly own: Options
}

/** Names are written without dashes, other names of the same behind a slash: `namespace/n`. */
export function optionsOf(flags: string, valued: string): Options {
  const entriesOf = (text: string, hasValue: boolean) =>
    text
      .split(' ')
      .filter(Boolean)
      .flatMap(names => {
        const [name = '', ...others] = names.split('/')
        return [name, ...others].map(each => [each, { name, hasValue }] as const)
      })
  return new Map([...entriesOf(flags, false), ...entriesOf(valued, true)])
}

export class PullLine {
  /** As they were written. */
  readonly images: readonly string[]
  readonly #values: ReadonlyMap<string, readonly string[]>

  constructor(images: readonly string[], values: ReadonlyMap<string, readonly string[]>) {
    this.images = images
    this.#values = values
  }

  all(name: string): readonly string[] {
    return this.#values.get(name) ?? []
  }

  /** The last that was given counts. Undefined also if it is empty. */
  valueOf(name: string): string | undefined {
    return this.all(name).at(-1) || undefined
  }

  isSet(name: string): boolean {
    return parseGoBool(this.valueOf(name) ?? 'false') === true
  }
}

/** @returns undefined if it pulls nothing, or has an option that is not known: the word behind that may be its value, or an image */
export function parsePullLine(args: readonly string[], grammar: PullGrammar): PullLine | undefined {
  const { style, commands } = grammar
  const words = args.slice(1)
  const values = new Map<string, string[]>()
  const images: string[] = []
  let command = ''
  let isPull = false
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (isPull && (word === '--' || (style === 'go' && !isOption(word)))) {
      // ctr of containerd 1.6 reads an option there, others pass over it.
      if (word !== '--' && words.some(isOption)) return undefined
      images.push(...(word === '--' ? [] : [word]), ...words)
      break
    }
    if (isOption(word)) {
      const found = readOption(word, words, grammar, isPull)
      if (found === undefined) return undefined
      for (const [name, value] of found) values.set(name, [...(values.get(name) ?? []), value])
    } else if (isPull) images.push(word)
    else {
      command = `${command} ${word}`.trim()
      isPull = commands.includes(command)
    }
  }
  return isPull ? new PullLine(images, values) : undefined
}

function isOption(word: string): boolean {
  return word.length > 1 && word.startsWith('-')
}

/** One word, and the value behind it, which is taken from `rest`. */
function readOption(
  word: string,
  rest: string[],
  { style, general, own }: PullGrammar,
  isPull: boolean,
): [string, string][] | undefined {
  const find = (name: string) => {
    return (isPull ? own.get(name) : undefined) ?? (isPull && style === 'go' ? undefined : general.get(name))
  }
  if (style === 'gnu' && !word.startsWith('--')) return readShort(word.slice(1), rest, find)
  const [, name = '', , value] = /^--?([^=]+)(=(.*))?$/s.exec(word) ?? []
  const option = find(name)
  if (option === undefined) return undefined
  const told = value ?? (option.hasValue ? rest.shift() : 'true')
  return told === undefined ? undefined : [[option.name, told]]
}

/** `-qa`, `-uVALUE`, `-u=VALUE`, `-u VALUE`. */
function readShort(
  letters: string,
  rest: string[],
  find: (name: string) => ReturnType<Options['get']>,
): [string, string][] | undefined {
  const option = find(letters.slice(0, 1))
  if (option === undefined) return undefined
  const behind = letters.slice(1)
  if (option.hasValue || behind.startsWith('=')) {
    const value = behind === '' ? rest.shift() : behind.replace(/^=/, '')
    return value === undefined ? undefined : [[option.name, value]]
  }
  if (behind === '') return [[option.name, 'true']]
  const others = readShort(behind, rest, find)
  return others && [[option.name, 'true'], ...others]
}
