/** Which engine a command that pulls talks to: by the socket that it names, by the environment, by where such commands find it; or it is one itself. */
import { basename } from 'node:path'
import type { HostView } from '../sys/host-view.ts'
import { descendantsOf } from '../sys/process-files.ts'
import { isElsewhere, type Surroundings } from './client-address.ts'
import { addressVariables, isClient, parseClientPull, surroundingsOf, usualSocketOf } from './clients.ts'
import type { EngineFilter, FoundEngine } from './engines.ts'
import { listensOn, withContainerd } from './pulls-of-socket.ts'
import { type Standing, standingBehind } from './user-change.ts'

export interface ForeignCommand {
  readonly pid: number
  readonly words: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
}

/** What runs a script that stands behind -c. */
const shells: ReadonlySet<string> = new Set(['sh', 'ash', 'bash', 'dash', 'ksh', 'zsh', 'su', 'runuser', 'sg'])

/** All engines, where none of these tells; none but its own where it asks another host. */
export async function enginesOf(host: HostView, command: ForeignCommand): Promise<EngineFilter> {
  const { pid } = command
  const lines = linesOf(command.words)
  const words = lines.flat()
  const { address = '', env } = await findClient(host, command, lines)
  const isAway = await isElsewhere(address, surroundingsOf(host, pid, env))
  const told = [address, ...words, ...addressVariables.map(name => env.get(name) ?? '')].flatMap(pathIn)
  const [usual] = words.flatMap(word => usualSocketOf(word) ?? [])
  return (engine, all, table) => {
    const own = new Set([pid, ...descendantsOf(table, pid).map(child => child.pid)])
    const inside = all.filter(({ process }) => own.has(process.pid))
    if (isAway) return inside.includes(engine)
    const named = all.filter(one => told.some(path => listensOn(one, path)))
    const likely = usual === undefined ? [] : all.filter(one => listensOn(one, usual))
    const meant = [inside, withContainerd(named, all), withContainerd(likely, all)].find(isSome)
    return meant === undefined || meant.includes(engine)
  }
}

/** What stands before the name of a user, a group or a folder, which may be that of a client, too. */
const beforeName = /^(?:-\w*[ugCD]|--user|--group|--chdir|(?:.*\/)?s[gu])$/

/** Where the client asks that pulls, or does something else; it may stand behind another program (sudo). And the environment that it has there. */
async function findClient(host: HostView, { pid, env }: ForeignCommand, lines: readonly (readonly string[])[]) {
  const given = Object.entries(env).filter((pair): pair is [string, string] => pair[1] !== undefined)
  let standing: Standing = { env: new Map(given), isRoot: surroundingsOf(host, pid, undefined).isRoot }
  let busy: { address: string; env: Standing['env'] } | undefined
  for (const words of lines) {
    for (const [at, word] of words.entries()) {
      if (!isClient(word)) continue
      const { env, isRoot } = standingBehind(words.slice(0, at), standing)
      const around = { ...surroundingsOf(host, pid, env), isRoot }
      const [pull] = await parseClientPull(word, words.slice(at), around)
      if (pull !== undefined) return { address: pull.socket, env }
      if (beforeName.test(words[at - 1] ?? '')) continue
      const address = await addressOf(words.slice(at), around)
      if (address !== undefined) busy ??= { address, env }
    }
    standing = standingBehind(words, standing)
  }
  return busy ?? { address: undefined, env: standing.env }
}

/** Where a client would ask if it pulled in the place of its command (build, run, compose pull). */
async function addressOf(
  [program = '', ...args]: readonly string[],
  around: Surroundings,
): Promise<string | undefined> {
  for (const [at, word] of args.entries()) {
    if (word.startsWith('-')) continue
    const line = [program, ...args.slice(0, at), 'pull', 'any.test/any']
    const [pull] = await parseClientPull(program, line, around)
    if (pull !== undefined) return pull.socket
  }
  return undefined
}

/** A command line, with what env is given to split, and behind it what a shell is given to run there. */
function linesOf(given: readonly string[]): (readonly string[])[] {
  const words = given.flatMap((word, at) => (given[at - 1] === '-S' ? (plainWords(word) ?? word) : word))
  const shell = words.findIndex(word => shells.has(basename(word)))
  const flag = words.findIndex((word, at) => shell >= 0 && at > shell && /^(?:-[a-z]*c|--command)$/.test(word))
  const script = flag < 0 ? undefined : plainWords(words[flag + 1] ?? '')
  return script === undefined ? [words] : [words, ...linesOf(script)]
}

/** Undefined for what is more than words. */
function plainWords(script: string): string[] | undefined {
  return /^[\w \t./:=@,+-]+$/.test(script) ? script.trim().split(/[ \t]+/) : undefined
}

function isSome(engines: readonly FoundEngine[]): boolean {
  return engines.length > 0
}

/** `unix:///run/x.sock`, `unix:/run/x.sock`, `--address=/run/x.sock`, `/run/x.sock`. */
function pathIn(word: string): string[] {
  const [, path] = /^(?:-[\w-]+=)?(?:unix:(?:\/\/)?)?(\/.+)$/.exec(word) ?? []
  return path === undefined ? [] : [path]
}
