import { createReadStream } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { decompress } from '../../codec/decompress.ts'
import { detectCompression, magicLength } from '../../codec/detect.ts'
import { WindlassError, wrapError } from '../../errors.ts'
import type { ArchivedImage } from './archived-image.ts'
import { type ByteFile, fileOf, readRange } from './byte-file.ts'
import { checkWhole, hintParts, locate, openParts } from './checksums.ts'
import { listDockerImages } from './docker-source.ts'
import { DirectoryFiles, type Files, TarFiles } from './files.ts'
import { listLayoutImages } from './layout-source.ts'
import { openSpool, spooled } from './spool.ts'

/** An OCI layout, in a directory or a tar, or what `docker save` writes. */
export interface Archive extends AsyncDisposable {
  readonly name: string
  /** What containers' tools call such a place. */
  readonly transport: 'oci' | 'oci-archive' | 'docker-archive'
  readonly images: readonly ArchivedImage[]
}

export interface ArchiveOptions {
  readonly signal: AbortSignal
  /** Where an archive that is compressed, or comes by a pipe, is kept meanwhile; without a name, so that nothing of it stays. */
  readonly spoolDirectory: string
}

/**
 * Opens an archive: a directory, a file, the parts of one, or a stream; the tar plain or compressed by gzip, zstd, xz or bzip2. Of a file only what says
 * what is in it is read, and all of it first if checksums lie beside it; a stream is read to its end first. The blobs are a stranger's: whoever reads them
 * verifies them.
 * @throws WindlassError NOT_FOUND; CORRUPT if it is torn, no tar, or no archive of images; LIMIT_EXCEEDED, NO_SPACE, PERMISSION
 */
export async function openArchive(from: string | AsyncIterable<Uint8Array>, options: ArchiveOptions): Promise<Archive> {
  const files = await openFiles(from, options)
  try {
    // Docker since 25 writes both descriptions: the layout has the digests.
    const isLayout = (await files.find('index.json')) !== undefined
    const transport = !isLayout ? 'docker-archive' : files instanceof DirectoryFiles ? 'oci' : 'oci-archive'
    const images = isLayout ? await listLayoutImages(files, options.signal) : await listDocker(files)
    return { name: files.name, transport, images, [Symbol.asyncDispose]: () => files[Symbol.asyncDispose]() }
  } catch (error) {
    await files[Symbol.asyncDispose]()
    throw error
  }
}

async function listDocker(files: Files): Promise<ArchivedImage[]> {
  if ((await files.find('manifest.json')) !== undefined) return await listDockerImages(files)
  const state = 'it has neither index.json nor manifest.json'
  throw new WindlassError(
    'CORRUPT',
    `Cannot read archive ${files.name}: ${state}; wanted an OCI layout or a docker save`,
  )
}

async function openFiles(from: string | AsyncIterable<Uint8Array>, options: ArchiveOptions): Promise<Files> {
  if (typeof from !== 'string') return await openSpooled('the stream', from, options)
  const doing = `Cannot read archive ${from}`
  try {
    const found = await locate(from)
    if (found.parts.length > 0) return await openTar(found.archive, await openParts(found, options.signal), options)
    const facts = await stat(from)
    if (facts.isDirectory()) return new DirectoryFiles(from)
    if (!facts.isFile()) return await openSpooled(from, createReadStream(from, { highWaterMark: 1024 * 1024 }), options)
    const file = fileOf(await open(from, 'r'))
    return await openTar(from, file, options, () => checkWhole(found, file, options.signal))
  } catch (error) {
    const hint = await hintParts(from)
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new WindlassError('NOT_FOUND', `${doing}: it is not there`, {
        cause: error,
        hint: hint ?? 'check the path',
      })
    const { code, message, hint: own, facts } = wrapError(error, doing)
    const advice = own ?? hint
    throw new WindlassError(code, message, { cause: error, facts, ...(advice !== undefined && { hint: advice }) })
  }
}

/** Takes over the file. */
async function openTar(
  name: string,
  file: ByteFile,
  options: ArchiveOptions,
  check?: () => Promise<void>,
): Promise<Files> {
  try {
    await check?.()
    const head = Buffer.alloc(magicLength)
    const length = await file.read(head, 0)
    if (detectCompression(head.subarray(0, length)) !== 'none') {
      const plain = await openSpooled(name, readRange(file), options)
      await file[Symbol.asyncDispose]()
      return plain
    }
  } catch (error) {
    await file[Symbol.asyncDispose]()
    throw error
  }
  return await TarFiles.open(name, file)
}

async function openSpooled(
  name: string,
  bytes: AsyncIterable<Uint8Array>,
  { signal, spoolDirectory }: ArchiveOptions,
): Promise<Files> {
  const handle = await openSpool(spoolDirectory)
  try {
    for await (const _ of spooled(handle, decompress(bytes, { signal })));
  } catch (error) {
    await handle.close()
    const doing = `Cannot read archive ${name}`
    const { code, message, hint, facts } = wrapError(error, doing)
    if (code === 'CANCELLED' || message.startsWith(doing)) throw wrapError(error, doing)
    throw new WindlassError(code, `${doing}: ${message}`, { cause: error, facts, ...(hint !== undefined && { hint }) })
  }
  return await TarFiles.open(name, fileOf(handle))
}
