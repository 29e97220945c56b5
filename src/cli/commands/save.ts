import { WindlassError } from '../../errors.ts'
import { archiveOptions, readFileOptions, refuseFileOptions } from '../archive-options.ts'
import { defineCommand } from '../command.ts'
import { writeNote } from '../output.ts'
import { openStdoutSink, showRun } from '../transfer.ts'

const formats = ['docker-archive', 'oci-archive'] as const

export const command = defineCommand({
  description:
    "Writes images of the store to one archive, in a file or on stdout. docker-archive is for 'docker load': its layers are plain tars, so that no decompressor is needed there, and " +
    'the image ID stays. oci-archive holds the images as they came, digests and all. A file appears when it is complete. The same images give the same archive.\n' +
    "With --since, layers that the other side has are named but left out: 'windlass load' takes them from its store, and refuses the archive before anything is visible if one is " +
    "missing. Of a docker-archive, 'docker load' does so, too; other tools want all layers.",
  operands: [{ name: 'REF', many: true, complete: 'image' }],
  options: {
    output: { type: 'string', short: 'o', value: 'FILE', summary: 'the archive; default is stdout' },
    format: {
      type: 'string',
      value: 'FORMAT',
      choices: formats,
      summary: 'docker-archive, the default, or oci-archive',
    },
    since: {
      type: 'string',
      value: 'OLD',
      multiple: true,
      summary:
        'leave out the layers that the other side has: an archive or layout that it has loaded, a file with a digest on each line (of layers, contents or chains), or an image of this store; can be given several times',
    },
    ...archiveOptions,
  },
  examples: [
    { line: 'windlass save -o app.tar app:2.4', does: "For 'docker load', or 'windlass load', elsewhere." },
    { line: 'windlass save app:2.4 | zstd | ssh node-7 windlass load', does: 'Hand an image over without a file.' },
    {
      line: 'windlass save --format oci-archive -o all.tar app:2.4 debian:12',
      does: 'Several images with their digests.',
    },
    {
      line: 'windlass save --since app-2.4.tar -o app-2.5.tar app:2.5',
      does: 'Only what a host lacks that has loaded app-2.4.tar.',
    },
    {
      line: 'windlass save --since there -o app-2.5.tar app:2.5',
      does: 'The same by a list of digests: what "docker image inspect -f \'{{range .RootFS.Layers}}{{println .}}{{end}}\' app:2.4" says on the other side.',
    },
    { line: 'windlass save --split 4G -o /media/disk/app.tar app:2.4', does: 'In parts that a FAT disk can hold.' },
  ],
  exits: ['2  an image was not found', '7  no space'],
  async run(context, references, { output, format = 'docker-archive', since, ...files }) {
    const { openStored, openArchiveSink } = await import('../../copy/places.ts')
    const { copyImages } = await import('../../copy/copy-image.ts')
    const { openFileSink } = await import('../../places/archive/file-sink.ts')
    await using opened = new AsyncDisposableStack()
    const images = []
    for (const text of references) {
      const { source, reference } = opened.use(await openStored(text, context))
      const isNamed = reference.tag !== undefined && reference.digest === undefined
      const full = isNamed ? reference : undefined
      images.push({ source, reference, placements: [{ tag: full?.tag, full }] as const })
    }
    if (images.length === 0) throw new WindlassError('USAGE', 'Cannot save: no image is named')
    if (output === undefined) refuseFileOptions(files, 'the archive goes to stdout')
    const known = since.length === 0 ? undefined : await (await import('../../copy/since.ts')).readKnown(since, context)
    const to = output === undefined ? openStdoutSink(context) : await openFileSink(output, readFileOptions(files))
    await using sink = openArchiveSink(format as (typeof formats)[number], to, context.root)
    const run = copyImages(images, sink, { ...context, since: known })
    const results = await showRun(context, `Saving ${references.join(', ')}`, run)
    for (const [at, { digest, blobsLeftOut }] of results.entries()) {
      const leftOut = blobsLeftOut === 0 ? '' : `; ${blobsLeftOut} layers left out`
      writeNote(context, `Saved ${references[at]} (${digest})${leftOut}`)
    }
    return 0
  },
})
