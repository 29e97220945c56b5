import { join } from 'node:path'
import { readDescriptors } from '../../sys/process-files.ts'
import type { Engine } from '../engines.ts'
import { makeFinding } from '../finding.ts'
import { type CheckContext, type CheckOf, describeEngine } from './check.ts'

/** What was written to an hour ago, and is not open, is no download any more. */
const idleMs = 3_600_000
/** So many are looked at; more tell nothing new. */
const filesMax = 200

/** Where an engine keeps layers while they come, below its data root, and which entries are such. */
const places: Readonly<
  Partial<Record<Engine['kind'], { readonly directory: string; readonly entry: RegExp; readonly data: string }>>
> = {
  dockerd: { directory: 'tmp', entry: /^GetImageBlob\d+$/, data: '' },
  containerd: { directory: 'io.containerd.content.v1.content/ingest', entry: /^[0-9a-f]{64}$/, data: 'data' },
}

/** Parts of layers that no download works at any more: they take room, and nobody goes on with dockerd's. */
export const leftDownloads: CheckOf<'engine'> = {
  name: 'left-downloads',
  of: 'engine',
  async look(engine, context) {
    const left = await findLeft(engine, context)
    if (left.length === 0) return []
    const bytes = left.reduce((sum, { size }) => sum + size, 0)
    const evidence = [
      `${left.length} parts of layers with ${bytes.toLocaleString('en-US')} bytes, not open and not written to for an hour`,
      ...left.slice(0, 3).map(({ path }) => path),
    ]
    return [makeFinding('DOWNLOADS_LEFT', describeEngine(engine), { evidence, facts: { count: left.length, bytes } })]
  },
}

async function findLeft({ kind, dataPath, dataRoot, process: { pid }, isOpen }: Engine, { host }: CheckContext) {
  const place = places[kind]
  if (place === undefined || dataPath === undefined || dataRoot === undefined || !isOpen) return []
  const open = new Set(readDescriptors(host, pid).map(({ target }) => target))
  const names = (await host.disk.names(join(dataPath, place.directory))).filter(name => place.entry.test(name))
  const files = await Promise.all(
    names.slice(0, filesMax).map(async name => {
      const path = join(dataPath, place.directory, name, place.data)
      return {
        path,
        isOpen: open.has(join(dataRoot, place.directory, name, place.data)),
        file: await host.disk.file(path),
      }
    }),
  )
  return files.flatMap(({ path, isOpen: isAtWork, file }) =>
    file === undefined || isAtWork || host.now() - file.mtimeMs < idleMs ? [] : [{ path, size: file.size }],
  )
}
