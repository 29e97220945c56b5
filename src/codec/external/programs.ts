import { constants } from 'node:fs'
import { access, realpath, stat } from 'node:fs/promises'
import { dirname, isAbsolute, join } from 'node:path'
import type { Compression } from '../detect.ts'

/** The programs that windlass knows how to drive, with the arguments that docker, containerd and podman give them, and limits. */
const known = {
  igzip: { compression: 'gzip', args: ['-d', '-c'] },
  unpigz: { compression: 'gzip', args: ['-d', '-c'] },
  pigz: { compression: 'gzip', args: ['-d', '-c'] },
  gzip: { compression: 'gzip', args: ['-d', '-c'] },
  zstd: { compression: 'zstd', args: ['-d', '-c'] },
  // A stranger's stream names the size of its dictionary, up to 4 GiB; xz -9 needs 65 MiB.
  xz: { compression: 'xz', args: ['-d', '-c', '-q', '-M128MiB'] },
} as const satisfies Record<string, { compression: Compression; args: readonly string[] }>

/** The name of a program that windlass knows. */
export type ProgramName = keyof typeof known

/** Every known program, the fastest of a compression first. */
export const programNames = Object.keys(known) as ProgramName[]

/** A decompressor of this host. */
export interface ExternalProgram {
  readonly name: ProgramName
  /** Where it was found, by its own name: busybox and pigz behave by the name they are called by. */
  readonly path: string
  /** The file itself, behind all symbolic links. */
  readonly realPath: string
  readonly args: readonly string[]
  readonly compression: Compression
}

/** What was found on the PATH, and what is strange about it. */
export interface FoundPrograms {
  readonly programs: readonly ExternalProgram[]
  readonly warnings: readonly string[]
}

/** What a program of that name decompresses; undefined for one that windlass does not know. */
export function compressionOf(name: string): Compression | undefined {
  return isProgramName(name) ? known[name].compression : undefined
}

/** True if windlass knows how to drive a program of that name. */
export function isProgramName(name: string): name is ProgramName {
  return Object.hasOwn(known, name)
}

/**
 * Looks for programs along a PATH, as execvp does. Relative directories are passed over, and so are directories that everybody may write to: who
 * plants a program there would be root with the next pull. Call it before any chroot.
 */
export async function findPrograms(path: string, names: readonly ProgramName[] = programNames): Promise<FoundPrograms> {
  const directories = path.split(':').filter(isAbsolute)
  const warnings: string[] = []
  const programs: ExternalProgram[] = []
  for (const name of names) {
    for (const directory of directories) {
      const found = await lookAt(join(directory, name))
      if (found === undefined) continue
      if (found.isOpen) {
        warnings.push(`Passed over ${join(directory, name)}: everybody may write to it or to its directory`)
        continue
      }
      programs.push({ name, path: join(directory, name), realPath: found.realPath, ...known[name] })
      break
    }
  }
  return { programs, warnings }
}

/** The file behind a path, if it is a regular executable one; `isOpen` if others than its owner's kind may replace it. */
async function lookAt(path: string): Promise<{ realPath: string; isOpen: boolean } | undefined> {
  try {
    const realPath = await realpath(path)
    const file = await stat(realPath)
    if (!file.isFile()) return undefined
    await access(realPath, constants.X_OK)
    const places = await Promise.all([dirname(path), dirname(realPath)].map(directory => stat(directory)))
    return { realPath, isOpen: [file, ...places].some(({ mode }) => (mode & 0o002) !== 0) }
  } catch {
    return undefined
  }
}

/** Which engines run which program, and how the engines' daemons are called. */
const users: Readonly<Record<string, readonly ProgramName[]>> = {
  dockerd: ['unpigz', 'xz'],
  containerd: ['igzip', 'unpigz'],
  podman: ['pigz', 'zstd'],
}

/** The engines on this PATH, each with the known programs that it runs where it finds them. */
export async function findEngines(path: string): Promise<ReadonlyMap<string, readonly ProgramName[]>> {
  const directories = path.split(':').filter(isAbsolute)
  const engines = new Map<string, readonly ProgramName[]>()
  for (const [engine, names] of Object.entries(users)) {
    const places = await Promise.all(directories.map(directory => lookAt(join(directory, engine))))
    if (places.some(place => place !== undefined)) engines.set(engine, names)
  }
  return engines
}

/** Which switch of docker or containerd keeps which programs from being used. */
const switches = {
  MOBY_DISABLE_PIGZ: ['unpigz', 'pigz'],
  CONTAINERD_DISABLE_PIGZ: ['unpigz', 'pigz'],
  CONTAINERD_DISABLE_IGZIP: ['igzip'],
} as const satisfies Record<string, readonly ProgramName[]>

/**
 * Which programs the environment forbids. A value that Go's strconv.ParseBool does not take is warned of and disables: docker goes on with the
 * program that the user wanted to be rid of.
 */
export function readDisabled(env: Readonly<Record<string, string | undefined>>): {
  readonly disabled: ReadonlySet<ProgramName>
  readonly warnings: readonly string[]
} {
  const disabled = new Set<ProgramName>()
  const warnings: string[] = []
  for (const [variable, names] of Object.entries(switches)) {
    const value = env[variable]
    if (value === undefined || value === '') continue
    const parsed = parseGoBool(value)
    if (parsed === undefined)
      warnings.push(`${variable} is neither true nor false; taken as true: ${names.join(' and ')} not used`)
    if (parsed !== false) for (const name of names) disabled.add(name)
  }
  return { disabled, warnings }
}

/** Go's strconv.ParseBool; undefined where it gives an error. */
export function parseGoBool(text: string): boolean | undefined {
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true
  if (/^(0|f|F|FALSE|false|False)$/.test(text)) return false
  return undefined
}
