/** Which engine a command that pulls talks to: by the socket that it names, by the environment, by where such commands find it; or it is one itself. */

import type { HostView } from '../sys/host-view.ts'
import { descendantsOf } from '../sys/process-files.ts'
import { addressVariables, parseClientPull, surroundingsOf, usualSocketOf } from './clients.ts'
import type { EngineFilter, FoundEngine } from './engines.ts'
import { listensOn, withContainerd } from './pulls-of-socket.ts'

export interface ForeignCommand {
  readonly pid: number
  readonly words: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
}

const variables = addressVariables
/** A socket, or a port of this host: whose that is no process tells. */
const isHere = /^(?:\/|\w+:\/\/(?:127\.|localhost[:/]|\[::1\]))/

/** All engines, where none of these tells; none but its own where it asks another host. */
export async function enginesOf(host: HostView, { pid, words, env }: ForeignCommand): Promise<EngineFilter> {
  const asked = await findAddress(host, { pid, words, env })
  const isAway = asked !== undefined && !isHere.test(asked)
  const told = [asked ?? '', ...words, ...variables.map(name => env[name] ?? '')].flatMap(pathIn)
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

/** Where the client asks that pulls, which may stand behind another program (sudo). */
async function findAddress(host: HostView, { pid, words, env }: ForeignCommand): Promise<string | undefined> {
  const variables = Object.entries(env).filter((pair): pair is [string, string] => pair[1] !== undefined)
  const around = surroundingsOf(host, pid, new Map(variables))
  for (const [at, word] of words.entries()) {
    const [pull] = await parseClientPull(word, words.slice(at), around)
    if (pull !== undefined) return pull.socket
  }
  return undefined
}

function isSome(engines: readonly FoundEngine[]): boolean {
  return engines.length > 0
}

/** `unix:///run/x.sock`, `--address=/run/x.sock`, `/run/x.sock`. */
function pathIn(word: string): string[] {
  const [, path] = /^(?:-[\w-]+=)?(?:unix:\/\/)?(\/.+)$/.exec(word) ?? []
  return path === undefined ? [] : [path]
}
