import { parseArgs } from 'node:util'
import { WindlassError } from '../errors.ts'
import { type Command, globalOptions, type OptionSpec, type OptionTable, type OptionValues } from './command.ts'
import { findNearest } from './nearest.ts'

/** The command's name, and all other arguments in their order. */
export interface SplitArguments {
  readonly name: string | undefined
  readonly rest: readonly string[]
}

/** A command's arguments, checked. */
export interface ParsedArguments {
  readonly globals: OptionValues<typeof globalOptions>
  readonly options: OptionValues<OptionTable>
  readonly operands: readonly string[]
}

type Values = Record<string, boolean | number | string | readonly string[] | undefined>

/**
 * Finds the command: the first argument that is neither a global option nor its value.
 * @throws WindlassError USAGE if another option stands before it
 */
export function splitArguments(argv: readonly string[]): SplitArguments {
  for (const token of tokenize(argv, globalOptions)) {
    if (token.kind === 'option-terminator') break
    if (token.kind === 'option' && !Object.hasOwn(globalOptions, token.name)) {
      throw unknownOption(token.rawName, globalOptions, 'windlass')
    }
    if (token.kind === 'positional') return { name: token.value, rest: argv.toSpliced(token.index, 1) }
  }
  return { name: undefined, rest: argv }
}

/**
 * Reads the options and operands of a command; global ones may stand anywhere.
 * @throws WindlassError USAGE for an unknown option, a wrong or missing value, and a wrong number of operands
 */
export function parseArguments(args: readonly string[], name: string, command: Command): ParsedArguments {
  const table: OptionTable = { ...globalOptions, ...command.options }
  const values = emptyValues(table)
  const operands: string[] = []
  for (const token of tokenize(args, table)) {
    if (token.kind === 'positional') operands.push(token.value)
    if (token.kind === 'option') addOption(values, token, table, name)
  }
  // The two tables are parsed as one, which the types cannot say.
  const globals = values as unknown as OptionValues<typeof globalOptions>
  if (!globals.help) checkOperands(name, command, operands)
  return { globals, options: values as OptionValues<OptionTable>, operands }
}

/**
 * Reads global options alone, where there is no command.
 * @throws WindlassError USAGE
 */
export function parseGlobals(args: readonly string[]): OptionValues<typeof globalOptions> {
  const none: Command = {
    description: '',
    operands: [],
    options: {},
    examples: [{ line: '', does: '' }],
    run: async () => 0,
  }
  return parseArguments(args, '', none).globals
}

/** `REF…`, `[TARGET]`. */
export function formatOperands({ operands }: Pick<Command, 'operands'>): string {
  return operands
    .map(({ name, many, optional }) => {
      const text = many ? `${name}…` : name
      return optional ? `[${text}]` : text
    })
    .join(' ')
}

/** What was meant, for a message: `; did you mean X?`, or nothing. */
export function suggest(text: string, names: readonly string[], prefix = ''): string {
  const nearest = findNearest(text, names)
  return nearest === undefined ? '' : `; did you mean ${prefix}${nearest}?`
}

type Token = ReturnType<typeof tokenize>[number]

/** Not strict, so that what is wrong can be said in our own words. */
function tokenize(args: readonly string[], table: OptionTable) {
  const options = Object.fromEntries(
    Object.entries(table).map(([name, { type, short }]) => [
      name,
      { type: type === 'boolean' ? ('boolean' as const) : ('string' as const), ...(short !== undefined && { short }) },
    ]),
  )
  return parseArgs({ args: [...args], options, strict: false, allowPositionals: true, tokens: true }).tokens
}

function emptyValues(table: OptionTable): Values {
  return Object.fromEntries(
    Object.entries(table).map(([name, { type, multiple }]) => [
      name,
      type === 'boolean' ? false : multiple ? [] : undefined,
    ]),
  )
}

function addOption(values: Values, token: Token & { kind: 'option' }, table: OptionTable, name: string): void {
  const spec = Object.hasOwn(table, token.name) ? table[token.name] : undefined
  if (spec === undefined) throw unknownOption(token.rawName, table, name)
  const value = readOption(token, spec)
  const before = values[token.name]
  values[token.name] = Array.isArray(before) ? [...before, String(value)] : value
}

function readOption(
  { rawName, value, inlineValue }: Token & { kind: 'option' },
  spec: OptionSpec,
): boolean | number | string {
  if (spec.type === 'boolean') {
    if (value === undefined) return true
    throw new WindlassError('USAGE', `Cannot use option ${rawName}=${value}: it takes no value`)
  }
  if (value === undefined || (!inlineValue && /^-./.test(value))) {
    throw new WindlassError(
      'USAGE',
      `Cannot use option ${rawName}: its value is missing; wanted ${rawName} ${spec.value}`,
    )
  }
  if (spec.choices !== undefined && !spec.choices.includes(value)) {
    throw new WindlassError('USAGE', `Cannot use option ${rawName} ${value}: wanted one of ${spec.choices.join(', ')}`)
  }
  return spec.type === 'integer' ? readInteger(rawName, value, spec) : value
}

function readInteger(rawName: string, text: string, { min = 0, max = Number.MAX_SAFE_INTEGER }: OptionSpec): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  throw new WindlassError('USAGE', `Cannot use option ${rawName} ${text}: wanted a whole number from ${min} to ${max}`)
}

function unknownOption(rawName: string, table: OptionTable, name: string): WindlassError {
  const where = name === 'windlass' || name === '' ? 'windlass' : `windlass ${name}`
  const nearest = rawName.startsWith('--') ? suggest(rawName.slice(2), Object.keys(table), '--') : ''
  return new WindlassError('USAGE', `Cannot use option ${rawName}: ${where} does not have it${nearest}`, {
    hint: `run '${where} --help'`,
  })
}

function checkOperands(name: string, command: Command, operands: readonly string[]): void {
  const { operands: specs } = command
  const usage = `usage: windlass ${name} ${formatOperands(command)}`.trimEnd()
  const missing = specs[operands.length]
  if (missing !== undefined && !missing.optional) {
    const needed = operands.length === 0 || !missing.many
    if (needed)
      throw new WindlassError('USAGE', `Cannot run ${name}: ${missing.name} is missing; ${usage}`, usageHint(name))
  }
  const extra = operands[specs.length]
  if (extra !== undefined && !specs.at(-1)?.many) {
    throw new WindlassError(
      'USAGE',
      `Cannot run ${name}: ${JSON.stringify(extra)} is too much; ${usage}`,
      usageHint(name),
    )
  }
  if (operands.includes(''))
    throw new WindlassError('USAGE', `Cannot run ${name}: an operand is empty; ${usage}`, usageHint(name))
}

function usageHint(name: string): { hint: string } {
  return { hint: `run 'windlass ${name} --help'` }
}
