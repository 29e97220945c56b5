import { constants } from 'node:fs'
import { access, type FileHandle, open } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { WindlassError, wrapError } from '../../errors.ts'
import { hashStream } from '../../flow/verify.ts'
import { decodeText } from '../../oci/json.ts'
import { type ByteFile, fileOf, joined, readRange } from './byte-file.ts'

/** What lies beside an archive: as `sha256sum` writes it and `sha256sum -c` reads it. */
export function checksumPath(archive: string): string {
  return `${archive}.sha256`
}

/** The parts of an archive: `app.tar.001` and on. Three digits at least, so that they sort. */
export function partPath(archive: string, at: number): string {
  return `${archive}.${String(at + 1).padStart(3, '0')}`
}

/** A part of ten million, or of what was written with other digits, is none. */
const partPattern = /^(.+)\.(\d{3,7})$/
/** As many parts as anybody has disks for, at some hundred bytes a line. */
const checksumsSizeMax = 4 * 1024 * 1024

/** Hex digits by file name. */
type Checksums = ReadonlyMap<string, string>

/** Names that `sha256sum` would have to escape are none that a line can hold: they are refused where archives are made. */
export function formatChecksums(sums: Checksums): string {
  return [...sums].map(([name, hex]) => `${hex}  ${name}\n`).join('')
}

