/**
 * Programs that run what is behind them as another user, or in another environment: whether he is root, and what of the environment he is given. By sudo(8), su(1), runuser(1) and env(1); what
 * sudoers, doas.conf and PAM of this host say beside that is not read.
 */
import { basename } from 'node:path'
import { parseArgs } from 'node:util'

/** How a command is run. */
export interface Standing {
  readonly env: ReadonlyMap<string, string>
  readonly isRoot: boolean
}

interface Line {
  /** By name and by letter; "" of one without a value. */
  readonly options: ReadonlyMap<string, readonly string[]>
  readonly operands: readonly string[]
}

interface Program {
  /** Options that a value follows: what is no option and no such value is the command, or the user. */
  readonly valued: string
  /** Whether its options may stand behind what is none. */
  readonly isLoose?: true
  /** Undefined: whoever calls it. */
  user(line: Line): string | undefined
  keeps(name: string, line: Line): boolean
}

const sudo: Program = {
  valued: 'user/u group/g close-from/C chdir/D host/h prompt/p chroot/R role/r type/t command-timeout/T other-user/U',
  user: line => userOption(line) ?? (has(line, 'group') ? undefined : 'root'),
  keeps(name, line) {
    if (name === 'HOME' && has(line, 'H', 'set-home')) return false
    const areAllKept = has(line, 'E') || line.options.get('preserve-env')?.includes('') === true
    return areAllKept || listed(line, 'preserve-env').includes(name)
  },
}

/** Su sets them, if it is not told otherwise. */
const hisOwn: ReadonlySet<string> = new Set(['HOME', 'SHELL', 'USER', 'LOGNAME'])

const su: Program = {
  valued: 'user/u command/c shell/s group/g supp-group/G whitelist-environment/w session-command',
  isLoose: true,
  user: line => userOption(line) ?? line.operands.find(word => word !== '-') ?? 'root',
  keeps(name, line) {
    const isLogin = has(line, 'l', 'login') || line.operands[0] === '-'
    if (isLogin) return !hisOwn.has(name) && listed(line, 'whitelist-environment').includes(name)
    return !hisOwn.has(name) || has(line, 'm', 'p', 'preserve-environment')
  },
}

/** What doas.conf(5) has it keep is not known here. */
const clearing: Program = {
  valued: 'user/u style/a config/C',
  user: line => userOption(line) ?? 'root',
  keeps: () => false,
}

const env: Program = {
  valued: 'unset/u chdir/C',
  user: () => undefined,
  keeps(name, line) {
    const isEmpty = has(line, 'i', 'ignore-environment') || line.operands[0] === '-'
    return !isEmpty && !listed(line, 'unset').includes(name)
  },
}

const programs: ReadonlyMap<string, Program> = new Map([
  ['sudo', sudo],
  ['su', su],
  ['runuser', su],
  ['doas', clearing],
  ['pkexec', clearing],
  ['env', env],
])

/** How what stands behind these words is run, by all of them that change it: variables that sudo, env or a shell is told to set are there. */
export function standingBehind(words: readonly string[], standing: Standing): Standing {
  const starts = words.flatMap((word, at) => (programs.has(basename(word)) ? [at] : []))
  const parts = [0, ...starts].map((start, at) => words.slice(start, starts[at]))
  return parts.reduce(change, standing)
}

function change({ env, isRoot }: Standing, [word = '', ...words]: readonly string[]): Standing {
  const told = [word, ...words].map(readAssignment).filter(pair => pair !== undefined)
  const program = programs.get(basename(word))
  if (program === undefined) return { env: new Map([...env, ...told]), isRoot }
  const line = readLine(words, program)
  const user = program.user(line)
  const kept = [...env].filter(([name]) => program.keeps(name, line))
  return { env: new Map([...kept, ...told]), isRoot: user === undefined ? isRoot : ['root', '0', '#0'].includes(user) }
}

function readAssignment(word: string): [name: string, value: string] | undefined {
  const [, name, value = ''] = /^([A-Za-z_]\w*)=(.*)$/s.exec(word) ?? []
  return name === undefined ? undefined : [name, value]
}

function readLine(args: readonly string[], { valued, isLoose }: Program): Line {
  const names = valued.split(' ').map(each => each.split('/'))
  const known = names.map(([name = '', short]) => [name, { type: 'string', ...(short && { short }) }] as const)
  const how = { options: Object.fromEntries(known), strict: false, allowPositionals: true, tokens: true } as const
  const { tokens } = parseArgs({ ...how, args: [...args] })
  const options = new Map<string, string[]>()
  const operands: string[] = []
  for (const one of tokens) {
    if (one.kind === 'option') options.set(one.name, [...(options.get(one.name) ?? []), one.value ?? ''])
    else if (one.kind === 'positional' && (isLoose || isNoCommand(one.value))) operands.push(one.value)
    else if (!isLoose) break
  }
  return { options, operands }
}

function isNoCommand(word: string): boolean {
  return word === '-' || readAssignment(word) !== undefined
}

function has({ options }: Line, ...names: readonly string[]): boolean {
  return names.some(name => options.has(name))
}

/** Names with commas between. */
function listed({ options }: Line, name: string): string[] {
  return (options.get(name) ?? []).flatMap(value => value.split(','))
}

function userOption({ options }: Line): string | undefined {
  return options.get('user')?.at(-1)
}
