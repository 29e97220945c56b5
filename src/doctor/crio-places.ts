/** Where a CRI-O keeps images, and layers on their way: it holds neither open, and has both from files that may have changed since it was started. */
import { isAbsolute, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { HostView } from '../sys/host-view.ts'
import type { SocketAnswer } from '../sys/local-http.ts'
import { optionOf } from '../sys/process-files.ts'

export interface CrioPlaces {
  readonly images?: string
  readonly temporary?: string
}

/** What is known of its process. */
interface Crio {
  readonly args: readonly string[]
  readonly environment: ReadonlyMap<string, string> | undefined
  readonly process: { readonly state: string }
  readonly rootPrefix: string
}

/** Asks it for a path, on each of its sockets. */
type Ask = (path: string) => readonly Promise<SocketAnswer | undefined>[]

/** A healthy one answers within milliseconds; who looks at its pulls waits for this before all else. */
const answerMs = 1000

/** Its own word for what it runs with, in the form of its file; if it does not answer, its files. */
export async function readCrioPlaces(host: HostView, crio: Crio, ask: Ask): Promise<CrioPlaces> {
  return parsePlaces((await askForConfiguration(crio, ask)) ?? (await readFiles(host, crio)))
}

async function askForConfiguration({ process }: Crio, ask: Ask) {
  if (/[Tt]/.test(process.state)) return undefined
  const told = ask('/config').map(async asked => parseAnswer(await asked))
  return await Promise.race([Promise.any(told), sleep(answerMs, undefined, { ref: false })]).catch(() => undefined)
}

/** @throws for what is no configuration: another socket may tell it */
function parseAnswer(answer: SocketAnswer | undefined): string {
  if (answer?.status === 200 && /^\s*\[crio\]/m.test(answer.body)) return answer.body
  throw new Error('Cannot read the configuration of CRI-O: the socket does not tell it')
}

/** crio(8), the last one counts; what stands on the command line counts more. */
async function readFiles(host: HostView, { args, environment, rootPrefix }: Crio): Promise<string> {
  const named = (options: readonly string[], variable: string, usual: string) =>
    optionOf(args, options) ?? environment?.get(variable) ?? usual
  const file = named(['--config', '-c'], 'CONTAINER_CONFIG', '/etc/crio/crio.conf')
  const directory = named(['--config-dir', '-d'], 'CONTAINER_CONFIG_DIR', '/etc/crio/crio.conf.d')
  const more = isAbsolute(directory) ? (await host.disk.names(rootPrefix + directory)).toSorted() : []
  const paths = [file, ...more.map(name => join(directory, name))].filter(isAbsolute)
  const texts = await Promise.all(paths.map(path => host.disk.text(rootPrefix + path)))
  const root = optionOf(args, ['--root', '-r'])
  return [...texts, ...(root === undefined ? [] : [`root = ${JSON.stringify(root)}`])].join('\n')
}

/** TOML, of which no other table has keys of these names. */
function parsePlaces(text: string): CrioPlaces {
  const lastOf = (key: string) => {
    const found = [...text.matchAll(new RegExp(`^\\s*${key}\\s*=\\s*(["'])(/[^"'\\n]*)\\1`, 'gm'))]
    return found.at(-1)?.[2]
  }
  const images = lastOf('imagestore') ?? lastOf('root')
  const temporary = lastOf('big_files_temporary_dir')
  return { ...(images !== undefined && { images }), ...(temporary !== undefined && { temporary }) }
}
