/** Which engine a command that pulls talks to: by the socket that it names, by the environment, by where such commands find it; or it is one itself. */
import { basename } from 'node:path'
import type { HostView } from '../sys/host-view.ts'
import { descendantsOf } from '../sys/process-files.ts'
import { isElsewhere } from './client-address.ts'
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
const shells: ReadonlySet<string> = new Set(['sh', 'ash', 'bash', 'dash', 'ksh', 'zsh', 'su', 'runuser'])

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

/** Where the client asks that pulls, which may stand behind another program (sudo), and the environment that it has there. */
async function findClient(host: HostView, { pid, env }: ForeignCommand, lines: readonly (readonly string[])[]) {
  const given = Object.entries(env).filter((pair): pair is [string, string] => pair[1] !== undefined)
  let standing: Standing = { env: new Map(given), isRoot: surroundingsOf(host, pid, undefined).isRoot }
  for (const words of lines) {
    for (const [at, word] of words.entries()) {
      if (!isClient(word)) continue
      const { env, isRoot } = standingBehind(words.slice(0, at), standing)
      const [pull] = await parseClientPull(word, words.slice(at), { ...surroundingsOf(host, pid, env), isRoot })
      if (pull !== undefined) return { address: pull.socket, env }
    }
    standing = standingBehind(words, standing)
  }
  return { address: undefined, env: standing.env }
}

/** A command line, and behind it what a shell is given to run there, if that is nothing but words. */
function linesOf(words: readonly string[]): (readonly string[])[] {
  const shell = words.findIndex(word => shells.has(basename(word)))
  const flag = words.findIndex((word, at) => shell >= 0 && at > shell && /^(?:-[a-z]*c|--command)$/.test(word))
  const script = flag < 0 ? '' : (words[flag + 1] ?? '')
  return /^[\w \t./:=@,+-]+$/.test(script) ? [words, ...linesOf(script.trim().split(/[ \t]+/))] : [words]
}

function isSome(engines: readonly FoundEngine[]): boolean {
  return engines.length > 0
}

/** `unix:///run/x.sock`, `unix:/run/x.sock`, `--address=/run/x.sock`, `/run/x.sock`. */
function pathIn(word: string): string[] {
  const [, path] = /^(?:-[\w-]+=)?(?:unix:(?:\/\/)?)?(\/.+)$/.exec(word) ?? []
  return path === undefined ? [] : [path]
}
