import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import { cpus, release } from 'node:os'
import { join } from 'node:path'
import { type Probe, type Prober, verdicts } from './certify.ts'
import type { ExternalProgram } from './programs.ts'

const fileName = 'decompressors.json'
const formatVersion = 1
/** Six programs with some libraries each are a few KiB; more than this is not ours. */
const fileSizeMax = 1024 * 1024
/** What decides which libraries a program loads, beside the program. */
const loaderFiles = ['/etc/ld.so.cache', '/etc/ld.so.preload']

interface FileIdentity {
  readonly path: string
  /** -1 where the file did not exist: its appearance changes what is loaded. */
  readonly size: number
  readonly mtimeMs: number
  readonly ino: number
}

/** What a probe found out, and for what exactly it holds. */
export interface Certificate extends Omit<Probe, 'files'> {
  readonly name: string
  readonly path: string
  readonly realPath: string
  /** Kernel and processors: zlib and isa-l choose their code by them. */
  readonly host: string
  /** The program, and all that it loads. */
  readonly files: readonly FileIdentity[]
  /** When it was made, in ISO 8601. */
  readonly probedAt: string
  /** Why it is not to be used although the probe found nothing: it failed in real work. */
  readonly distrusted?: string
}

/**
 * What is known of the decompressors of this host, kept in one file. A certificate holds only as long as the program, its libraries, the kernel
 * and the processors are the same; a file that cannot be read or understood counts as empty.
 */
export class Certificates {
  readonly #path: string
  readonly #byPath: Map<string, Certificate>

  constructor(path: string, certificates: readonly Certificate[]) {
    this.#path = path
    this.#byPath = new Map(certificates.map(certificate => [certificate.path, certificate]))
  }

  /** @param directory the root of the store; it need not exist yet */
  static async read(directory: string): Promise<Certificates> {
    const path = join(directory, fileName)
    return new Certificates(path, await readCertificates(path))
  }

  /** The certificate of a program, if there is one and it still holds. */
  async find(program: ExternalProgram): Promise<Certificate | undefined> {
    const certificate = this.#byPath.get(program.path)
    if (certificate === undefined || certificate.realPath !== program.realPath) return undefined
    if (certificate.host !== describeHost()) return undefined
    const now = await Promise.all(certificate.files.map(({ path }) => identify(path)))
    return certificate.files.every((file, index) => isSame(file, now[index])) ? certificate : undefined
  }

  /** Probes a program and remembers the result; `write` makes it last. */
  async probe(program: ExternalProgram, prober: Prober): Promise<Certificate> {
    const { name, path, realPath } = program
    // Before and not after: a program that is replaced meanwhile must not get the certificate of the old one.
    const before = await identify(realPath)
    const { files, ...found } = await prober.probe(program)
    const others = [...files, ...loaderFiles].filter(file => file !== realPath)
    const identities = [before, ...(await Promise.all(others.map(identify)))]
    const probedAt = new Date().toISOString()
    const certificate = { name, path, realPath, ...found, host: describeHost(), files: identities, probedAt }
    this.#byPath.set(path, certificate)
    return certificate
  }

  /** Takes a program off the list until it changes or is probed again. */
  async distrust(program: ExternalProgram, reason: string): Promise<void> {
    const certificate = await this.find(program)
    if (certificate !== undefined) this.#byPath.set(program.path, { ...certificate, distrusted: reason })
  }

  /** Writes the file anew, or leaves the old one: a reader never sees half of it. */
  async write(): Promise<void> {
    const text = JSON.stringify({ version: formatVersion, certificates: [...this.#byPath.values()] }, undefined, 1)
    const partial = `${this.#path}.${process.pid}`
    try {
      {
        await using file = await open(partial, 'w', 0o644)
        await file.writeFile(`${text}\n`)
        await file.sync()
      }
      await rename(partial, this.#path)
    } catch (error) {
      await rm(partial, { force: true })
      throw error
    }
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
    const { size, mtimeMs, ino } = await stat(path)
    return { path, size, mtimeMs, ino }
  } catch {
    return { path, size: -1, mtimeMs: 0, ino: 0 }
  }
}

function isSame(then: FileIdentity, now: FileIdentity | undefined): boolean {
  return then.size === now?.size && then.mtimeMs === now.mtimeMs && then.ino === now.ino
}

function describeHost(): string {
  const processors = cpus()
  return `${process.arch} ${release()} ${processors.length} ${processors[0]?.model ?? ''}`
}
