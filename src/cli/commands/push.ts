import { WindlassError } from '../../errors.ts'
import { quote } from '../../oci/quote.ts'
import { formatReference, parseReference, type Reference, repositoryName } from '../../oci/reference.ts'
import { chunkOptions, withChunks } from '../chunks.ts'
import { defineCommand } from '../command.ts'
import { connectionOptions } from '../connections.ts'
import { writeJson, writeLine, writeNote } from '../output.ts'
import { placeOptions, showRun } from '../transfer.ts'

export const command = defineCommand({
  description:
    'Pushes an image of the store to a registry, under its own name or as DEST. What the registry has, or can mount from another of its repositories, is not sent; an upload ' +
    'that breaks off goes on where it stopped. Layers go as they came, so that the digest stays. The last line on stdout is the full reference with its digest.',
  operands: [
    { name: 'REF', complete: 'image' },
    { name: 'DEST', optional: true },
  ],
  options: {
    ...connectionOptions,
    ...chunkOptions,
    compress: {
      type: 'string',
      value: 'KIND[:LEVEL]',
      summary: 'compress all layers anew: gzip, zstd or none, as zstd:19; the image ID stays, the digest does not',
    },
    referrers: {
      type: 'boolean',
      summary:
        "push signatures, attestations and bills of materials, too, as the registries have them that the image's other names lead to; the store has none",
    },
    layers: {
      type: 'integer',
      value: 'N',
      min: 1,
      max: 64,
      summary: 'how many layers at a time; default is 4',
    },
  },
  examples: [
    { line: 'windlass push registry.example:5000/team/app:2.4', does: 'Push an image under its name.' },
    {
      line: 'windlass push --chunk-size 16M app:2.4 registry.example:5000/team/app:2.4',
      does: 'To a registry behind a proxy that takes no large requests.',
    },
    { line: 'windlass push debian:12 registry.example:5000/base/debian:12', does: 'Push it under another one.' },
  ],
  exits: ['2  the image was not found', '3  the registry denied access', '4  network or TLS', '5  stalled'],
  async run(context, [text = '', destination], { layers, compress, referrers, 'chunk-size': chunkSize, ...network }) {
    const { openStored } = await import('../../copy/places.ts')
    const { copyImages } = await import('../../copy/copy-image.ts')
    const { openRegistrySink } = await import('../../places/registry/upload.ts')
    const { openRegistry } = await import('../../places/registry/registry.ts')
    const compression = compress === undefined ? undefined : readCompression(compress)
    const options = withChunks(await placeOptions(context, network), chunkSize)
    await using image = await openStored(text, options)
    const target = destination === undefined ? image.reference : parseReference(destination)
    await using opened = new AsyncDisposableStack()
    let { source } = image
    if (compression !== undefined) {
      const { recompress } = await import('../../copy/recompress.ts')
      const { root: spoolDirectory, signal } = context
      source = opened.use(await recompress(image, { ...compression, spoolDirectory, signal }))
    }
    await using sink = openRegistrySink(target, options.registry)
    const near = image.names.filter(({ domain, path }) => domain === target.domain && path !== target.path)
    const referrersFrom = referrers
      ? listOthers(image.names, target).map(name => opened.use(openRegistry(name, options.registry)))
      : []
    const run = copyImages(
      [
        {
          source,
          reference: image.reference,
          placements: [{ tag: target.tag }],
          mountFrom: [...new Set(near.map(({ path }) => path))],
          referrersFrom,
        },
      ],
      sink,
      { ...context, referrers, ...(layers !== undefined && { layersMax: layers }) },
    )
    const [result] = await showRun(context, `Pushing ${text}`, run)
    if (referrers) writeNote(context, `Pushed ${result?.referrersCopied} documents that refer to it`)
    const { digest: _, ...name } = target
    const reference = `${target.tag === undefined ? repositoryName(target) : formatReference(name)}@${result?.digest}`
    if (context.json) writeJson(context, { reference, ...result })
    else writeLine(context, reference)
    return 0
  },
})

/** The repositories, but for the one that is pushed to, where the image has a name. @throws WindlassError USAGE if there is none */
function listOthers(names: readonly Reference[], target: Reference): Reference[] {
  const others = new Map(names.map(name => [repositoryName(name), name]))
  others.delete(repositoryName(target))
  if (others.size > 0) return [...others.values()]
  const hint =
    "the store keeps no referrers: take them from where they are, with 'windlass copy --referrers docker://… docker://…'"
  const state = 'the image has no other name that leads to a registry'
  throw new WindlassError('USAGE', `Cannot push referrers to ${repositoryName(target)}: ${state}`, { hint })
}

const levels = { gzip: 9, zstd: 22, none: 0 } as const

function readCompression(text: string): { compression: keyof typeof levels; level?: number } {
  const [kind = '', level] = text.split(':', 2)
  const isKnown = kind === 'gzip' || kind === 'zstd' || kind === 'none'
  if (isKnown && level === undefined) return { compression: kind }
  if (isKnown && level !== undefined && /^[1-9]\d?$/.test(level) && Number(level) <= levels[kind])
    return { compression: kind, level: Number(level) }
  const wanted = 'wanted gzip[:1-9], zstd[:1-22] or none'
  throw new WindlassError('USAGE', `Cannot use compression ${quote(text)}: ${wanted}`)
}
