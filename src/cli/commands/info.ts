import type { StoreInfo } from '../../places/store/types.ts'
import { defineCommand } from '../command.ts'
import { writeJson, writeLine } from '../output.ts'
import { formatSize } from '../progress/units.ts'
import { openStore } from '../store.ts'
import { readVersion } from './version.ts'

export const command = defineCommand({
  description:
    'Tells about the store and the host: what is there, how much room it takes, and what the filesystem can do.',
  operands: [],
  options: {},
  examples: [
    { line: 'windlass info', does: 'Show the store and the host.' },
    { line: 'windlass info --json | jq .filesystemBytesFree', does: 'Ask for one fact.' },
  ],
  async run(context) {
    await using store = await openStore(context)
    const info = await store.info()
    if (context.json) writeJson(context, { version: readVersion(), ...info })
    else for (const [name, value] of describe(info)) writeLine(context, `${name}: ${value}`)
    return 0
  },
})

function describe(info: StoreInfo): [name: string, value: string | number | boolean][] {
  return [
    ['Images', info.images],
    ['Layers', `${info.layers} (${formatSize(info.bytesLayers)})`],
    ['Blobs', `${info.blobs} (${formatSize(info.bytesBlobs)})`],
    ['Partial downloads', `${info.partials} (${formatSize(info.bytesPartials)})`],
    ['Mounts', info.mounts],
    ['Version', readVersion()],
    ['Storage Driver', info.driver],
    [' Backing Filesystem', info.backingFilesystem],
    [' Supports d_type', info.supportsDType],
    [' Supports trusted xattrs', info.supportsTrustedXattr],
    ['Kernel Version', info.kernel],
    ['Operating System', info.operatingSystem],
    ['Architecture', info.architecture],
    ['CPUs', info.cores],
    ['Total Memory', formatSize(info.memoryBytes)],
    ['Windlass Root Dir', info.root],
    [' Filesystem', `${formatSize(info.filesystemBytesFree)} free of ${formatSize(info.filesystemBytes)}`],
  ]
}
