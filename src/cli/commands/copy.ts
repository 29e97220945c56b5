import { parsePlatform } from '../../oci/platform.ts'
import { parseReference } from '../../oci/reference.ts'
import { archiveOptions, readFileOptions, refuseFileOptions } from '../archive-options.ts'
import { defineCommand } from '../command.ts'
import { connectionOptions } from '../connections.ts'
import { writeJson, writeLine } from '../output.ts'
import { placeOptions, showRun } from '../transfer.ts'

export const command = defineCommand({
  description:
    "Copies an image between any two places, in skopeo's words: docker://REF, a registry; oci:DIR[:NAME], an OCI layout; oci-archive:FILE[:NAME]; docker-archive:FILE[:REF]; " +
    "store:REF, windlass' own; and from docker-daemon:REF, containerd:REF and containers-storage:REF, the engines of this host. Digests stay; an archive of docker, and what docker and podman give, has the image's ID and plain layers, but no manifest. From one registry to another nothing is kept on this host, and between repositories of one registry blobs are mounted. " +
    "All platforms of an index go along, unless one is chosen; a docker archive and the store take this machine's.",
  operands: [{ name: 'SRC' }, { name: 'DEST' }],
  rootFor: (_options, [, to]) => (to?.startsWith('store:') ? 'making owners' : undefined),
  options: {
    ...connectionOptions,
    platform: { type: 'string', value: 'OS/ARCH[/VARIANT]', summary: 'copy one platform of an index only' },
    layers: { type: 'integer', value: 'N', min: 1, max: 64, summary: 'how many layers at a time; default is 4' },
    ...archiveOptions,
  },
  examples: [
    {
      line: 'windlass copy docker://debian:12 docker://registry.example:5000/base/debian:12',
      does: 'From one registry to another, all platforms.',
    },
    { line: 'windlass copy docker://app:2.4 oci-archive:/media/disk/app.tar', does: 'Onto a disk.' },
    { line: 'windlass copy docker-daemon:app:2.4 oci:app', does: 'Out of docker.' },
    { line: 'windlass copy docker-archive:app.tar store:app:2.4', does: 'Into the store, under a name.' },
  ],
  exits: ['2  the image was not found', '3  a registry denied access', '4  network or TLS', '5  stalled', '6  corrupt'],
  async run(context, [from = '', to = ''], { platform, layers, checksum, split, ...network }) {
    const { parseTransport } = await import('../../copy/transport.ts')
    const { openImage, openSink } = await import('../../copy/places.ts')
    const source = parseTransport(from)
    const target = parseTransport(to)
    const files = { checksum, split }
    if (!target.kind.endsWith('-archive')) refuseFileOptions(files, 'the destination is no archive')
    const options = { ...(await placeOptions(context, network)), files: readFileOptions(files) }
    const { root, signal } = context
    const choices = { root, signal, ...(layers !== undefined && { layersMax: layers }) }
    await using image = await openImage(source, options)
    if (target.kind === 'store') {
      const { load } = await import('../../copy/load.ts')
      const names = [parseReference(target.text)]
      const chosen = { ...choices, ...(platform !== undefined && { platform }) }
      const [loaded] = await showRun(context, `Copying ${from}`, load(from, [{ source: image.source, names }], chosen))
      if (context.json) writeJson(context, loaded)
      else writeLine(context, `${loaded?.digest}`)
      return 0
    }
    const { copyImages } = await import('../../copy/copy-image.ts')
    const { sink, placement } = await openSink(target, options)
    await using _sink = sink
    const isNear =
      source.kind === 'docker' && target.kind === 'docker' && source.reference.domain === target.reference.domain
    const run = copyImages(
      [
        {
          source: image.source,
          reference: image.reference,
          placements: [placement],
          ...(isNear && { mountFrom: [source.reference.path] }),
        },
      ],
      sink,
      { ...choices, ...(platform !== undefined && { platform: parsePlatform(platform) }) },
    )
    const [result] = await showRun(context, `Copying ${from}`, run)
    if (context.json) writeJson(context, result)
    else writeLine(context, `${result?.digest}`)
    return 0
  },
})
