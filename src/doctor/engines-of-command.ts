/** Which engine a command that pulls talks to: by the socket that it names, by the environment, by where such commands find it; or it is one itself. */
import { descendantsOf } from '../sys/process-files.ts'
import { addressVariables, usualSocketOf } from './clients.ts'
import type { EngineFilter, FoundEngine } from './engines.ts'
import { listensOn, withContainerd } from './pulls-of-socket.ts'

export interface ForeignCommand {
  readonly pid: number
  readonly words: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
}

const variables = addressVariables

/** All engines, where none of these tells. */
export function enginesOf({ pid, words, env }: ForeignCommand): EngineFilter {
  const told = [...words, ...variables.map(name => env[name] ?? '')].flatMap(pathIn)
  const [usual] = words.flatMap(word => usualSocketOf(word) ?? [])
  return (engine, all, table) => {
    const own = new Set([pid, ...descendantsOf(table, pid).map(child => child.pid)])
    const inside = all.filter(({ process }) => own.has(process.pid))
    const named = all.filter(one => told.some(path => listensOn(one, path)))
    const likely = usual === undefined ? [] : all.filter(one => listensOn(one, usual))
    const meant = [inside, withContainerd(named, all), withContainerd(likely, all)].find(isSome)
    return meant === undefined || meant.includes(engine)
  }
}

function isSome(engines: readonly FoundEngine[]): boolean {
  return engines.length > 0
}

/** `unix:///run/x.sock`, `--address=/run/x.sock`, `/run/x.sock`. */
function pathIn(word: string): string[] {
  const [, path] = /^(?:-[\w-]+=)?(?:unix:\/\/)?(\/.+)$/.exec(word) ?? []
  return path === undefined ? [] : [path]
}
