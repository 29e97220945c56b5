import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import { cpus, release } from 'node:os'
import { join } from 'node:path'
import { WindlassError } from '../../errors.ts'
import { type ByteLock, waitByteLock } from '../../sys/byte-locks.ts'
import type { Prober } from './certify.ts'
import { type Probe, verdicts } from './probe-result.ts'
import type { ExternalProgram } from './programs.ts'

const fileName = 'decompressors.json'
const lockName = 'decompressors.lock'
const formatVersion = 2
/** Whoever has the lock reads and writes a few KiB. */
const lockMs = 5000
/** Six programs with some libraries each are a few KiB; more than this is not ours. */
const fileSizeMax = 1024 * 1024
/** What decides which libraries a program loads, beside the program. */
const loaderFiles = ['/etc/ld.so.cache', '/etc/ld.so.preload']

interface FileIdentity {
  readonly path: string
  /** -1 where the file did not exist: its appearance changes what is loaded. */
  readonly size: number
  readonly mtimeMs: number
  /** Nobody sets it back, as a package's installation does with the other time. */
  readonly ctimeMs: number
  readonly ino: number
}

/** What a probe found out, and for what exactly it holds. */
export interface Certificate extends Probe {
  readonly name: string
  readonly path: string
  readonly realPath: string
  /** Kernel and processors: zlib and isa-l choose their code by them. */
  readonly host: string
  /** The program, all that it loads, and all that it starts. */
  readonly files: readonly FileIdentity[]
  /** When it was made, in ISO 8601. */
  readonly probedAt: string
  /** Why it is not to be used although the probe found nothing: it failed in real work. */
  readonly distrusted?: string
}

/** What became known of one program, to be applied to what is known by then. */
interface Change {
  readonly path: string
  apply(known: Certificate | undefined): Promise<Certificate | undefined>
}

/**
 * What is known of the decompressors of this host, kept in one file that several processes may change. A certificate holds only as long as the program,
 * what it loads and starts, the kernel and the processors are the same; a file that cannot be read or understood counts as empty.
 */
export class Certificates {
  readonly #directory: string
  readonly #changes: Change[] = []
  #byPath: Map<string, Certificate>

  constructor(directory: string, certificates: readonly Certificate[]) {
    this.#directory = directory
    this.#byPath = byPath(certificates)
  }

  /** @param directory the root of the store; it need not exist yet */
  static async read(directory: string): Promise<Certificates> {
    return new Certificates(directory, await readCertificates(join(directory, fileName)))
  }

