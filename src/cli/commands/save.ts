import { WindlassError } from '../../errors.ts'
import { defineCommand } from '../command.ts'
import { writeNote } from '../output.ts'
import { openStdoutSink, showRun } from '../transfer.ts'

const formats = ['docker-archive', 'oci-archive'] as const

export const command = defineCommand({
  description:
    "Writes images of the store to one archive, in a file or on stdout. docker-archive is for 'docker load': its layers are plain tars, so that no decompressor is needed there, and " +
    'the image ID stays. oci-archive holds the images as they came, digests and all. A file appears when it is complete. The same images give the same archive.',
  operands: [{ name: 'REF', many: true, complete: 'image' }],
  options: {
    output: { type: 'string', short: 'o', value: 'FILE', summary: 'the archive; default is stdout' },
    format: {
      type: 'string',
      value: 'FORMAT',
      choices: formats,
      summary: 'docker-archive, the default, or oci-archive',
    },
  },
  examples: [
    { line: 'windlass save -o app.tar app:2.4', does: "For 'docker load', or 'windlass load', elsewhere." },
    { line: 'windlass save app:2.4 | zstd | ssh node-7 windlass load', does: 'Hand an image over without a file.' },
    {
      line: 'windlass save --format oci-archive -o all.tar app:2.4 debian:12',
      does: 'Several images with their digests.',
    },
  ],
  exits: ['2  an image was not found', '7  no space'],
  async run(context, references, { output, format = 'docker-archive' }) {
    const { openStored, openArchiveSink } = await import('../../copy/places.ts')
    const { copyImages } = await import('../../copy/copy-image.ts')
    const { openFileSink } = await import('../../places/archive/tar-output.ts')
    await using opened = new AsyncDisposableStack()
    const images = []
    for (const text of references) {
      const { source, reference } = opened.use(await openStored(text, context))
      const isNamed = reference.tag !== undefined && reference.digest === undefined
      const full = isNamed ? reference : undefined
      images.push({ source, reference, placements: [{ tag: full?.tag, full }] as const })
    }
    if (images.length === 0) throw new WindlassError('USAGE', 'Cannot save: no image is named')
    const to = output === undefined ? openStdoutSink(context) : await openFileSink(output)
    await using sink = openArchiveSink(format as (typeof formats)[number], to, context.root)
    const results = await showRun(context, `Saving ${references.join(', ')}`, copyImages(images, sink, context))
    for (const [at, { digest }] of results.entries()) writeNote(context, `Saved ${references[at]} (${digest})`)
    return 0
  },
})
