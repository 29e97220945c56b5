/** Which engine a command that pulls talks to: by the socket that it names, by the environment, by where such commands find it; or it is one itself. */
import { basename } from 'node:path'
import type { HostView } from '../sys/host-view.ts'
import { descendantsOf } from '../sys/process-files.ts'
import { isElsewhere } from './client-address.ts'
import { addressVariables, parseClientPull, surroundingsOf, usualSocketOf } from './clients.ts'
import type { EngineFilter, FoundEngine } from './engines.ts'
import { listensOn, withContainerd } from './pulls-of-socket.ts'

export interface ForeignCommand {
  readonly pid: number
  readonly words: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
}

/** They run what is behind them as another user, and hand on little of the environment. */
const becoming: ReadonlySet<string> = new Set(['sudo', 'su', 'doas', 'runuser', 'pkexec'])

/** All engines, where none of these tells; none but its own where it asks another host. */
export async function enginesOf(host: HostView, command: ForeignCommand): Promise<EngineFilter> {
  const { pid, words } = command
  const { address = '', env } = await findClient(host, command)
  const isAway = isElsewhere(address)
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
async function findClient(host: HostView, { pid, words, env }: ForeignCommand) {
  for (const [at, word] of words.entries()) {
    const before = words.slice(0, at)
    const around = surroundingsOf(host, pid, handOn(before, env))
    // Who becomes another user becomes root, if nothing else is said.
    const isRoot = around.isRoot || before.some(isBecoming)
    const [pull] = await parseClientPull(word, words.slice(at), { ...around, isRoot })
    if (pull !== undefined) return { address: pull.socket, env: handOn(before, env) }
  }
  return { address: undefined, env: handOn(words, env) }
}

/** The environment of what stands behind these words: what sudo and env are told to set, or to keep, is there. */
function handOn(before: readonly string[], env: ForeignCommand['env']): ReadonlyMap<string, string> {
  const kept = before.flatMap(word => /^--preserve-env=(.*)$/s.exec(word)?.[1]?.split(',') ?? [])
  const areAllKept = !before.some(isBecoming) || before.some(word => word === '-E' || word === '--preserve-env')
  const given = Object.entries(env).filter(([name]) => areAllKept || kept.includes(name))
  const told = before.flatMap(word => {
    const [, name, value] = /^([A-Za-z_]\w*)=(.*)$/s.exec(word) ?? []
    return name === undefined ? [] : [[name, value] as const]
  })
  return new Map([...given, ...told].filter((pair): pair is [string, string] => pair[1] !== undefined))
}

function isBecoming(word: string): boolean {
  return becoming.has(basename(word))
}

function isSome(engines: readonly FoundEngine[]): boolean {
  return engines.length > 0
}

/** `unix:///run/x.sock`, `unix:/run/x.sock`, `--address=/run/x.sock`, `/run/x.sock`. */
function pathIn(word: string): string[] {
  const [, path] = /^(?:-[\w-]+=)?(?:unix:(?:\/\/)?)?(\/.+)$/.exec(word) ?? []
  return path === undefined ? [] : [path]
}