  /** The certificate of a program, if there is one and it still holds. */
  async find(program: ExternalProgram): Promise<Certificate | undefined> {
    return await ifItHolds(this.#byPath.get(program.path), program)
  }

  /** Probes a program and remembers the result; `write` makes it last. */
  async probe(program: ExternalProgram, prober: Prober): Promise<Certificate> {
    const { name, path, realPath } = program
    // Before and not after: a program that is replaced meanwhile must not get the certificate of the old one.
    const before = await identify(realPath)
    const others = [...(await prober.listFiles(program)), ...loaderFiles].filter(file => file !== realPath)
    const files = [before, ...(await Promise.all(others.map(identify)))]
    const found = await prober.probe(program)
    const probedAt = new Date().toISOString()
    const certificate = { name, path, realPath, ...found, host: describeHost(), files, probedAt }
    await this.#change({ path, apply: () => Promise.resolve(certificate) })
    return certificate
  }

  /** Takes a program off the list until it changes or is probed again; `write` makes it last. */
  async distrust(program: ExternalProgram, reason: string): Promise<void> {
    const apply = async (known: Certificate | undefined) =>
      (await ifItHolds(known, program)) === undefined ? known : known && { ...known, distrusted: reason }
    await this.#change({ path: program.path, apply })
  }

  /**
   * Adds what became known here to what others have written meanwhile. A reader never sees half of it.
   * @throws WindlassError FAILED if another process does not give up the lock
   */
  async write(): Promise<void> {
    using _lock = await lock(join(this.#directory, lockName))
    const path = join(this.#directory, fileName)
    const known = byPath(await readCertificates(path))
    for (const change of this.#changes) await apply(change, known)
    const text = JSON.stringify({ version: formatVersion, certificates: [...known.values()] }, undefined, 1)
    await replaceFile(path, `${text}\n`)
    this.#changes.length = 0
    this.#byPath = known
  }

  async #change(change: Change): Promise<void> {
    await apply(change, this.#byPath)
    this.#changes.push(change)
  }
}

function byPath(certificates: readonly Certificate[]): Map<string, Certificate> {
  return new Map(certificates.map(certificate => [certificate.path, certificate]))
}

async function apply({ path, apply }: Change, known: Map<string, Certificate>): Promise<void> {
  const certificate = await apply(known.get(path))
  if (certificate !== undefined) known.set(path, certificate)
}

async function ifItHolds(
  certificate: Certificate | undefined,
  program: ExternalProgram,
): Promise<Certificate | undefined> {
  if (certificate === undefined || certificate.realPath !== program.realPath) return undefined
  if (certificate.host !== describeHost()) return undefined
  const now = await Promise.all(certificate.files.map(({ path }) => identify(path)))
  return certificate.files.every((file, index) => isSame(file, now[index])) ? certificate : undefined
}

async function lock(path: string): Promise<ByteLock> {
  await (await open(path, 'a', 0o644)).close()
  const timeout = AbortSignal.timeout(lockMs)
  try {
    return await waitByteLock(path, 0, timeout)
  } catch (error) {
    if (!timeout.aborted) throw error
    const text = `Cannot remember what is known of decompressors: another process has held ${path} for ${lockMs / 1000} s`
    throw new WindlassError('FAILED', text, { cause: error })
  }
}

/** Only the holder of the lock makes the file beside it, so what a killed one left there is in nobody's way. */
async function replaceFile(path: string, text: string): Promise<void> {
  const partial = `${path}.new`
  try {
    {
      await using file = await open(partial, 'w', 0o644)
      await file.writeFile(text)
      await file.sync()
    }
    await rename(partial, path)
  } catch (error) {
    await rm(partial, { force: true })
    throw error
  }
}

async function readCertificates(path: string): Promise<Certificate[]> {
  try {
    if ((await stat(path)).size > fileSizeMax) return []
    const document: unknown = JSON.parse(await readFile(path, 'utf8'))
    const { version, certificates } = document as { version?: unknown; certificates?: unknown }
    if (version !== formatVersion || !Array.isArray(certificates)) return []
    return certificates.filter(isCertificate)
  } catch {
    return []
  }
}

function isCertificate(value: unknown): value is Certificate {
  const { name, path, realPath, host, verdict, files, problems, speedRatio, probedAt } = (value ?? {}) as Record<
    string,
    unknown
  >
  return (
    [name, path, realPath, host, probedAt].every(text => typeof text === 'string') &&
    verdicts.some(known => known === verdict) &&
    Array.isArray(problems) &&
    (speedRatio === undefined || typeof speedRatio === 'number') &&
    Array.isArray(files) &&
    files.length > 0 &&
    files.every(file => typeof (file as Partial<FileIdentity> | null)?.path === 'string')
  )
}

async function identify(path: string): Promise<FileIdentity> {
  try {
    const { size, mtimeMs, ctimeMs, ino } = await stat(path)
    return { path, size, mtimeMs, ctimeMs, ino }
  } catch {
    return { path, size: -1, mtimeMs: 0, ctimeMs: 0, ino: 0 }
  }
}

function isSame(then: FileIdentity, now: FileIdentity | undefined): boolean {
  if (then.size !== now?.size || then.ino !== now.ino) return false
  return then.mtimeMs === now.mtimeMs && then.ctimeMs === now.ctimeMs
}

function describeHost(): string {
  const processors = cpus()
  return `${process.arch} ${release()} ${processors.length} ${processors[0]?.model ?? ''}`
}
