import { createReadStream } from 'node:fs'
import { isatty } from 'node:tty'
import { WindlassError } from '../../errors.ts'
import { formatReference, parseReference } from '../../oci/reference.ts'
import { defineCommand } from '../command.ts'
import { formatName } from '../familiar.ts'
import { writeJson, writeLine, writeWarning } from '../output.ts'
import { openPolicy, policyOptions } from '../policy.ts'
import { showRun } from '../transfer.ts'

export const command = defineCommand({
  description:
    "Loads all images of an archive into the store: what 'docker save' and 'podman save' write, an OCI archive, or an OCI layout in a directory; plain, or compressed by gzip, " +
    'zstd, xz or bzip2. Every byte is verified. None of them is visible before all are complete: a torn or altered archive is refused as a whole.\n' +
    'Parts that save --split wrote are joined as they are read, named by the first or by what they are parts of. Where FILE.sha256 lies beside the archive, it is checked first. Layers that ' +
    'save --since left out are taken from the store.',
  operands: [],
  rootFor: () => 'making owners',
  options: {
    input: { type: 'string', short: 'i', value: 'FILE', summary: 'the archive, or a directory; default is stdin' },
    name: { type: 'string', value: 'REF', summary: 'what to call the image, if there is only one' },
    platform: {
      type: 'string',
      value: 'OS/ARCH[/VARIANT]',
      summary: "the platform to load; default is this machine's",
    },
    ...policyOptions,
  },
  examples: [
    { line: 'windlass load -i app.tar', does: 'Load from a file.' },
    { line: 'ssh node-7 docker save app:2.4 | windlass load', does: 'Take an image from a docker elsewhere.' },
    { line: 'windlass load -i /media/disk/app.tar.001', does: 'Load all parts of a split archive.' },
    { line: 'windlass load -i layout/ --name app:2.4', does: 'Load an OCI layout, and name its image.' },
  ],
  exits: [
    '2  there is no such archive',
    '3  the policy refuses an image',
    '6  the archive is torn, altered or none',
    '7  no space',
  ],
  async run(context, _operands, { input, name, platform, policy }) {
    const { openArchiveAt, readNames } = await import('../../copy/places.ts')
    const { load } = await import('../../copy/load.ts')
    const { signal, root } = context
    if (input === undefined && isatty(0))
      throw new WindlassError('USAGE', 'Cannot load from a terminal', { hint: 'name a file with -i FILE' })
    const from = input ?? createReadStream('', { fd: 0, highWaterMark: 1024 * 1024, autoClose: false })
    await using archive = await openArchiveAt(from, { root, signal })
    if (name !== undefined && archive.images.length !== 1) {
      const state = `${archive.name} has ${archive.images.length} images`
      throw new WindlassError('USAGE', `Cannot name the image ${name}: ${state}; wanted one`)
    }
    const onWarning = (message: string): void => writeWarning(context, message)
    const { transport } = archive
    const images = archive.images.map(image => {
      const names = name === undefined ? readNames(image, onWarning) : [parseReference(name)]
      const subjects = names.length === 0 ? [{ transport }] : names.map(reference => ({ transport, reference }))
      return { source: image.source, names, subjects }
    })
    const gatekeeper = await openPolicy(context, policy)
    const run = load(archive.name, images, { root, signal, gatekeeper, ...(platform !== undefined && { platform }) })
    const loaded = await showRun(context, `Loading ${archive.name}`, run)
    if (context.json) {
      writeJson(context, loaded)
      return 0
    }
    for (const { imageId, names } of loaded) {
      const bare = names.map(text => formatName(formatReference(parseReference(text))))
      if (names.length === 0) writeLine(context, context.quiet ? imageId : `Loaded image ID: ${imageId}`)
      for (const text of bare) writeLine(context, context.quiet ? text : `Loaded image: ${text}`)
    }
    return 0
  },
})
