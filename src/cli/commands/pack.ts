import { resolve } from 'node:path'
import { WindlassError } from '../../errors.ts'
import { parsePlatform } from '../../oci/platform.ts'
import { quote } from '../../oci/quote.ts'
import { formatReference, parseReference } from '../../oci/reference.ts'
import { defineCommand } from '../command.ts'
import { writeJson, writeLine } from '../output.ts'
import { showRun } from '../transfer.ts'

export const command = defineCommand({
  description:
    'Makes an image of a directory, with one layer, or lays the directory over an image of the store with --base. The same files give the same digest: entries are sorted, and with ' +
    'SOURCE_DATE_EPOCH no time is later than that. --entrypoint and --cmd are JSON lists, or one word.',
  operands: [{ name: 'DIR', complete: 'directory' }, { name: 'REF' }],
  rootFor: () => 'making owners',
  options: {
    base: { type: 'string', value: 'REF', summary: 'the image of the store that the directory is laid over' },
    entrypoint: { type: 'string', value: 'LIST', summary: 'what a container runs' },
    cmd: { type: 'string', value: 'LIST', summary: 'its arguments, or what it runs without an entrypoint' },
    env: { type: 'string', value: 'NAME=VALUE', multiple: true, summary: 'set a variable' },
    label: { type: 'string', value: 'NAME=VALUE', multiple: true, summary: 'set a label' },
    workdir: { type: 'string', value: 'DIR', summary: 'the directory that a container starts in' },
    user: { type: 'string', value: 'USER[:GROUP]', summary: 'whom a container runs as' },
    platform: { type: 'string', value: 'OS/ARCH[/VARIANT]', summary: "without --base; default is this machine's" },
    compress: { type: 'string', value: 'KIND', choices: ['gzip', 'zstd', 'none'], summary: 'gzip, the default' },
  },
  examples: [
    { line: 'windlass pack rootfs/ box:1', does: 'An image of a root filesystem.' },
    {
      line: 'windlass pack --base debian:12 --entrypoint /app/run build/ app:2.4',
      does: 'A program over an image.',
    },
  ],
  exits: ['2  the base was not found', '7  no space, or files that cannot be read'],
  async run(context, [directory = '', name = ''], options) {
    const { packImage } = await import('../../copy/pack-image.ts')
    const { openStored } = await import('../../copy/places.ts')
    const { load } = await import('../../copy/load.ts')
    const { readHostPlatform } = await import('../../copy/resolve.ts')
    const { root, signal } = context
    const reference = parseReference(name)
    const host = readHostPlatform()
    // What this processor can do beyond its architecture says nothing about the files.
    const { os, architecture, variant } = host
    const plain = { os, architecture, ...(architecture === 'arm' && variant !== undefined && { variant }) }
    const platform = options.platform === undefined ? plain : parsePlatform(options.platform, host)
    await using opened = new AsyncDisposableStack()
    const { openStore } = await import('../store.ts')
    await (await openStore(context))[Symbol.asyncDispose]()
    const base = options.base === undefined ? undefined : opened.use(await openStored(options.base, context))
    const source = opened.use(
      await packImage(resolve(directory), {
        base,
        platform,
        compression: options.compress as 'gzip' | 'zstd' | 'none' | undefined,
        sourceDateEpoch: readEpoch(context.env['SOURCE_DATE_EPOCH']),
        spoolDirectory: root,
        signal,
        config: {
          Entrypoint: readList(options.entrypoint),
          Cmd: readList(options.cmd),
          Env: options.env,
          Labels: readLabels(options.label),
          WorkingDir: options.workdir,
          User: options.user,
        },
      }),
    )
    const run = load(directory, [{ source, names: [reference] }], { root, signal })
    const [packed] = await showRun(context, `Packing ${directory}`, run)
    if (context.json) writeJson(context, packed)
    else writeLine(context, `${formatReference(reference)}@${packed?.digest}`)
    return 0
  },
})

function readEpoch(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined
  if (/^\d{1,11}$/.test(text)) return Number(text)
  throw new WindlassError('USAGE', `Cannot use SOURCE_DATE_EPOCH ${quote(text)}: wanted seconds since the epoch`)
}

function readList(text: string | undefined): readonly string[] | undefined {
  if (text === undefined) return undefined
  if (!text.startsWith('[')) return [text]
  try {
    const list: unknown = JSON.parse(text)
    if (Array.isArray(list) && list.every(word => typeof word === 'string')) return list
  } catch {
    // Told below.
  }
  throw new WindlassError('USAGE', `Cannot use list ${quote(text)}: wanted one word, or a JSON list of texts`)
}

function readLabels(lines: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    lines.map(line => {
      const at = line.indexOf('=')
      if (at < 1) throw new WindlassError('USAGE', `Cannot use label ${quote(line)}: wanted NAME=VALUE`)
      return [line.slice(0, at), line.slice(at + 1)]
    }),
  )
}