/** Both forms of coreutils, and that of BSD. Lines of another kind are left out. */
function parseChecksums(text: string): Checksums {
  const sums = new Map<string, string>()
  for (const line of text.split(/\r?\n/)) {
    const gnu = /^([0-9a-fA-F]{64}) [ *](.+)$/.exec(line)
    const bsd = /^SHA256 \((.+)\) = ([0-9a-fA-F]{64})$/.exec(line)
    const [name, hex] = gnu === null ? [bsd?.[1], bsd?.[2]] : [gnu[2], gnu[1]]
    if (name !== undefined && hex !== undefined) sums.set(name.replace(/^\.\//, ''), hex.toLowerCase())
  }
  return sums
}

/** The checksums beside an archive, if there are any. @throws WindlassError LIMIT_EXCEEDED, CORRUPT, PERMISSION */
export async function readChecksums(archive: string): Promise<Checksums | undefined> {
  const path = checksumPath(archive)
  try {
    await using file = fileOf(await openRegular(path))
    const bytes = await Array.fromAsync(readRange(file, 0, checksumsSizeMax + 1))
    return parseChecksums(decodeText(Buffer.concat(bytes), path, checksumsSizeMax))
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw wrapError(error, `Cannot read checksums ${path}`)
  }
}

/**
 * What lies on a stranger's disk may be anything: a fifo would never be opened without O_NONBLOCK, a device never ends, and a symlink would have messages
 * tell of files that are not on that disk.
 */
async function openRegular(path: string): Promise<FileHandle> {
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW
  const handle = await open(path, flags).catch(error => {
    if (error.code !== 'ELOOP') throw error
    throw new WindlassError('CORRUPT', `Cannot read ${path}: it is no regular file, but a symlink`)
  })
  if ((await handle.stat()).isFile()) return handle
  await handle.close()
  throw new WindlassError('CORRUPT', `Cannot read ${path}: it is no regular file`)
}

/** Whatever checksums name that is a part of an archive by its name. */
export function listNamed(archive: string, sums: Checksums): string[] {
  const names = [...sums.keys()].filter(part => partPattern.exec(part)?.[1] === basename(archive))
  return names.map(name => join(dirname(archive), name))
}

/** The parts that checksums name, in order. @throws WindlassError CORRUPT if a number is left out */
function listParts(archive: string, sums: Checksums): string[] {
  const paths = listNamed(archive, sums).map((_, at) => partPath(archive, at))
  const unknown = paths.find(path => !sums.has(basename(path)))
  if (unknown === undefined) return paths
  throw new WindlassError('CORRUPT', `Cannot read ${checksumPath(archive)}: it does not name part ${unknown}`)
}

/** An archive as it is named on the command line: by itself, or by one of its parts. */
export interface Located {
  readonly archive: string
  /** Empty if it is in one piece. */
  readonly parts: readonly string[]
  readonly sums: Checksums | undefined
}

/** Finds what belongs to an archive: its checksums, and its parts. */
export async function locate(path: string): Promise<Located> {
  const sums = await readChecksums(path)
  const parts = sums === undefined ? [] : listParts(path, sums)
  if (parts.length > 0 && sums?.has(basename(path)) !== true) return { archive: path, parts, sums }
  const base = partPattern.exec(path)?.[1]
  const baseSums = base === undefined || sums !== undefined ? undefined : await readChecksums(base)
  if (base !== undefined && baseSums?.has(basename(path)) === true)
    return { archive: base, parts: listParts(base, baseSums), sums: baseSums }
  return { archive: path, parts: [], sums }
}

/** What to do where there are parts, and nothing that says which there are. */
export async function hintParts(path: string): Promise<string | undefined> {
  const archive = partPattern.exec(path)?.[1] ?? path
  const isSplit = await access(partPath(archive, 0)).then(
    () => true,
    () => false,
  )
  if (!isSplit || (await readChecksums(archive).catch(() => undefined)) !== undefined) return undefined
  return `put ${basename(checksumPath(archive))}, which names the parts, beside them; or join them yourself: cat ${basename(archive)}.* | windlass load`
}

/** The parts of an archive as one, each of which is what its checksum says. @throws WindlassError NOT_FOUND, CORRUPT, naming the part */
export async function openParts({ archive, parts, sums }: Located, signal: AbortSignal): Promise<ByteFile> {
  await using opened = new AsyncDisposableStack()
  const files: ByteFile[] = []
  for (const part of parts) files.push(opened.use(await openPart(archive, part)))
  const hashes = []
  for (const file of files) hashes.push(await hashOf(file, signal))
  for (const [at, part] of parts.entries()) {
    const found = { part, size: files[at]?.size ?? 0, hex: hashes[at] ?? '' }
    checkPart(found, { archive, sums: sums as Checksums, sizes: files.map(({ size }) => size) })
  }
  opened.move()
  return joined(files)
}

async function openPart(archive: string, part: string): Promise<ByteFile> {
  try {
    return fileOf(await openRegular(part))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw wrapError(error, `Cannot read part ${part}`)
    const hint = `all that ${checksumPath(archive)} names must lie beside it in ${dirname(archive)}`
    throw new WindlassError('NOT_FOUND', `Cannot read archive ${archive}: part ${part} is not there`, { hint })
  }
}

interface PartContext {
  readonly archive: string
  readonly sums: Checksums
  readonly sizes: readonly number[]
}

function checkPart({ part, size, hex }: { part: string; size: number; hex: string }, context: PartContext): void {
  const { archive, sums, sizes } = context
  const wanted = sums.get(basename(part))
  if (hex === wanted) return
  const [other] = [...sums].find(([, known]) => known === hex) ?? []
  const isTorn = size < (sizes[0] ?? 0) && part !== partPath(archive, sizes.length - 1)
  const bytes = `its ${size} bytes are sha256:${hex}; wanted sha256:${wanted}`
  const state =
    other !== undefined
      ? `it holds what ${other} should hold: they were swapped`
      : isTorn
        ? `it is torn: it has ${size} bytes, the first part ${sizes[0]}`
        : bytes
  throw damaged(`Cannot read archive ${archive}: part ${part} is damaged: ${state}`, 'copy this part again')
}

/**
 * Checks an archive in one piece against the checksum beside it, if there is one.
 * @throws WindlassError CORRUPT if it is another, or if the checksum is not of this file
 */
export async function checkWhole({ archive, sums }: Located, file: ByteFile, signal: AbortSignal): Promise<void> {
  if (sums === undefined) return
  const doing = `Cannot read archive ${archive}`
  const beside = checksumPath(archive)
  const wanted = sums.get(basename(archive))
  if (wanted === undefined)
    throw damaged(
      `${doing}: ${beside} does not name it`,
      'remove the file with the checksums, if it is of something else',
    )
  const hex = await hashOf(file, signal)
  if (hex === wanted) return
  // Not what it is: the archive may be a symlink, on a stranger's disk, to a file of this host.
  const state = `its ${file.size} bytes are not those of which ${beside} says sha256:${wanted}`
  throw damaged(`${doing}: ${state}`, 'copy the archive again, together with its checksum')
}

function damaged(message: string, hint: string): WindlassError {
  return new WindlassError('CORRUPT', message, { hint })
}

async function hashOf(file: ByteFile, signal: AbortSignal): Promise<string> {
  return await hashStream(readRange(file), 'sha256', signal)
}
